"""Where listeners bind and clients come from."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.settings.addresses import (
    SystemdSocket,
    TcpAddress,
    UnixAddress,
    cover_everything,
    parse_bind,
    parse_network,
    parse_tcp,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:2525", TcpAddress("127.0.0.1", 2525)),
        ("localhost:0", TcpAddress("localhost", 0)),
        ("mail.example.com:25", TcpAddress("mail.example.com", 25)),
        ("[::1]:25", TcpAddress("::1", 25)),
        ("[2001:db8::1]:65535", TcpAddress("2001:db8::1", 65535)),
        ("unix:/run/ses-relay/smtp.sock", UnixAddress("/run/ses-relay/smtp.sock")),
        ("systemd:smtp", SystemdSocket("smtp")),
    ],
)
def test_every_form_of_bind_is_parsed_and_written_as_it_was(text: str, expected: object) -> None:
    assert parse_bind(text) == expected
    assert parse_bind(expected) is expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "25", ":25", "host", "host:", "host:65536", "::1:25", "[1.2.3.4]:25", "[::1]", "256.1.1.1:25", "1.2:25"),
        *("[fe80::1%eth0]:25", "a b:25", "a/b:25", "unix:", "unix:a", "systemd:", "systemd:a:b"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        parse_bind(text)


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("localhost:25", True),
        ("LOCALHOST:25", True),
        ("127.0.0.1:25", True),
        ("127.9.9.9:25", True),
        ("[::1]:25", True),
        ("0.0.0.0:25", False),
        ("[::]:25", False),
        ("10.0.0.1:25", False),
        ("localhost.example.com:25", False),
        ("loopback:25", False),
    ],
)
def test_only_loopback_is_loopback(text: str, *, loopback: bool) -> None:
    """A name is none, whatever the resolver says of it today."""
    assert parse_tcp(text).loopback is loopback


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.1", "10.0.0.1/32"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_networks_are_parsed(text: str, expected: str) -> None:
    assert parse_network(text) == ip_network(expected)


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "10.0.0.0/33", "10", "example.com", "10.0.0.0/255.0.255.0", "10.1"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a network"):
        parse_network(text)


@pytest.mark.parametrize(
    "networks",
    [
        ["0.0.0.0/0"],
        ["::/0"],
        ["0.0.0.0/1", "128.0.0.0/1"],
        ["0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/1", "10.0.0.0/8"],
        ["::ffff:0:0/96"],
        ["::ffff:0.0.0.0/97", "128.0.0.0/1"],
        ["2000::/3"],
        ["2000::/4", "3000::/4"],
        ["0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/3"],
        ["1.0.0.0/8", "2.0.0.0/7", "4.0.0.0/6", "8.0.0.0/5", "16.0.0.0/4", "32.0.0.0/3", "64.0.0.0/2", "128.0.0.0/1"],
        ["::ffff:0.0.0.0/97", "::ffff:128.0.0.0/98", "::ffff:192.0.0.0/99"],
    ],
)
def test_networks_that_hold_the_world_are_recognised(networks: list[str]) -> None:
    assert cover_everything(tuple(parse_network(text) for text in networks))


@pytest.mark.parametrize(
    ("left_out", "whole"),
    [
        *((own, "0.0.0.0/0") for own in ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4")),
        *((own, "::/0") for own in ("::1/128", "fc00::/7", "fe80::/10", "ff00::/8", "2001:db8::/32")),
    ],
)
def test_the_world_is_where_strangers_come_from(left_out: str, whole: str) -> None:
    """Who admits everybody but himself, his own networks, or addresses that no host has, admits everybody."""
    everything: Any = ip_network(whole)

    assert cover_everything(tuple(everything.address_exclude(ip_network(left_out))))


@pytest.mark.parametrize("stranger", ["8.8.8.8", "223.255.255.255", "172.32.0.1", "2600::1", "3fff:1000::1"])
def test_where_one_stranger_is_left_out_somebody_chose(stranger: str) -> None:
    """There is no telling how many would be too few."""
    everything: Any = ip_network("::/0" if ":" in stranger else "0.0.0.0/0")

    assert not cover_everything(tuple(everything.address_exclude(ip_network(stranger))))


OWN = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "fc00::/7"]


@pytest.mark.parametrize(
    "networks",
    [
        [],
        ["10.0.0.0/8"],
        ["0.0.0.0/1"],
        ["128.0.0.0/1"],
        ["0.0.0.0/1", "128.0.0.0/2"],
        ["2001:db8::/32", "fc00::/7"],
        ["::1"],
        ["2000::/4"],
        OWN,
    ],
)
def test_narrower_networks_do_not_hold_the_world(networks: list[str]) -> None:
    assert not cover_everything(tuple(parse_network(text) for text in networks))


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 30))
def test_any_way_to_cut_the_world_in_two_still_holds_it(address: int, prefix: int) -> None:
    """Halving networks at random, as an operator might by hand, makes no open relay legal."""
    whole = [ip_network("0.0.0.0/0")]
    for _ in range(prefix):
        index = address % len(whole)
        whole[index : index + 1] = whole[index].subnets() if whole[index].prefixlen < 32 else [whole[index]]

    assert cover_everything(tuple(whole))
    assert not cover_everything(tuple(network for network in whole if ip_address("8.8.8.8") not in network))
