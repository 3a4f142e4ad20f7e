"""The files of a configuration are watched: what counts as a change, and when."""

import os
from pathlib import Path

import pytest
from settings_samples import Pair

from relay.settings.addresses import UnixAddress
from relay.settings.load import load
from relay.settings.model import Listener
from relay.settings.watching import FileWatch

IDENTITY = (
    "identities: [{senders: ['@example.com'], source_arn: 'arn:aws:ses:us-west-2:123456789012:identity/a.example'}]"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """One file that is watched."""
    path = tmp_path / "relay.yaml"
    path.write_text("before")
    return path


def replace(path: Path, text: str) -> None:
    """Put another file in its place, as editors do."""
    fresh = path.with_name("fresh")
    fresh.write_text(text)
    fresh.rename(path)


def test_nothing_has_changed_at_first(file: Path) -> None:
    assert not FileWatch([file]).has_changed()


def test_another_file_in_its_place_counts_when_it_has_settled(file: Path) -> None:
    """At the second look that finds it as the first did: half a file is not read."""
    watch = FileWatch([file])
    replace(file, "after!")
    assert not watch.has_changed()
    assert watch.has_changed()


def test_a_file_that_goes_on_changing_is_left_alone(file: Path) -> None:
    watch = FileWatch([file])
    for size in range(5):
        file.write_text("x" * size)
        assert not watch.has_changed()
    assert watch.has_changed()


def test_a_change_of_the_same_length_and_time_is_seen(file: Path) -> None:
    """The time of change cannot be set back by whoever writes."""
    watch = FileWatch([file])
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    file.write_text("after_")
    os.utime(file, ns=times)
    watch.has_changed()
    assert watch.has_changed()


def test_what_has_been_read_is_no_change_any_more(file: Path) -> None:
    watch = FileWatch([file])
    replace(file, "after!")
    watch.look_again()
    watch.follow([file])
    assert not watch.has_changed()
    assert not watch.has_changed()


def test_a_change_while_it_is_read_is_not_missed(file: Path) -> None:
    watch = FileWatch([file])
    watch.look_again()
    replace(file, "after!")
    watch.follow([file])
    watch.has_changed()
    assert watch.has_changed()


def test_a_link_that_is_turned_is_a_change(tmp_path: Path, file: Path) -> None:
    """Kubernetes puts new secrets and maps in place like this."""
    other, link = tmp_path / "other", tmp_path / "link"
    other.write_text("before")
    link.symlink_to(file)
    watch = FileWatch([link])
    link.unlink()
    link.symlink_to(other)
    watch.has_changed()
    assert watch.has_changed()


def test_a_file_that_goes_and_comes_back_is_a_change(file: Path) -> None:
    watch = FileWatch([file])
    file.unlink()
    watch.has_changed()
    assert watch.has_changed()


def test_every_file_that_a_configuration_names_is_watched(tmp_path: Path, pair: Pair) -> None:
    """Users, secrets, certificates and keys, also those of listeners that go on although the file has others."""
    files = {"users.yaml": "{}", "secret": "s3cret", "cert.pem": pair.certificate, "key.pem": pair.private_key}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o600)
    path = tmp_path / "relay.yaml"
    path.write_text(
        f"{IDENTITY}\nusers_file: users.yaml\n"
        "credentials: {keys: {access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key_file: secret}}\n"
        "listeners: [{bind: '127.0.0.1:2525', tls: starttls, certificate: cert.pem, private_key: key.pem}]\n"
    )
    path.chmod(0o600)

    standing = Listener(UnixAddress("/run/old"), certificate=Path("/old.pem"), private_key=Path("/old.key"))
    found = {one.name for one in load(path, {}).source.files}
    assert found == {"relay.yaml", *files}
    assert {one.name for one in load(path, {}, standing=[standing]).source.files} == found | {"old.pem", "old.key"}
