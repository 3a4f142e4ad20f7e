"""Whatever stands at the path of a configuration or of a file that it names: reading it comes to an end."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from settings_samples import IDENTITY, Refuse, Write

from relay.cli.check import check
from relay.settings.load import load
from relay.settings.reading import LONGEST, Unreadable, read_file

SECRET = IDENTITY + "credentials: {keys: {access_key_id: AKIA1, secret_access_key_file: %s}}\n"
TLS = IDENTITY + "listeners: [{bind: 'localhost:25', tls: implicit, certificate: %s, private_key: key.pem}]\n"


@pytest.fixture
def pipe(tmp_path: Path) -> str:
    """A named pipe that nobody writes to: opening it for reading would wait."""
    os.mkfifo(tmp_path / "pipe")
    return "pipe"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".", "found is a directory"),
        ("/dev/zero", "found a device"),
        ("/dev/null", "found a device"),
        ("nowhere", "found no such file or directory"),
        ("pipe", "found nothing"),
        ("long", "found more than 10 MB; allowed a file of at most 10 MB"),
    ],
)
def test_check_says_what_it_cannot_read(write: Write, pipe: str, path: str, found: str) -> None:
    """Nor does it wait for a pipe, or fill the memory."""
    os.truncate(write("", "long"), LONGEST + 1)
    write("", "other")

    result = CliRunner().invoke(check, ["--config", path])

    assert pipe
    assert result.exit_code == 2
    assert found in result.output


@pytest.fixture
def handed_over() -> Iterator[Path]:
    """A configuration that comes by a pipe, a piece now and a piece later, as from a command in `<(...)`."""
    reader, writer = os.pipe()

    def write() -> None:
        for line in IDENTITY.encode().splitlines(keepends=True):
            os.write(writer, line)
        os.close(writer)

    thread = threading.Thread(target=write)
    thread.start()
    yield Path(f"/dev/fd/{reader}")
    thread.join()
    os.close(reader)


def test_a_pipe_with_a_writer_is_read_to_its_end(handed_over: Path) -> None:
    assert [identity.name for identity in load(handed_over, {}).settings.identities] == ["example.com"]


def test_the_longest_file_is_read_whole(write: Write) -> None:
    path = write("")
    os.truncate(path, LONGEST)

    content, mode = read_file(path)

    assert (len(content), mode & 0o777) == (LONGEST, 0o600)
    os.truncate(path, LONGEST + 1)
    with pytest.raises(Unreadable, match="more than 10 MB"):
        read_file(path)


@pytest.mark.parametrize(("path", "why"), [("/dev/zero", "a device"), ("sub", "is a directory")])
def test_files_that_the_configuration_names_are_held_to_the_same(
    write: Write, refuse_text: Refuse, path: str, why: str
) -> None:
    """A secret's and a list of users."""
    write("", "sub/file")
    for text, key in (
        (SECRET % path, "credentials.keys.secret_access_key_file"),
        (f"users_file: {path}\n", "users_file"),
    ):
        [problem] = refuse_text(text if "identities" in text else IDENTITY + text)
        assert problem == f"relay.yaml:4: error: {key}: found {path} ({why}); allowed a file that can be read"


@pytest.mark.parametrize(("path", "why"), [("pipe", "a pipe or a device"), ("/dev/zero", "a pipe or a device")])
def test_a_certificate_is_a_file_that_can_be_read_again(
    write: Write, refuse_text: Refuse, pipe: str, path: str, why: str
) -> None:
    """On a reload, and by OpenSSL, which would wait for the pipe."""
    write("", "key.pem")

    [problem] = refuse_text(TLS % path)

    assert pipe
    assert problem.endswith(f"certificate: found {path} ({why}); allowed a file that can be read")
