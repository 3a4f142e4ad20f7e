"""Sessions to try: grammar, and recorded dialogues with bytes changed.

A session is what a client sends, where the packets are cut, and how it ends.
"""

import codecs
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies as st

LISTENERS = ("normalizing", "rejecting", "starttls")
DIALOGS = Path(__file__).resolve().parents[1] / "smtp" / "dialogs"


class Session(NamedTuple):
    """A session with one of the target's listeners.

    `ending`: half-close (after everything has arrived), eager (everything and the end at once), abort (hear nothing).
    """

    wire: bytes
    cuts: tuple[int, ...]
    ending: str
    listener: str = "normalizing"

    def __repr__(self) -> str:
        return f"Session({self.wire[:500]!r}, {self.cuts}, {self.ending}, {self.listener})"

    def chunks(self) -> list[bytes]:
        """The packets; some may be empty."""
        edges = [0, *sorted(min(cut, len(self.wire)) for cut in self.cuts), len(self.wire)]
        return [self.wire[start:end] for start, end in pairwise(edges)]


def recorded() -> list[bytes]:
    """What the clients of the recorded dialogues say."""
    return [_client_bytes(path) for path in sorted(DIALOGS.glob("*.txt"))]


def _client_bytes(path: Path) -> bytes:
    wire = b""
    for line in path.read_text("utf-8").splitlines():
        if line.startswith(("C:", "C+")):
            wire += line[3:].encode() + b"\r\n"
        elif line.startswith("C|"):
            wire += codecs.escape_decode(line[3:].encode())[0]
    return wire[:3000]


