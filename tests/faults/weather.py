"""How SES is doing: well, or one of the ways of being unwell, drawn anew for each life of the relay."""

from __future__ import annotations

import random
from typing import Any, Final

from letters import BAD

from relay.simulator import Fault

# What goes wrong with what probability; each life has one of these, with the weight before it
_SKIES: Final[tuple[tuple[int, dict[str, float]], ...]] = (
    (6, {"error": 0.05, "throttle": 0.01, "lose_answer": 0.02, "delay": 0.2, "drop": 0.01, "html": 0.01}),
    (2, {"error": 0.5, "delay": 0.2}),
    (1, {"throttle": 0.3}),
    (2, {"lose_answer": 0.2, "delay": 0.5}),
    (1, {"drop": 0.3, "reset": 0.3}),
    (1, {"error": 1.0}),
    (3, {"delay": 0.7}),
)
_REFUSAL: Final[dict[str, Any]] = {"recipient": f"*.{BAD}@*", "text": "Domain contains control or whitespace"}


def refusals() -> tuple[Fault, ...]:
    """SES refuses the bad recipients for good, by either interface."""
    return (
        Fault(action="refuse", code="InvalidParameterValue", **_REFUSAL),
        Fault(action="refuse", stage="rcpt", reply="553 <{}> Invalid email address", **_REFUSAL),
    )


def sky(chance: random.Random) -> tuple[Fault, ...]:
    """The faults of one life, besides the refusals."""
    kind = chance.choices(_SKIES, [weight for weight, _ in _SKIES])[0][1]
    return tuple(_fault(what, probability, chance) for what, probability in kind.items())


def _fault(what: str, probability: float, chance: random.Random) -> Fault:
    """`reset`: the connection goes when the message has been sent, and SES has not taken it."""
    order: dict[str, Any] = {"action": what, "probability": probability, "seed": chance.getrandbits(32)}
    if what == "reset":
        order |= {"action": "drop", "stage": "final"}
    if what == "delay":
        order["seconds"] = chance.uniform(0.02, 0.4)
    return Fault(**order)
