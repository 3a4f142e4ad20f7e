"""A local SES for tests, benchmarks and the demo: an independent judge of what the relay sends."""

from relay.simulator.faults import Fault, Faults
from relay.simulator.server import DELEGATE, OWNER_ACCOUNT, Simulator
from relay.simulator.words import AccessKey, Arns, Received, SmtpLogin, TurnedAway

__all__ = [
    "DELEGATE",
    "OWNER_ACCOUNT",
    "AccessKey",
    "Arns",
    "Fault",
    "Faults",
    "Received",
    "Simulator",
    "SmtpLogin",
    "TurnedAway",
]
