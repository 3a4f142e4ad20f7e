"""The table of outcomes: what each thing SES says means for a parcel, and what the client may hear of it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcome_samples import DENIED, UNVERIFIED, Sample, read_samples

from relay.model import Cause, Deferred, Failed
from relay.policy import outcomes
from relay.policy.outcomes import (
    TABLE,
    TROUBLES,
    ConfigurationErrors,
    Row,
    Stage,
    Trouble,
    from_api,
    from_smtp,
    from_trouble,
)

BEFORE_MAIL = (Stage.GREETING, Stage.EHLO, Stage.STARTTLS, Stage.AUTH)
MODES: tuple[ConfigurationErrors, ...] = ("auto", "defer", "reject")
SAMPLES = read_samples()


def reply_of(outcome: Deferred | Failed) -> str:
    """The codes of the reply, once it is sure that they and the kind of outcome say the same."""
    final = isinstance(outcome, Failed)
    assert outcome.reply.code // 100 == (5 if final else 4)
    assert outcome.reply.enhanced.startswith("5." if final else "4.")
    return f"{outcome.reply.code} {outcome.reply.enhanced}"


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: f"{s.where} {s.code} {s.words[:40]}")
def test_samples(sample: Sample) -> None:
    """Each thing that SES is known to say has its reply under each setting, and its cause."""
    results = [sample.ask(mode) for mode in MODES]

    assert tuple(map(reply_of, results)) == sample.replies
    assert {result.cause for result in results} == {sample.cause}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.condition)
def test_no_row_of_the_table_is_idle(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any one row some sample would be answered differently."""
    before = [sample.ask("auto") for sample in SAMPLES]

    monkeypatch.setattr(outcomes, "TABLE", tuple(other for other in TABLE if other is not row))

    assert before != [sample.ask("auto") for sample in SAMPLES]


@pytest.mark.parametrize("status", [200, 302, 500, 502, 503])
def test_a_listed_code_without_an_http_4yz_defers(status: int) -> None:
    """A code that is final with 400 is not believed from a server that says it is broken itself."""
    assert isinstance(from_api(status, "MessageRejected", UNVERIFIED, "reject"), Deferred)


@pytest.mark.parametrize("stage", BEFORE_MAIL)
@pytest.mark.parametrize("code", [500, 521, 530, 535, 550, 554])
@pytest.mark.parametrize("mode", MODES)
def test_refusals_before_mail_defer(stage: Stage, code: int, mode: ConfigurationErrors) -> None:
    """A 5yz greeting, EHLO, STARTTLS or AUTH says nothing about the message, not even when it is a familiar text."""
    for text in ("", f"Access denied: {DENIED}", "Message is too long."):
        assert isinstance(from_smtp(stage, code, text, mode), Deferred)


@pytest.mark.parametrize("trouble", Trouble)
def test_troubles_defer(trouble: Trouble) -> None:
    """Whatever kept us from an answer, the parcel is tried again, and the cause can be told apart in logs."""
    outcome = from_trouble(trouble, "connection refused")

    assert reply_of(outcome).startswith("451 4.")
    assert outcome.detail == f"{trouble}: connection refused"
    assert "refused" not in outcome.reply.text


def test_every_trouble_has_a_row() -> None:
    """A trouble without a reply would be a KeyError on the path of a message."""
    assert set(TROUBLES) == set(Trouble)


def test_lost_answers_are_told_apart() -> None:
    """Only a lost answer may mean that the message has been sent."""
    assert [t for t in Trouble if from_trouble(t, "").cause is Cause.LOST_ANSWER] == [Trouble.LOST_ANSWER]


def test_no_answer_of_ses_becomes_a_login_reply() -> None:
    """530, 535 and 421 from SES would make the client doubt its own login, or leave."""
    seen = {sample.ask(mode).reply.code for sample in SAMPLES for mode in MODES}

    assert seen <= {451, 452, 550, 552, 553, 554}


