"""Both HTTP APIs, with boto3 as the client: what is taken, what is refused and in which words."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from botocore.exceptions import ClientError
from ses_clients import EAST, WEST, answer, arn, client, mail, send_v1, send_v2

from relay.simulator import DELEGATE, AccessKey, Arns, Simulator

MIB = 1024 * 1024
Send = Callable[..., Awaitable[str]]

both = pytest.mark.parametrize("send", [send_v1, send_v2])


async def refusal(send: Send, ses: Simulator, raw: bytes, **options: object) -> tuple[int, str, str]:
    """What the API answers to a message that it must refuse."""
    with pytest.raises(ClientError) as caught:
        await send(ses, raw, **options)
    assert ses.received == ()
    return answer(caught.value)


@both
async def test_a_message_arrives_as_it_was_sent(ses: Simulator, send: Send) -> None:
    """Bytes, envelope, region, caller and ARNs are kept, and the id is the one the caller got."""
    raw = mail(body="caf\xe9 +/= &\r\n.\r\n").decode().encode("latin-1")

    message_id = await send(ses, raw)

    (message,) = ses.received
    assert message.raw == raw
    assert (message.message_id, message.interface) == (message_id, "v1" if send is send_v1 else "v2")
    assert (message.sender, message.recipients) == ("a@example.com", ("b@example.net",))
    assert (message.region, message.access_key_id) == (EAST, DELEGATE.access_key_id)
    assert message.arns == Arns(arn(), arn(), arn())


@both
async def test_the_region_is_the_one_the_signature_names(ses: Simulator, send: Send) -> None:
    """One endpoint serves every region."""
    await send(ses, mail(identity=arn(WEST)), region=WEST)

    assert ses.received[0].region == WEST


async def test_parameters_beat_headers_one_by_one(ses: Simulator) -> None:
    """v1: each ARN parameter replaces its own header only."""
    await send_v1(ses, mail(identity=arn(WEST)).replace(b"X-SES-FROM-ARN", b"X-Other"), SourceArn=arn(),
                  FromArn=arn(), ReturnPathArn=arn())  # fmt: skip

    assert ses.received[0].arns == Arns(arn(), arn(), arn())


async def test_the_first_of_repeated_headers_counts(ses: Simulator) -> None:
    """A client's ARN below ours changes nothing."""
    await send_v1(ses, mail("X-SES-SOURCE-ARN: rubbish"))

    assert ses.received[0].arns.source == arn()


async def test_v2_takes_from_and_reply_to_from_the_call(ses: Simulator) -> None:
    """FromEmailAddress and ReplyToAddresses replace what recipients see; what is stored stays."""
    raw = mail("Reply-To: old@example.com", sender="old@elsewhere.example")
    await send_v2(ses, raw, FromEmailAddress="New <new@example.com>", ReplyToAddresses=["r@example.com"])

    (message,) = ses.received
    assert message.raw == raw
    assert message.delivered == (
        b"From: New <new@example.com>\r\nReply-To: r@example.com\r\n"
        b"To: b@example.net\r\nSubject: Hello\r\n\r\nHello\r\n"
    )


async def test_recipients_left_out_come_from_the_headers(ses: Simulator) -> None:
    """Without Destinations the To, Cc and Bcc headers are the envelope."""
    await send_v1(ses, mail("Cc: C <c@example.net>", "Bcc: d@example.net"), Destinations=None)

    assert ses.received[0].recipients == ("b@example.net", "c@example.net", "d@example.net")


async def test_a_source_with_a_display_name_is_its_address(ses: Simulator) -> None:
    """Source may be a mailbox with a name."""
    await send_v1(ses, mail(), Source="Alice <a@example.com>")

    assert ses.received[0].sender == "a@example.com"


@both
async def test_https_serves_the_same(send: Send) -> None:
    """With https the endpoint is believed by whoever trusts the CA file."""
    async with Simulator(https=True) as ses:
        await send(ses, mail())

        assert ses.api_url.startswith("https://")
        assert len(ses.received) == 1


async def test_a_wrong_secret_is_refused(ses: Simulator) -> None:
    """v1 and v2 have codes of their own for a bad signature."""
    key = replace(DELEGATE, secret_access_key="wrong")

    assert (await refusal(send_v1, ses, mail(), key=key))[:2] == (403, "SignatureDoesNotMatch")
    assert (await refusal(send_v2, ses, mail(), key=key))[:2] == (403, "InvalidSignatureException")


async def test_an_unknown_key_is_refused(ses: Simulator) -> None:
    """v1 and v2 have codes of their own for a key nobody has."""
    key = replace(DELEGATE, access_key_id="AKIAUNKNOWN")
    text = "The security token included in the request is invalid."

    assert await refusal(send_v1, ses, mail(), key=key) == (403, "InvalidClientTokenId", text)
    assert await refusal(send_v2, ses, mail(), key=key) == (403, "UnrecognizedClientException", text)


