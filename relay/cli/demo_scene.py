"""What the demo shows: a world of accounts, a configuration as an operator would write it, and some legacy mail."""

import json
from dataclasses import dataclass, replace
from email.message import EmailMessage
from pathlib import Path

from relay.settings.model import Settings
from relay.simulator import Simulator

# Who owns what, and who may send for whom: what a real set-up has in two AWS accounts (and a third, in the sandbox).
WORLD = """\
regions: [us-east-1, eu-west-1]
accounts:
  "123456789012":                                  # the owner of the identities
    identities:
      - name: example.com
        regions: us-east-1
        policies:
          shop:
            Version: "2012-10-17"
            Statement:
              Effect: Allow
              Principal: {AWS: "arn:aws:iam::111122223333:user/ses-relay"}
              Action: ses:SendRawEmail
              Resource: arn:aws:ses:us-east-1:123456789012:identity/example.com
              Condition: {StringLike: {"ses:FromAddress": "shop*@example.com"}}
      - {name: example.net, regions: eu-west-1, delegates: ["111122223333", "444455556666"]}
  "111122223333":                                  # the delegate, whose relay this is
    users:
      ses-relay:
        access_keys:
          - {access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY}
        policies:
          mail: {Statement: {Effect: Allow, Action: "ses:*", Resource: "*"}}
  "444455556666":                                  # another delegate, still in the sandbox
    production: false
    users:
      trial:
        access_keys:
          - {access_key_id: AKIAI44QH8DHBEXAMPLE, secret_access_key: je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY}
        policies:
          mail: {Statement: {Effect: Allow, Action: "ses:*", Resource: "*"}}
"""

CONFIGURATION = """\
listeners:
  - bind: 127.0.0.1:%(port)d
identities:
  - senders: ["@example.com"]
    source_arn: arn:aws:ses:us-east-1:123456789012:identity/example.com
    credentials: delegate
  - senders: ["@example.net"]
    source_arn: arn:aws:ses:eu-west-1:123456789012:identity/example.net
    credentials: delegate
    transport: smtp
  - name: wrong-region                             # the identity is verified in eu-west-1 only
    senders: ["far@example.net"]
    source_arn: arn:aws:ses:eu-west-1:123456789012:identity/example.net
    region: us-east-1
    credentials: delegate
  - name: sandbox
    senders: ["trial@example.net"]
    source_arn: arn:aws:ses:eu-west-1:123456789012:identity/example.net
    credentials: trial
credentials:
  delegate: {access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY}
  trial: {access_key_id: AKIAI44QH8DHBEXAMPLE, secret_access_key: je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY}
ses:                                               # the local SES of this demo
  api_endpoint: %(api)s
  smtp_endpoint: %(smtp)s
spool:                                             # what SES does not take now is kept here
  path: %(spool)s
  min_free_bytes: 10MB
delivery: {hold_s: 30, retry: [1s]}
admin: "off"
"""


@dataclass(frozen=True, slots=True)
class Mail:
    """One message of one application: what to look at (`why`), and what the relay should answer."""

    why: str
    sender: str
    recipients: tuple[str, ...]
    content: bytes
    answer: str = "250 2.0.0"


def configuration(ses: Simulator, port: int, folder: Path) -> str:
    """The YAML of a relay on `port` (0: any) that sends through `ses`, with a spool in a folder."""
    host, smtp_port = ses.smtp_address()
    spool = json.dumps(str(folder / "spool.db"))
    return CONFIGURATION % {"port": port, "api": ses.api_url, "smtp": f"{host}:{smtp_port}", "spool": spool}


def in_a_hurry(settings: Settings) -> Settings:
    """The same, but applications wait for SES for a second only."""
    return replace(settings, delivery=replace(settings.delivery, hold_s=1.0))


def mails() -> tuple[Mail, ...]:
    """The demo's mail, in order."""
    ann, shop = ("ann@customer.example",), "shop@example.com"
    return (
        Mail("a delegate that the owner's policy allows, by the API", shop, ann, _text(shop, "Your order")),
        Mail("by SMTP, in another region", "billing@example.net", ("bob@customer.example",), _invoice()),
        Mail("a forged ARN and a Bcc header: both are gone", shop, ann, _forged()),
        Mail("too big for SendRawEmail, so SESv2", shop, ann, _catalogue()),
        _mail("no rule for this sender", "root@host.example", "550 5.7.1"),
        _mail("the policy allows other From addresses only", "news@example.com", "554 5.7.1"),
        _mail("the wrong region", "far@example.net", "554 5.7.1"),
        _mail("an account in the sandbox", "trial@example.net", "554 5.7.1"),
    )


def outage_mails() -> tuple[Mail, ...]:
    """What applications send while SES is down."""
    sender = "shop@example.com"
    return tuple(
        Mail("during an outage", sender, (f"customer{number}@customer.example",), _text(sender, f"Order {number}"))
        for number in range(1, 6)
    )


def _mail(why: str, sender: str, answer: str) -> Mail:
    return Mail(why, sender, ("ann@customer.example",), _text(sender, "Hello"), answer)


def _text(sender: str, subject: str) -> bytes:
    return f"From: {sender}\r\nSubject: {subject}\r\n\r\nHello.\r\n".encode("ascii")


def _invoice() -> bytes:
    message = EmailMessage()
    message["From"], message["To"] = "Billing <billing@example.net>", "bob@customer.example"
    message["Subject"] = "Invoice"
    message.set_content("Gr\u00fc\u00dfe, the invoice is attached.\n")
    message.add_attachment(b"%PDF-1.7 " + bytes(range(256)), maintype="application", subtype="pdf", filename="1.pdf")
    return message.as_bytes()


def _forged() -> bytes:
    arn = b"X-Ses-Source-Arn: arn:aws:ses:us-east-1:999999999999:identity/evil.example\r\n"
    return arn + b"Bcc: secret@customer.example\r\n" + _text("shop@example.com", "Hello")


def _catalogue() -> bytes:
    line = b"0123456789" * 7 + b"\r\n"
    return _text("shop@example.com", "Catalogue") + line * (11 * 1024 * 1024 // len(line))
