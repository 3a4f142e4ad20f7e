"""Fuzz the listener over the wire: `make fuzz N=20000 SEED=1`.

Runs so many sessions of fuzz_strategies.py against the target, in rounds with seeds of their own, and prints what
they met. A finding ends it with status 1 and the smallest session that shows it, as the lines of a transcript for
tests/smtp/dialogs/found_*.txt.
"""

import argparse
import resource
import sys
import time

from fuzz_oracle import Finding
from fuzz_strategies import Session, sessions
from fuzz_target import Target
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.errors import Flaky

_ROUND = 2000  # executions; Hypothesis keeps a tree of what it has tried
_STILL_THERE = 5  # objects of sessions that may wait for the collector


def fuzz(target: Target, executions: int, first_seed: int, *, shrink: bool = True) -> None:
    """Execute so many sessions; raises Finding for the smallest one that breaks a promise, or else the first one."""
    rounds = range(0, executions, _ROUND)
    for number, begun in enumerate(rounds):
        _round(target, min(_ROUND, executions - begun), first_seed + number, shrink=shrink)
        _say(f"{target.executions} executions, {target.accepted} messages accepted")
        if (alive := target.sessions_in_memory()) > _STILL_THERE:
            raise Finding(f"{alive} sessions are still in memory")


def _round(target: Target, executions: int, number: int, *, shrink: bool) -> None:
    last: list[Session] = []
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)

    @seed(number)
    @settings(
        max_examples=executions, deadline=None, database=None, verbosity=Verbosity.quiet,
        phases=phases, suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )  # fmt: skip
    @given(sessions())
    def run(session: Session) -> None:
        last[:] = [session]
        target.execute(session)

    try:
        run()
    except Finding as finding:  # Hypothesis ends with the smallest one
        finding.add_note(as_transcript(last[0]))
        raise
    except Flaky as flaky:
        causes = "; ".join(str(each) for each in getattr(flaky, "exceptions", ()))
        raise Finding(f"only sometimes: {causes} {flaky}") from flaky


def as_transcript(session: Session) -> str:
    """The client's part of a session in the notation of tests/smtp/transcript.py."""
    lines = [f"# found by tests/fuzz, cut at {sorted(session.cuts)}"]
    lines += ["C| " + repr(chunk)[2:-1] for chunk in session.chunks() if chunk]
    return "\n".join([*lines, "close" if session.ending == "abort" else "half-close"])


def main() -> int:
    """Read the command line, run, report."""
    parser = argparse.ArgumentParser(description="Fuzz the listener over the wire.")
    parser.add_argument("-n", "--executions", type=int, default=20_000)
    parser.add_argument("-s", "--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    with Target() as target:
        try:
            fuzz(target, options.executions, options.seed)
        except Finding as finding:
            notes = getattr(finding, "__notes__", ())
            _say(f"FINDING after {target.executions} executions: {finding}", *notes)
            return 1
    _say(*report(target, time.monotonic() - began))
    return 0


def report(target: Target, seconds: float) -> list[str]:
    """What the executions met, in lines."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return [
        f"{target.executions} executions in {seconds:.0f} s, {target.executions / seconds:.0f} per second; no findings",
        f"{target.accepted} messages accepted and compared; peak memory of relay, client and Hypothesis {peak} MiB",
        f"{target.resets} sessions were reset before all replies had been read",
        f"{len(target.replies)} different replies:",
        *(f"{count:8}  {reply}" for reply, count in target.replies.most_common()),
    ]


def _say(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
