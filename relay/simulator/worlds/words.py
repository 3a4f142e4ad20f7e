"""The words of a world file: grammar only. Each parser raises ValueError whose message is what is allowed.

Sources: SES developer guide, "Service quotas" (names), IAM user guide, "IAM and AWS STS quotas" and "IAM identifiers".
"""

from __future__ import annotations

import re

from relay.address import check_address, to_a_labels
from relay.settings.scalars import parse_choice, parse_rate, parse_word, text_of
from relay.settings.words import KEY_ID, NAME, REGION, parse_grammar
from relay.simulator.policy_document import NAME as POLICY_NAME
from relay.simulator.policy_document import PRINCIPAL
from relay.simulator.world import UNLIMITED

_IAM_NAME = re.compile(r"(?:[!-~]+/)?[A-Za-z0-9_+=,.@-]{1,64}")


def word(value: object) -> str:
    """Any text."""
    return parse_word(value)


def choice(value: object, *, words: tuple[str, ...]) -> str:
    """One of some words."""
    return parse_choice(value, words=words)


def region(value: object) -> str:
    """A region."""
    return parse_grammar(value, grammar=REGION)


def key_id(value: object) -> str:
    """The id of an access key, or an SMTP user name."""
    return parse_grammar(value, grammar=KEY_ID)


def set_name(value: object) -> str:
    """The name of a configuration set."""
    return parse_grammar(value, grammar=NAME)


def account_id(value: object) -> str:
    """An account."""
    return _matched(re.compile("[0-9]{12}"), value, "12 digits")


def partition(value: object) -> str:
    """A partition of AWS."""
    return _matched(re.compile("aws(-[a-z]+)*"), value, "a partition such as aws or aws-us-gov")


def iam_name(value: object) -> str:
    """The name of a user or role, with its path."""
    return _matched(_IAM_NAME, value, "IAM, with or without its path: relay or mail/relay")


def policy_name(value: object) -> str:
    """The name of a policy."""
    return _matched(POLICY_NAME, value, "1 to 64 of A-Z a-z 0-9 _ -")


def principal(value: object) -> str:
    """Whom a policy names."""
    return _matched(PRINCIPAL, value, "an account id, the ARN of a user or role, or *")


def identity_name(value: object) -> str:
    """A domain or an address, as it stands."""
    text = text_of(value)
    try:
        _ = check_address(text) if "@" in text else to_a_labels(text)
    except ValueError:
        raise ValueError("a domain or an address") from None
    if not text.isascii():
        raise ValueError("a domain as A-labels (xn--...), or an address with one")
    return text


def quota(value: object) -> float:
    """Recipients in 24 hours."""
    if text_of(value) == "unlimited":
        return UNLIMITED
    try:
        return parse_rate(value)
    except ValueError as error:
        raise ValueError(f"unlimited, or {error}") from None


def _matched(grammar: re.Pattern[str], value: object, allowed: str) -> str:
    text = text_of(value)
    if not grammar.fullmatch(text):
        raise ValueError(allowed)
    return text
