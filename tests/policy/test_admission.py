"""Admission: whose client a session is, and what it may send."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.model import UNKNOWN_PEER
from relay.policy.admission import Admission, ClientRule

thorough = settings(deadline=None, max_examples=500)


def rule(
    name: str,
    *networks: str,
    unix: bool = False,
    users: tuple[str, ...] | None = None,
    anywhere: bool = False,
) -> ClientRule:
    places = None if anywhere else tuple(map(ip_network, networks))
    return ClientRule.of(name, networks=places, unix=unix, users=users)


def found(entries: list[ClientRule], peer: str | None, user: str | None = None) -> str | None:
    entry = Admission(entries).identify(peer, user)
    return entry.name if entry else None


LOCAL = rule("local", "127.0.0.0/8", "::1/128", unix=True)


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1", "0:0:0:0:0:0:0:1", None])
def test_the_default_entry_is_this_machine(peer: str | None) -> None:
    """Loopback by both families, IPv4 seen through IPv6, and Unix sockets."""
    assert found([LOCAL], peer) == "local"


@pytest.mark.parametrize("peer", ["128.0.0.1", "::2", "::ffff:128.0.0.1", "fe80::1%lo", "", "unix", "127.0.0.1 ", "x"])
def test_nobody_else_is(peer: str) -> None:
    """Nor is a peer whose address cannot be read."""
    assert found([LOCAL], peer) is None


def test_the_first_entry_in_file_order_decides() -> None:
    wide, narrow = rule("wide", "10.0.0.0/8"), rule("narrow", "10.1.0.0/16")

    assert found([wide, narrow], "10.1.2.3") == "wide"
    assert found([narrow, wide], "10.1.2.3") == "narrow"
    assert found([narrow, wide], "10.2.2.3") == "wide"


def test_a_zone_id_does_not_matter() -> None:
    assert found([rule("link", "fe80::/10")], "fe80::1%eth0") == "link"
    assert found([rule("one", "fe80::1/128")], "fe80::1%2") == "one"
    assert found([LOCAL], "::ffff:127.0.0.1%lo") == "local"


def test_mapped_networks_are_ipv4_networks() -> None:
    """Written either way, seen either way."""
    for network in ("10.0.0.0/8", "::ffff:10.0.0.0/104"):
        for peer in ("10.1.2.3", "::ffff:10.1.2.3", "::ffff:a01:203"):
            assert found([rule("ten", network)], peer) == "ten"
        assert found([rule("ten", network)], "::a01:203") is None


def test_the_ipv6_internet_does_not_hold_ipv4() -> None:
    assert found([rule("six", "::/0")], "::ffff:10.1.2.3") is None
    assert found([rule("six", "::/0")], "2001:db8::1") == "six"


def test_a_login_fits_only_entries_that_name_its_user() -> None:
    """And such entries fit no session without that login."""
    billing = rule("billing", users=("billing", "invoices"), anywhere=True)

    assert found([LOCAL, billing], "127.0.0.1") == "local"
    assert found([LOCAL, billing], "127.0.0.1", "billing") == "billing"
    assert found([LOCAL, billing], "192.0.2.1", "invoices") == "billing"
    assert found([LOCAL, billing], None, "billing") == "billing"
    assert found([LOCAL, billing], "192.0.2.1") is None
    assert found([LOCAL, billing], "127.0.0.1", "Billing") is None
    assert found([LOCAL, billing], "127.0.0.1", "") is None
    assert found([rule("big", users=("Big",), anywhere=True)], None, "Big") == "big"
    assert found([rule("nobody", users=(), anywhere=True)], "127.0.0.1", "billing") is None


def test_all_keys_of_an_entry_must_match() -> None:
    both = rule("both", "10.0.0.0/8", users=("billing",))

    assert found([both], "10.0.0.1", "billing") == "both"
    assert found([both], "11.0.0.1", "billing") is None
    assert found([both], "10.0.0.1") is None
    assert found([both], None, "billing") is None


def test_places_that_an_entry_does_not_name_are_closed() -> None:
    """An entry with neither `networks` nor `unix` is open to every place."""
    anywhere = rule("anywhere", anywhere=True)
    socket = rule("socket", unix=True, anywhere=True)

    assert found([anywhere], None) == found([anywhere], "192.0.2.1") == "anywhere"
    assert found([socket], None) == "socket"
    assert found([socket], "127.0.0.1") is None
    assert found([rule("none")], "127.0.0.1") is None


def test_who_comes_from_nowhere_is_in_no_network() -> None:
    """Not in all networks together, and on no Unix socket; where every place will do, or with a login, it may send."""
    everything = rule("everything", "0.0.0.0/0", "::/0", unix=True)
    billing = rule("billing", users=("billing",), anywhere=True)
    office = rule("office", "10.0.0.0/8", users=("billing",))
    socket = rule("socket", unix=True, anywhere=True)

    assert found([everything, LOCAL, socket, billing], UNKNOWN_PEER) is None
    assert found([everything, LOCAL, socket, billing], UNKNOWN_PEER, "billing") == "billing"
    assert found([office], UNKNOWN_PEER, "billing") is None
    assert found([rule("anywhere", anywhere=True)], UNKNOWN_PEER) == "anywhere"


def test_answers_are_remembered_for_a_bounded_number_of_peers() -> None:
    """Memory does not grow with the peers that come by."""
    admission = Admission([rule("ten", "10.0.0.0/8")])
    for number in range(10_000):
        assert admission.identify(f"10.0.{number >> 8}.{number & 255}", None) is not None

    assert admission._remembered.cache_info().currsize <= 4096


def test_what_is_remembered_of_one_user_is_not_told_to_another() -> None:
    admission = Admission([LOCAL, rule("billing", users=("billing",), anywhere=True)])
    names = [
        entry.name if entry else None
        for user in (None, "billing", "x", None)
        for entry in [admission.identify("::1", user)]
    ]

    assert names == ["local", "billing", None, "local"]


# What a client may send.


def test_senders_default_to_any_sender() -> None:
    """Whether there is a rule for it is for routing to say."""
    entry = ClientRule.of("any")

    assert entry.may_send_as("jane@example.com")
    assert entry.may_send_as("")


def test_senders_are_held_to_the_list() -> None:
    entry = ClientRule.of("billing", senders=("billing@example.com", "@invoices.example.com", "billing@Example.com"))

    assert entry.may_send_as("billing@EXAMPLE.com")
    assert entry.may_send_as("x@invoices.example.com")
    assert not entry.may_send_as("Billing@example.com")
    assert not entry.may_send_as("x@eu.invoices.example.com")
    assert not entry.may_send_as("")
    assert not ClientRule.of("mute", senders=()).may_send_as("billing@example.com")


def test_the_null_sender_must_be_listed() -> None:
    assert ClientRule.of("bounces", senders=("<>",)).may_send_as("")
    assert not ClientRule.of("all addresses", senders=("*",)).may_send_as("")


def test_recipients_default_to_all() -> None:
    assert ClientRule.of("any").may_send_to("jane@example.com")


def test_a_denied_recipient_is_denied_however_closely_it_is_allowed() -> None:
    entry = ClientRule.of("careful", allow=("*", "boss@competitor.example"), deny=("@competitor.example",))

    assert entry.may_send_to("jane@example.com")
    assert entry.may_send_to("jane@mail.competitor.example")
    assert not entry.may_send_to("jane@Competitor.example")
    assert not entry.may_send_to("boss@competitor.example")


def test_a_recipient_that_is_not_allowed_is_refused() -> None:
    entry = ClientRule.of("staging", allow=("@example.com",))

    assert entry.may_send_to("jane@example.com")
    assert not entry.may_send_to("jane@example.org")


def test_a_bad_pattern_is_an_error() -> None:
    for key in ("senders", "allow", "deny"):
        with pytest.raises(ValueError, match=r"use @\.example\.com for subdomains"):
            ClientRule.of("typo", **{key: ("*.example.com",)})  # type: ignore[arg-type] # the key varies


# Against brute force: sets of addresses written out.


class Entry(NamedTuple):
    """An entry of the configuration over a world of eight IPv4 addresses, and one Unix socket."""

    networks: tuple[str, ...] | None
    unix: bool
    users: tuple[str, ...] | None


WORLD = tuple(f"10.0.0.{last}" for last in range(8))
networks = st.sampled_from([f"10.0.0.{base}/{32 - bits}" for bits in range(4) for base in range(0, 8, 1 << bits)])
users = st.sampled_from(["a", "b"])
entries = st.builds(
    Entry,
    st.none() | st.lists(networks, max_size=2).map(tuple),
    st.booleans(),
    st.none() | st.lists(users, max_size=2).map(tuple),
)


def first_fitting(world: list[Entry], peer: str | None, user: str | None) -> int | None:
    for number, entry in enumerate(world):
        open_to: set[str | None] = {None} if entry.unix else set()
        if entry.networks is None and not entry.unix:
            open_to = {None, *WORLD}
        for network in entry.networks or ():
            base, _, length = network.removeprefix("10.0.0.").partition("/")
            open_to |= set(WORLD[int(base) : int(base) + (1 << (32 - int(length)))])
        if peer in open_to and user in (entry.users if entry.users is not None else (None,)):
            return number
    return None


@given(
    world=st.lists(entries, max_size=4),
    peer=st.none() | st.sampled_from(WORLD),
    user=st.none() | users,
    mapped=st.booleans(),
)
@thorough
def test_agrees_with_brute_force(world: list[Entry], peer: str | None, user: str | None, *, mapped: bool) -> None:
    rules = [
        ClientRule.of(
            str(number),
            networks=None if entry.networks is None else map(ip_network, entry.networks),
            unix=entry.unix,
            users=entry.users,
        )
        for number, entry in enumerate(world)
    ]
    expected = first_fitting(world, peer, user)
    seen = f"::ffff:{ip_address(peer)}" if peer and mapped else peer

    assert found(rules, seen, user) == (None if expected is None else str(expected))
