"""Delegates: what may be named in a policy, and what is said of the rest."""

from __future__ import annotations

import pytest

from relay.policy.delegates import Delegate, parse_delegate


@pytest.mark.parametrize(
    ("text", "account", "kind", "name", "partition"),
    [
        ("111122223333", "111122223333", "account", "", None),
        ("arn:aws:iam::111122223333:root", "111122223333", "account", "", "aws"),
        ("arn:aws:iam::111122223333:user/relay", "111122223333", "user", "relay", "aws"),
        ("arn:aws-us-gov:iam::111122223333:user/mail/relay", "111122223333", "user", "relay", "aws-us-gov"),
        ("arn:aws:iam::111122223333:role/service/mail/relay", "111122223333", "role", "relay", "aws"),
    ],
)
def test_accounts_users_and_roles(text: str, account: str, kind: str, name: str, partition: str | None) -> None:
    found = parse_delegate(text)

    assert (found.text, found.account, found.kind, found.name, found.partition) == (
        text, account, kind, name, partition,
    )  # fmt: skip
    assert isinstance(found, Delegate)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "11112222333",
        "1111-2222-3333",
        "arn:aws:iam::111122223333:user",
        "arn:aws:iam::111122223333:user/",
        "arn:aws:iam::111122223333:user/path/",
        "arn:aws:iam::111122223333:user/*",
        "arn:aws:iam::111122223333:user/${aws:username}",
        "arn:aws:iam::111122223333:group/mail",
        "arn:aws:ses:us-west-2:123456789012:identity/example.com",
        "arn:aws:iam::111122223333:user/relay\n",
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither an account id of 12 digits nor the ARN of an IAM user or role"):
        parse_delegate(text)


def test_a_session_leads_to_its_role() -> None:
    """People paste what `aws sts get-caller-identity` shows."""
    with pytest.raises(ValueError, match="arn:aws:iam::111122223333:role/relay"):
        parse_delegate("arn:aws:sts::111122223333:assumed-role/relay/i-0123456789")