@pytest.mark.parametrize(("minutes", "words"), [(6, "Signature expired"), (-6, "Signature not yet current")])
async def test_a_clock_more_than_five_minutes_off_is_refused(minutes: int, words: str) -> None:
    """In both directions, with the two times in the text."""
    async with Simulator(clock=lambda: datetime.now(UTC) + timedelta(minutes=minutes)) as ses:
        status, code, text = await refusal(send_v1, ses, mail())

    assert (status, code) == (403, "SignatureDoesNotMatch")
    assert text.startswith(f"{words}: ")
    assert "5 min.)" in text


async def test_a_clock_four_minutes_off_is_fine() -> None:
    """The skew allowed is five minutes."""
    async with Simulator(clock=lambda: datetime.now(UTC) + timedelta(minutes=4)) as ses:
        assert await send_v1(ses, mail())


async def test_an_unknown_region_is_refused(ses: Simulator) -> None:
    """SES is not everywhere."""
    status, code, text = await refusal(send_v1, ses, mail(), region="eu-north-1")

    assert (status, code) == (403, "SignatureDoesNotMatch")
    assert "valid region" in text


@pytest.mark.parametrize("body", [b"", b"Action=SendRawEmail"])
async def test_a_call_without_a_signature_is_refused(ses: Simulator, body: bytes) -> None:
    """The error is XML with the code of a missing token."""
    async with aiohttp.ClientSession() as http, http.post(ses.api_url, data=body) as response:
        assert response.status == 403
        assert "<Code>MissingAuthenticationToken</Code>" in await response.text()


async def test_a_mangled_signature_is_incomplete(ses: Simulator) -> None:
    """Every missing part of the Authorization header is named."""
    headers = {"Authorization": "AWS4-HMAC-SHA256 Credential=a/b/c/d/e"}
    async with aiohttp.ClientSession() as http, http.post(ses.api_url, headers=headers) as response:
        text = await response.text()

    assert response.status == 400
    assert "<Code>IncompleteSignature</Code>" in text
    assert "'Signature' parameter. Authorization header requires 'SignedHeaders' parameter." in text


TEMPORARY = AccessKey(
    access_key_id="ASIAEXAMPLE",
    secret_access_key="secret",
    account=DELEGATE.account,
    principal="arn:aws:sts::111122223333:assumed-role/send/ses-relay",
    session_token="token",
    expires=datetime(2999, 1, 1, tzinfo=UTC),
)


@both
async def test_temporary_keys_need_their_token(send: Send) -> None:
    """A session token is demanded, compared, and good until it expires."""
    async with Simulator(keys=[TEMPORARY]) as ses:
        wrong = await refusal(send, ses, mail(), key=replace(TEMPORARY, session_token="other"))
        missing = await refusal(send, ses, mail(), key=replace(TEMPORARY, session_token=None))
        await send(ses, mail(), key=TEMPORARY)

    assert wrong[1] == missing[1] == ("InvalidClientTokenId" if send is send_v1 else "UnrecognizedClientException")
    assert ses.received[0].access_key_id == TEMPORARY.access_key_id


@both
async def test_expired_tokens_are_refused(send: Send) -> None:
    """In the words of an expired session."""
    key = replace(TEMPORARY, expires=datetime(2020, 1, 1, tzinfo=UTC))
    async with Simulator(keys=[key]) as ses:
        status, code, _ = await refusal(send, ses, mail(), key=key)

    assert (status, code) == (403, "ExpiredToken" if send is send_v1 else "ExpiredTokenException")


def codes(send: Send, v1: str, v2: str) -> str:
    return v1 if send is send_v1 else v2


@both
async def test_fifty_recipients_and_no_more(ses: Simulator, send: Send) -> None:
    """The 51st refuses the message."""
    people = [f"p{number}@example.net" for number in range(51)]

    def to(names: list[str]) -> dict[str, object]:
        return {"Destinations": names} if send is send_v1 else {"Destination": {"BccAddresses": names}}

    status, code, text = await refusal(send, ses, mail(), **to(people))
    await send(ses, mail(), **to(people[:50]))

    assert (status, text) == (400, "Recipient count exceeds 50.")
    assert code == codes(send, "InvalidParameterValue", "BadRequestException")
    assert len(ses.received[0].recipients) == 50


@both
async def test_size_limits(ses: Simulator, send: Send) -> None:
    """10 MiB by v1, 40 MiB by v2, exactly."""
    limit = 10 * MIB if send is send_v1 else 40 * MIB
    raw = mail()
    raw += b"x" * (limit - len(raw))

    status, code, text = await refusal(send, ses, raw + b"x")
    await send(ses, raw)

    assert (status, code) == (400, codes(send, "InvalidParameterValue", "BadRequestException"))
    assert text == f"Message length is more than {limit} bytes long: '{limit + 1}'."
    assert len(ses.received[0].raw) == limit


