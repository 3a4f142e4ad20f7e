"""All the rules of one moment, swapped as a whole on reload.

A message is judged by the book that is in force when it arrives; because the book is immutable, a reload can
never show it half of the old rules and half of the new.
"""

from dataclasses import dataclass

from relay.policy.admission import Admission
from relay.policy.headers import HeaderRules
from relay.policy.routing import Router


@dataclass(frozen=True, slots=True)
class RuleBook:
    """Who may send what as whom, and how large.

    `message_bytes` is what EHLO tells as SIZE; `recipients` is the most that one transaction may have.
    """

    admission: Admission
    router: Router
    headers: HeaderRules
    message_bytes: int
    recipients: int
    dry_run: bool = False
