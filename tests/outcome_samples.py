"""What SES is known to say, and what the relay must make of it: the samples of policy/outcomes.table."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from relay.model import Deferred, Failed
from relay.policy.outcomes import ConfigurationErrors, Stage, from_api, from_smtp

DENIED = (
    "User `arn:aws:iam::111122223333:user/relay' is not authorized to perform `ses:SendRawEmail' on resource "
    "`arn:aws:ses:us-west-2:444455556666:identity/example.com'"
)
UNVERIFIED = (
    "Email address is not verified. The following identities failed the check in region US-EAST-1: a@example.com"
)


class Sample(NamedTuple):
    """One line of the table of samples."""

    where: str
    code: str
    words: str
    replies: tuple[str, str, str]
    cause: str

    def ask(self, mode: ConfigurationErrors) -> Deferred | Failed:
        """What the relay makes of it."""
        if self.where.isdigit():
            return from_api(int(self.where), self.code, self.words, mode)
        return from_smtp(Stage[self.where], int(self.code), self.words, mode)


def read_samples() -> list[Sample]:
    """The samples of outcomes.table; a line with one reply means the same one in each mode."""
    samples = []
    for line in (Path(__file__).parent / "policy" / "outcomes.table").read_text().splitlines():
        if line and not line.startswith("#"):
            said, words, *replies, cause = (cell.strip() for cell in line.split(" | "))
            where, code = said.split()
            words = words.removeprefix("-").replace("{DENIED}", DENIED).replace("{UNVERIFIED}", UNVERIFIED)
            auto, defer, reject = replies if len(replies) == 3 else replies * 3
            samples.append(Sample(where, code, words, (auto, defer, reject), cause))
    return samples