def test_the_reason_reaches_the_client_without_internals() -> None:
    """The developer reads which identity SES refuses, but neither the relay's principal nor account ids."""
    text = from_api(403, "AccessDenied", DENIED, "auto").reply.text

    assert text == (
        "Amazon SES refuses to send as this identity: User `(principal) is not authorized to perform"
        " `ses:SendRawEmail' on resource `arn:aws:ses:us-west-2:(account):identity/example.com'"
    )


def test_the_enhanced_code_of_ses_is_not_quoted_twice() -> None:
    """SES begins some texts with an enhanced code; ours stands there already."""
    assert from_smtp(Stage.FINAL, 554, "5.6.9 Odd\nthing", "auto").reply.text == (
        "Amazon SES refuses the message: Odd thing"
    )


def test_detail_keeps_the_words_of_ses_for_the_log() -> None:
    """The log says everything that SES said, principal included."""
    assert from_api(403, "AccessDenied", DENIED, "auto").detail == f"HTTP 403 AccessDenied: {DENIED}"


def test_detail_hides_session_tokens() -> None:
    """AWS repeats the request, with its session token, to explain a wrong signature."""
    text = "The Canonical String should have been 'POST\nx-amz-security-token:FwoGZXIvYXdz/+==\n\nhost'"

    detail = from_api(403, "SignatureDoesNotMatch", text, "auto").detail

    assert "FwoGZXIvYXdz" not in detail
    assert "Canonical String" in detail


KNOWN_CODES = sorted({code + end for row in TABLE for code in row.api.split() for end in ("", "Exception")})
SECRETS = st.sampled_from(
    [
        "arn:aws:iam::111122223333:user/u",
        "arn:aws-us-gov:sts::111122223333:assumed-role/r/s",
        "ARN:AWS:IAM::111122223333:user/u",
        "assumed-role/r",
        "AKIAIOSFODNN7EXAMPLE",
        "ASIAIOSFODNN7EXAMPLE",
        "444455556666",
        UNVERIFIED,
        DENIED,
        "Message is too long",
    ]
)
WORDS = st.lists(st.one_of(SECRETS, st.text(max_size=30)), max_size=30).map("".join)
LEAKS = re.compile(r"arn:aws[a-z-]*:(iam|sts)|assumed-role|A(KIA|SIA)[A-Z0-9]{16}|[0-9]{12}", re.IGNORECASE)


def assert_sound(outcome: Deferred | Failed) -> None:
    """A valid reply line of RFC 5321 section 4.2 that gives nothing away."""
    reply_of(outcome)
    line = str(outcome.reply)
    assert re.fullmatch(r"[245]\d\d [245]\.\d\.\d [ -~]*[!-~]", line)
    assert len(line) + 2 <= 512
    assert not LEAKS.search(line)


@given(
    st.integers(0, 999), st.one_of(st.sampled_from(KNOWN_CODES), st.text(max_size=40)), WORDS, st.sampled_from(MODES)
)
def test_any_api_error_gives_a_sound_outcome(status: int, code: str, text: str, mode: ConfigurationErrors) -> None:
    """Whatever code and text come, the outcome is valid; and final only for a listed code with HTTP 4yz."""
    outcome = from_api(status, code, text, mode)

    assert_sound(outcome)
    assert isinstance(outcome, Deferred) or (400 <= status < 500 and code in KNOWN_CODES)


@given(st.sampled_from(Stage), st.integers(0, 999), WORDS, st.sampled_from(MODES))
def test_any_smtp_reply_gives_a_sound_outcome(stage: Stage, code: int, text: str, mode: ConfigurationErrors) -> None:
    """Whatever reply comes, the outcome is valid; and final only for a 5yz from MAIL on."""
    outcome = from_smtp(stage, code, text, mode)

    assert_sound(outcome)
    assert isinstance(outcome, Deferred) or (500 <= code < 600 and stage not in BEFORE_MAIL)


@given(st.sampled_from(Trouble), WORDS)
def test_any_trouble_gives_a_sound_outcome(trouble: Trouble, detail: str) -> None:
    """Details of troubles stay in the log."""
    assert_sound(from_trouble(trouble, detail))
