"""What the demo shows: a configuration as an operator would write it, and the mail of some legacy applications."""

from dataclasses import dataclass
from email.message import EmailMessage

from relay.simulator import Simulator

REGIONS = ("us-east-1", "eu-west-1")
IDENTITIES = (
    "arn:aws:ses:us-east-1:123456789012:identity/example.com",
    "arn:aws:ses:eu-west-1:123456789012:identity/example.net",
)

CONFIGURATION = """\
listeners:
  - bind: 127.0.0.1:{port}
identities:
  - senders: ["@example.com"]
    source_arn: arn:aws:ses:us-east-1:123456789012:identity/example.com
    credentials: demo
  - senders: ["@example.net"]
    source_arn: arn:aws:ses:eu-west-1:123456789012:identity/example.net
    credentials: demo
    transport: smtp
  - senders: ["@example.org"]                     # SES has no such identity: it will refuse
    source_arn: arn:aws:ses:us-east-1:123456789012:identity/example.org
    credentials: demo
credentials:
  demo: {{access_key_id: {key_id}, secret_access_key: {secret}}}
ses:                                              # the local SES of this demo
  api_endpoint: {api}
  smtp_endpoint: {smtp}
admin: "off"
"""


@dataclass(frozen=True, slots=True)
class Mail:
    """One message of one application; `why` says what to look at."""

    why: str
    sender: str
    recipients: tuple[str, ...]
    content: bytes


def configuration(ses: Simulator, port: int) -> str:
    """The YAML of a relay on `port` (0: any) that sends through `ses`."""
    host, smtp_port = ses.smtp_address()
    key = ses.keys[0]
    return CONFIGURATION.format(
        port=port, key_id=key.access_key_id, secret=key.secret_access_key, api=ses.api_url, smtp=f"{host}:{smtp_port}"
    )


def mails() -> tuple[Mail, ...]:
    """The demo's mail, in order."""
    return (
        Mail("by the API", "shop@example.com", ("ann@customer.example",), _text("shop@example.com", "Your order")),
        Mail("by SMTP, in another region", "billing@example.net", ("bob@customer.example",), _invoice()),
        Mail("a forged ARN and a Bcc header", "shop@example.com", ("eve@customer.example",), _forged()),
        Mail("too big for SendRawEmail, so SESv2", "shop@example.com", ("ann@customer.example",), _catalogue()),
        Mail("no rule for this sender", "root@host.example", ("ops@customer.example",), _text("root", "cron")),
        Mail("SES refuses this identity", "news@example.org", ("ann@customer.example",), _text("news@example.org", "")),
    )


def _text(sender: str, subject: str) -> bytes:
    return f"From: {sender}\r\nSubject: {subject}\r\n\r\nHello.\r\n".encode("ascii")


def _invoice() -> bytes:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = (
        "Billing <billing@example.net>",
        "bob@customer.example",
        "Invoice",
    )
    message.set_content("Grüße, the invoice is attached.\n")
    message.add_attachment(b"%PDF-1.7 " + bytes(range(256)), maintype="application", subtype="pdf", filename="1.pdf")
    return message.as_bytes()


def _forged() -> bytes:
    arn = b"X-Ses-Source-Arn: arn:aws:ses:us-east-1:999999999999:identity/evil.example\r\n"
    return arn + b"Bcc: secret@customer.example\r\n" + _text("shop@example.com", "Hello")


def _catalogue() -> bytes:
    line = b"0123456789" * 7 + b"\r\n"
    return _text("shop@example.com", "Catalogue") + line * (11 * 1024 * 1024 // len(line))
