"""A local SES for tests, benchmarks and the demo: an independent judge of what the relay sends.

It evaluates sending authorization as AWS documents it, and tells why: `Simulator.decisions`.
"""

from relay.simulator.explanation import Check, Decision
from relay.simulator.faults import Fault, Faults
from relay.simulator.server import DELEGATE, OWNER_ACCOUNT, Simulator
from relay.simulator.words import AccessKey, Arns, Called, Received, SmtpLogin, TurnedAway
from relay.simulator.world import World
from relay.simulator.worlds.file import load_world

__all__ = [
    "DELEGATE",
    "OWNER_ACCOUNT",
    "AccessKey",
    "Arns",
    "Called",
    "Check",
    "Decision",
    "Fault",
    "Faults",
    "Received",
    "Simulator",
    "SmtpLogin",
    "TurnedAway",
    "World",
    "load_world",
]