SENDERS = [b"app@example.com"] * 6 + [b"refused@example.com", b"later@example.com", b"breaks@example.com"]
RECIPIENTS = [
    b"ann@example.org",
    b"bob@example.org",
    b"cy@example.net",
    b"dee@xn--bcher-kva.example",
    b"eve@example.org",
]
ODD = [
    b"a@elsewhere.test", b"", b"postmaster", b'"a b"@example.com', b"=?utf-8?q?a=0d=0a?=@example.com", b"a@[127.0.0.1]",
    b"@x.test:app@example.com", b"j\xc3\xb6@example.com", b"a@b\xc3\xbccher.example", b"app@EXAMPLE.com",
    b"a\rb@example.com", b"a\0@example.com", b"A" * 64 + b"@example.com", b"x@denied.test", b"a@b@example.com",
    b"a..b@example.com", b'"a\\"b"@example.com', b"a@example.com.", b"a@-example.com", b"x" * 3000 + b"@example.com",
    b'"app"@example.com',
]  # fmt: skip
PARAMETERS = [b""] * 80 + [
    b" SIZE=10", b" SIZE=99999999999", b" BODY=8BITMIME", b" SMTPUTF8", b" AUTH=<>", b" RET=FULL", b" ENVID=x",
    b" NOTIFY=NEVER", b" NOTIFY=SUCCESS,DELAY", b" ORCPT=rfc822;a", b" X=Y", b" =", b" SIZE=\xff", b" SIZE",
    b" BODY=BINARYMIME",
]  # fmt: skip
OTHERS = [
    b"EHLO client", b"HELO client", b"EHLO", b"RSET", b"RSET x", b"NOOP", b"NOOP x", b"VRFY a", b"EXPN a", b"HELP", b"",
    b"DATA", b"DATA x", b"STARTTLS", b"AUTH PLAIN", b"AUTH login", b"AUTH PLAIN AGEAYg==", b"*", b"BDAT 5 LAST",
    b"GET / HTTP/1.1", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2", b"MAIL", b"RCPT", b"MAIL TO:<a@b>", b"\xff\xfe", b"\0",
    b"ehlo x\ry", b"XCLIENT ADDR=127.0.0.1", b"TURN", b"data", b"mAiL fRoM:<app@example.com>", b".", b"EHLO [::1]",
    b"QUIT", b"AUTH PLAIN AGFwcABzZWNyZXQ=", b"AUTH LOGIN YXBw\r\nc2VjcmV0", b"AUTH LOGIN\r\nYXBw\r\nc2VjcmV0",
    b"AUTH PLAIN =",
    b"AUTH PLAIN\r\nAGFwcAB3cm9uZw==", b"AUTH LOGIN\r\n*", b"AUTH CRAM-MD5", b"AUTH PLAIN AGFwcAA=", b"AUTH LOGIN !",
]  # fmt: skip
FIELDS = [
    b"From: app@example.com", b"From: A <app@example.com>, b@example.com", b"Sender: app@example.com", b"Subject: x",
    b"X-SES-SOURCE-ARN: arn:aws:ses:us-west-2:1:identity/evil", b"x-ses-anything : y", b"Subject: x\r\n folded",
    b"Bcc: x@y", b"Bcc: x\r\n\t@y", b"Date: today", b"Message-ID: <1@x>", b"Received: by x", b"Return-Path: <x@y>",
    b"Reply-To: r@x",
]  # fmt: skip
BREAKERS = [
    b" folded", b"\tfolded", b"From nobody Fri Nov 20", b">From x", b"no colon", b": x", b"From: evil@other.test",
    b"From:",
    b"x\0: y", b"X:" + b"y" * 1200, b"", b"Received: by x\r\nReceived: a\r\nReceived: b",
]  # fmt: skip
ENDS = [b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n", b"\n\r"]
VARIANTS = [
    b"\n.\n", b"\n.\r", b"\r.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n", b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\n..\r\n", b"\r\n.x\r\n",
]  # fmt: skip


def _mostly(usual: list[bytes], odd: list[bytes]) -> st.SearchStrategy[bytes]:
    return st.one_of(*[st.sampled_from(usual)] * 9, st.sampled_from(odd))


_end = st.sampled_from(ENDS)
_parameters = st.sampled_from(PARAMETERS)
_mail = st.builds(lambda address, more: b"MAIL FROM:<%b>%b\r\n" % (address, more), _mostly(SENDERS, ODD), _parameters)
_rcpt = st.builds(lambda address, more: b"RCPT TO:<%b>%b\r\n" % (address, more), _mostly(RECIPIENTS, ODD), _parameters)
_other = st.builds(bytes.__add__, st.sampled_from(OTHERS), _end)
_header = st.lists(st.builds(bytes.__add__, _mostly(FIELDS, BREAKERS), _end), max_size=5).map(b"".join)
_text = st.sampled_from([b"Hello", b".", b"..", b"x" * 500, b"x" * 3600, b"\xff\0", b"\r\n", b"RSET\r\n", *VARIANTS])
_body = st.lists(st.one_of(_text, _text, st.binary(max_size=10)), max_size=6).map(b"".join)
_content = st.builds(
    lambda head, gap, body, end: head + gap + body + end,
    _header, st.sampled_from([b"\r\n"] * 4 + [b"", b"\n"]), _body, st.sampled_from([b"\r\n.\r\n"] * 15 + [b""]),
)  # fmt: skip
_transaction = st.builds(
    lambda mail, rcpts, content: mail + b"".join(rcpts) + b"DATA\r\n" + content,
    _mail, st.lists(_rcpt, min_size=1, max_size=5), _content,
)  # fmt: skip
_long = st.sampled_from([2047, 2049, 16_384, 16_385, 33_000]).map(lambda size: b"A" * size + b"\r\n")
_item = st.one_of(*[_transaction] * 9, _mail, _rcpt, *[_other] * 3, _content, st.binary(max_size=30), _long)
_hello = st.sampled_from([b"EHLO client\r\n"] * 9 + [b""])
_grammar = st.builds(lambda hello, items: hello + b"".join(items), _hello, st.lists(_item, max_size=8))

_BYTES = [b"\r\n", b"\n", b"\r", b"\0", b"<", b">", b"@", b":", b" ", b'"', b"\\", b"\xff"]
_token = st.one_of(st.sampled_from([*VARIANTS, *OTHERS, *_BYTES]), st.binary(min_size=1, max_size=4))
_kind = st.sampled_from(["insert", "replace", "delete", "repeat"])
_change = st.tuples(_kind, st.integers(0, 600), st.integers(1, 20), _token)


def _changed(wire: bytes, changes: list[tuple[str, int, int, bytes]]) -> bytes:
    for kind, place, size, token in changes:
        at = place % (len(wire) + 1)
        if kind == "insert":
            wire = wire[:at] + token + wire[at:]
        elif kind == "replace":
            wire = wire[:at] + token + wire[at + len(token) :]
        elif kind == "delete":
            wire = wire[:at] + wire[at + size :]
        else:
            wire = wire[: at + size] + wire[at:]
    return wire


def sessions() -> st.SearchStrategy[Session]:
    """Half grammar, half changed recordings."""
    known = recorded()
    recording = st.integers(0, len(known) - 1).map(known.__getitem__)
    mutated = st.builds(_changed, recording, st.lists(_change, min_size=1, max_size=6))
    cuts = st.lists(st.integers(0, 600), max_size=10).map(tuple)
    endings = st.sampled_from(["half-close"] * 6 + ["eager"] * 3 + ["abort"])
    parts = st.tuples(st.one_of(_grammar, mutated), cuts, endings, st.sampled_from(LISTENERS))
    return parts.map(lambda each: Session(*each))
