"""What a lookup costs: nanoseconds of CPU per parsed path, routed sender, admitted session and read From field.

    python tests/bench/bench_routing.py [ROUNDS]

Routing is measured with 1, 10,000 and 1,000,000 senders: the time per lookup must not grow with them, but for what
the processor's caches cannot hold, hence the two sets of senders that are asked for. Numbers are medians.
"""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).parents[2]))

from relay.address import parse_path
from relay.arn import parse_identity_arn
from relay.model import Identity
from relay.policy.admission import Admission, ClientRule
from relay.policy.mailboxes import parse_mailboxes
from relay.policy.routing import Router

T = TypeVar("T")

CALLS = 20_000
SIZES = (1, 10_000, 1_000_000)
ARN = parse_identity_arn("arn:aws:ses:us-west-2:123456789012:identity/example.com")
PATHS = {
    "usual": b"<billing@mail.example.com> SIZE=2000",
    "no brackets": b"billing@mail.example.com",
    "quoted": b'<"bil ling"@mail.example.com>',
    "U-label": "<billing@bücher.example>".encode(),
}
FIELDS = {
    "usual": b"Billing Department <billing@mail.example.com>\r\n",
    "UTF-8 name": "Jürgen <billing@mail.example.com>\r\n".encode(),
    "list of two": b"a@example.com, b@example.com\r\n",
}


def cost(function: Callable[[T], object], arguments: Sequence[T], rounds: int) -> float:
    """Nanoseconds of CPU per call, less those of an empty loop; the median of the rounds."""
    samples = []
    for _ in range(rounds):
        start = time.process_time()
        for argument in arguments:
            function(argument)
        middle = time.process_time()
        for _argument in arguments:
            pass
        samples.append(((middle - start) - (time.process_time() - middle)) / len(arguments) * 1e9)
    return statistics.median(samples)


def asked(form: str, count: int, distinct: int) -> list[str]:
    """Addresses at even distances in a table of `count` senders, `distinct` of them again and again."""
    step = max(1, count // distinct)
    return [form.format(number % distinct * step % count) for number in range(CALLS)]


def router(count: int) -> Router:
    """A router with half addresses and half domains, `count` in all, and two patterns for subdomains."""
    senders = [f"user{n}@d{n}.example" if n % 2 else f"@d{n}.example" for n in range(count)]
    patterns = (*senders, "@.example", "@.d0.example")
    return Router([Identity("example.com", patterns, ARN, ARN, ARN, "us-west-2")])


def resident() -> int:
    """Peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def show_routing(rounds: int) -> None:
    """Print what each size of the table costs, asked for 100 senders, and for 20,000 that no cache holds."""
    for size in SIZES:
        before, start = resident(), time.process_time()
        table = router(size)
        built = time.process_time() - start
        show(f"{size:,} senders: built in {built:.2f} s, MB", resident() - before)
        for distinct in (100, CALLS):
            for form in ("user{0}@d{0}.example", "x@mail.eu.d{0}.example"):
                addresses = asked(form, size, distinct)
                show(f"  route {form} of {distinct:,}, ns", cost(table.route, addresses, rounds))


def show_parsers(rounds: int) -> None:
    """Print what reading one address costs."""
    for name, path in PATHS.items():
        show(f"parse_path, {name}, ns", cost(lambda path: parse_path(path, null=True), [path] * CALLS, rounds))
    for name, field in FIELDS.items():
        show(f"parse_mailboxes, {name}, ns", cost(parse_mailboxes, [field] * CALLS, rounds))


def show_admission(rounds: int) -> None:
    """Print what finding a client among 100 entries costs, for a peer seen before and for a new one."""
    admission = Admission([ClientRule.of(f"net{n}", networks=[ip_network(f"10.{n}.0.0/16")]) for n in range(100)])
    known = [f"10.{n % 100}.0.1" for n in range(CALLS)]
    new = [f"10.50.{n >> 8 & 255}.{n & 255}" for n in range(CALLS)]
    show("identify, known peer, ns", cost(lambda ip: admission.identify(ip, None), known, rounds))
    show("identify, new peer, ns", cost(lambda ip: admission.identify(ip, None), new, rounds))


def show(name: str, value: float) -> None:
    """Print one line."""
    sys.stdout.write(f"{name:<60} {value:8.0f}\n")


def main(rounds: int) -> None:
    """Print everything."""
    show_parsers(rounds)
    show_admission(rounds)
    show_routing(rounds)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