async def test_bodies_beyond_any_message_are_not_read(ses: Simulator) -> None:
    """413, as an AWS error document."""
    async with aiohttp.ClientSession() as http, http.post(ses.api_url, data=io.BytesIO(bytes(65 * MIB))) as response:
        assert response.status == 413
        assert "<Code>RequestEntityTooLarge</Code>" in await response.text()


@pytest.mark.parametrize("bad", ["", "no-arn", "arn:aws:ses:us-east-1:123456789012:configuration-set/x"])
@both
async def test_a_bad_arn_is_refused(ses: Simulator, send: Send, bad: str) -> None:
    """An empty one too, whether or not the message would need it."""
    raw = mail().replace(arn().encode(), bad.encode(), 1)

    status, code, text = await refusal(send, ses, raw)

    assert (status, code) == (400, codes(send, "InvalidParameterValue", "BadRequestException"))
    assert text == f"Invalid ARN <{bad}>."


@both
async def test_an_unverified_sender_is_named(ses: Simulator, send: Send) -> None:
    """Region in capitals, addresses as they stand, each once."""
    status, code, text = await refusal(send, ses, mail(identity="", sender="Al <a@example.com>"))

    assert (status, code) == (400, "MessageRejected")
    assert text == (
        "Email address is not verified. The following identities failed the check in region US-EAST-1: "
        "a@example.com, Al <a@example.com>"
    )


@both
async def test_an_arn_of_nobody_is_denied(ses: Simulator, send: Send) -> None:
    """With the caller and the ARN in the classic spelling."""
    unknown = arn(name="example.org")

    status, code, text = await refusal(send, ses, mail(identity=unknown))

    assert (status, code) == (403, codes(send, "AccessDenied", "AccessDeniedException"))
    assert (
        text == f"User `{DELEGATE.principal}' is not authorized to perform `ses:SendRawEmail' on resource `{unknown}'"
    )


@pytest.mark.parametrize("source", ["", "<>", "nobody", "a@", "\xfc@example.com", "a b@example.com", "a@exa mple.com"])
async def test_bad_senders_are_refused(ses: Simulator, source: str) -> None:
    """The null sender is one of them."""
    status, code, _ = await refusal(send_v1, ses, mail(), Source=source)

    assert (status, code) == (400, "InvalidParameterValue")


@pytest.mark.parametrize(
    ("recipient", "text"),
    [
        ("nobody", "Missing final '@domain'"),
        ("nobody@", "Missing domain"),
        ("no body@example.net", "Local address contains control or whitespace"),
        ("\u5f20@example.net", "Local address contains control or whitespace"),
        ("a@exam\u5f20ple.net", "Domain contains control or whitespace"),
        ("@example.net", "Invalid email address<@example.net>."),
        (f"{'a' * 320}@x.net", f"Address length is more than 320 characters long: '{'a' * 320}@x.net'."),
    ],
)
async def test_one_bad_recipient_refuses_the_message(ses: Simulator, recipient: str, text: str) -> None:
    """In SES's words for what is wrong with it."""
    answered = await refusal(send_v1, ses, mail(), Destinations=["b@example.net", recipient])

    assert answered == (400, "InvalidParameterValue", text)


@both
async def test_from_is_required(ses: Simulator, send: Send) -> None:
    """Also where an empty line hides the headers."""
    for raw in (mail().replace(b"From:", b"X-From:"), b"\r\n" + mail()):
        assert (await refusal(send, ses, raw))[2] == "Missing required header 'From'."


@pytest.mark.parametrize("field", ["Subject: again", "DKIM-Signature: a\r\nDKIM-Signature: b", "from: c@example.com"])
async def test_fields_that_may_stand_once_are_counted(ses: Simulator, field: str) -> None:
    """The field is named as the second one is written."""
    status, code, text = await refusal(send_v1, ses, mail(field))

    assert (status, code) == (400, "InvalidParameterValue")
    assert text == f"Duplicate header '{field.partition(':')[0]}'."


async def test_to_and_received_may_repeat(ses: Simulator) -> None:
    """They are not on the list."""
    assert await send_v1(ses, mail("Received: a", "Received: b", "To: c@example.net"))


async def test_other_calls_are_unknown(ses: Simulator) -> None:
    """Nothing that is not simulated pretends to work."""
    calls = (
        ("ses", "list_identities", 400, "InvalidAction"),
        ("sesv2", "list_email_identities", 404, "UnknownOperationException"),
        ("sts", "get_session_token", 400, "InvalidAction"),
    )
    for service, name, status, code in calls:
        api = client(ses, service)
        with pytest.raises(ClientError) as caught:
            await asyncio.to_thread(getattr(api, name))
        api.close()

        assert answer(caught.value)[:2] == (status, code)
