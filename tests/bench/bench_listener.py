"""What it costs to take a message: server CPU per message of a whole listener, with an SES that answers at once.

    python tests/bench/bench_listener.py [SECONDS]

The server is a process of its own, its CPU is read from the kernel; the client speaks raw bytes on loopback.
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

SERVER = Path(__file__).with_name("listener_server.py")
CASES = ((1_000, True), (1_000, False), (4_000, True), (4_000, False), (100_000, True), (10_000_000, True))

HELLO = b"EHLO bench\r\n"
ENVELOPE = (b"MAIL FROM:<app@example.com>\r\n", b"RCPT TO:<user@example.org>\r\n", b"DATA\r\n")
HEAD = b"From: app@example.com\r\nTo: user@example.org\r\nSubject: x\r\nDate: Fri, 20 Nov 2026 12:00:00 +0000\r\n"
HEAD += b"Message-ID: <1@example.com>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"


def message(size: int) -> bytes:
    """Lines of 78 bytes, `size` bytes in all."""
    body = (b"x" * 76 + b"\r\n") * (size // 78 + 1)
    return HEAD + body[: max(0, size - len(HEAD) - 2)] + b"\r\n.\r\n"


class Client:
    """One connection, one command at a time."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
        self.reply()
        self.say(HELLO)

    def reply(self) -> bytes:
        while True:
            line = self.file.readline()
            if line[3:4] != b"-":
                return line

    def say(self, data: bytes) -> bytes:
        self.socket.sendall(data)
        return self.reply()

    def send(self, content: bytes) -> None:
        for command in ENVELOPE:
            self.say(command)
        answer = self.say(content)
        if not answer.startswith(b"250"):
            raise RuntimeError(answer)

    def close(self) -> None:
        self.say(b"QUIT\r\n")
        self.file.close()
        self.socket.close()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(pid: int, port: int, size: int, seconds: float, *, reuse: bool) -> str:
    """Send for `seconds`; CPU milliseconds per message and messages per second."""
    content, count = message(size), 0
    client = Client(port)
    began, cpu = time.perf_counter(), cpu_seconds(pid)
    while time.perf_counter() - began < seconds:
        if not reuse:
            client.close()
            client = Client(port)
        client.send(content)
        count += 1
    spent, took = cpu_seconds(pid) - cpu, time.perf_counter() - began
    client.close()
    kind = "reused" if reuse else "new   "
    return f"{size:>11,} bytes, connection {kind}: {1000 * spent / count:8.3f} ms CPU, {count / took:8.0f} msg/s"


def main() -> None:
    """Print the table."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    with subprocess.Popen([sys.executable, str(SERVER)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        for size, reuse in CASES:
            print(measure(server.pid, port, size, seconds, reuse=reuse))
        server.terminate()


if __name__ == "__main__":
    main()
