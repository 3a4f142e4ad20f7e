r"""Plays SMTP dialogues that are written down as text against a real listener.

# a comment says what must hold
@ outcomes: delivered, throttled        settings of the play, before the first line; see test_dialogs.py
S: 220 relay.test ESMTP                 the server says exactly this line
S~ 451 4.3.0 *                          the server says a line of this shape (* and ?)
C: EHLO client                          the client sends this line with CRLF
C| .\n                                  the client sends these bytes, Python escapes, no line ending added
C+ RSET                                 as C:, but in one packet with the next C line (pipelining)
half-close | close                      the client closes its sending side, or altogether
S.                                      the server closes the connection
"""

import asyncio
import codecs
import contextlib
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

PATIENCE_S = 10.0


@dataclass
class Transcript:
    """One dialogue: its settings and its lines, each with its number."""

    name: str
    settings: dict[str, str] = field(default_factory=dict)
    lines: list[tuple[int, str, str]] = field(default_factory=list)


def read(path: Path) -> Transcript:
    """Parse a file; every line that is not understood is an error."""
    transcript = Transcript(path.stem)
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("@ "):
            key, _, value = line[2:].partition(":")
            transcript.settings[key.strip()] = value.strip()
        elif line in ("half-close", "close", "S."):
            transcript.lines.append((number, line, ""))
        elif line[:2] in ("S:", "S~", "C:", "C|", "C+"):
            transcript.lines.append((number, line[:2], line[3:]))
        else:
            raise ValueError(f"{path}:{number}: not understood: {line}")
    return transcript


async def play(transcript: Transcript, port: int) -> None:
    """Act the client's part; AssertionError names the line where the server left the script."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    held = b""
    try:
        for number, kind, text in transcript.lines:
            where = f"{transcript.name}:{number}"
            if kind == "C+":
                held += text.encode() + b"\r\n"
            elif kind in ("C:", "C|"):
                data = text.encode() + b"\r\n" if kind == "C:" else _unescape(text)
                writer.write(held + data)
                held = b""
                await writer.drain()
            elif kind == "half-close":
                writer.write_eof()
            elif kind == "close":
                return
            else:
                await _hear(reader, kind, text, where)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _hear(reader: asyncio.StreamReader, kind: str, text: str, where: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        said = (await reader.readline()).decode("ascii")
    if kind == "S.":
        assert said == "", f"{where}: the server should close, it said {said!r}"
        return
    assert said.endswith("\r\n"), f"{where}: the server closed instead of saying {text!r}"
    said = said.removesuffix("\r\n")
    matches = said == text if kind == "S:" else fnmatchcase(said, text)
    assert matches, f"{where}: expected {text!r}, the server said {said!r}"


def _unescape(text: str) -> bytes:
    return codecs.escape_decode(text.encode())[0]
