"""No spelling of an internal address, and no entry of the operator's list, opens more than it says."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workers.outbound.addresses import AddressRefused, AllowList, check_url, is_public, unwrap

IPV4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
INTERNAL = st.sampled_from(["127.0.0.0/8", "10.0.0.0/8", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"])
NOTHING = AllowList()


def hide_in_ipv6(address: ipaddress.IPv4Address) -> list[ipaddress.IPv6Address]:
    """The address inside the IPv6 addresses that stand for it."""
    number = int(address)
    prefixes = {"::ffff:0:0": 0, "64:ff9b::": 0, "64:ff9b:1::": 0, "2002::": 80}
    found = [
        ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | number << shift)
        for prefix, shift in prefixes.items()
    ]
    teredo = int(ipaddress.IPv6Address("2001::")) | 0x01020304 << 64 | (number ^ 0xFFFFFFFF)
    return [*found, ipaddress.IPv6Address(teredo)]


@given(IPV4)
def test_an_ipv4_address_inside_an_ipv6_one_is_as_public_as_it_is_itself(
    address: ipaddress.IPv4Address,
) -> None:
    for hidden in hide_in_ipv6(address):
        assert unwrap(hidden) == address
        assert is_public(hidden) == is_public(address)


@given(INTERNAL, st.integers(0, 2**32 - 1))
def test_every_spelling_of_an_internal_address_is_refused(network: str, number: int) -> None:
    block = ipaddress.IPv4Network(network)
    value = int(block.network_address) + number % block.num_addresses
    address = ipaddress.IPv4Address(value)
    first, *rest = str(address).split(".")
    spellings = [
        str(address), str(value), hex(value), f"0{value:o}", f"{first}.{value & 0xFFFFFF}",
        ".".join([f"0{int(first):o}", *rest]), *(f"[{hidden}]" for hidden in hide_in_ipv6(address)),
    ]  # fmt: skip
    for spelling in spellings:
        for url in (f"http://{spelling}/", f"https://{spelling}:8080/v1?x=1#y"):
            with pytest.raises(AddressRefused, match="not a public address"):
                check_url(url, NOTHING)


@given(IPV4)
def test_what_the_systems_resolver_reads_is_what_was_checked(address: ipaddress.IPv4Address) -> None:
    """The check and a connection read the same address in a literal."""
    literal = hex(int(address))
    assert socket.inet_ntoa(socket.inet_aton(literal)) == str(address)
    if is_public(address):
        check_url(f"http://{literal}/", NOTHING)
    else:
        with pytest.raises(AddressRefused):
            check_url(f"http://{literal}/", NOTHING)


@given(IPV4, st.integers(8, 32), IPV4, st.integers(1, 65535), st.integers(1, 65535))
def test_an_entry_opens_its_network_on_its_port(
    base: ipaddress.IPv4Address, bits: int, address: ipaddress.IPv4Address, port: int, other: int
) -> None:
    network = ipaddress.IPv4Network((base, bits), strict=False)
    listed = AllowList(AllowList.parse([f"{network}:{port}"]).entries, public=False)
    own = ipaddress.ip_address(int(network.network_address))
    assert listed.allows("x", own, port) == (bits == 32 or not _is_metadata(own))
    assert listed.allows("x", address, port) <= (address in network)
    if other != port:
        assert not listed.allows("x", own, other)


def _is_metadata(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return str(address) in {
        "169.254.169.254", "169.254.170.2", "169.254.170.23", "168.63.129.16", "100.100.100.200",
        "192.0.0.192", "169.254.0.23",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("word", "host", "opened"),
    [
        ("Judge.Internal", "judge.internal", True),
        ("judge.internal.", "JUDGE.internal.", True),
        ("judge.internal", "x.judge.internal", False),
        ("internal", "judge.internal", False),
        ("judge.internal:8000", "judge.internal", False),
        ("judge.internal:80", "judge.internal", True),
    ],
)
def test_a_listed_name_opens_itself_alone(word: str, host: str, opened: bool) -> None:
    assert AllowList.parse([word]).allows(host, ipaddress.ip_address("10.0.0.1"), 80) is opened


@pytest.mark.parametrize("word", ["[fd00::1]:8000", "fd00::/8"])
def test_an_ipv6_entry_is_read_with_and_without_a_port(word: str) -> None:
    listed = AllowList.parse([word])
    assert listed.allows("x", ipaddress.ip_address("fd00::1"), 8000)
    assert listed.allows("x", ipaddress.ip_address("fd00::1"), 8001) is (word == "fd00::/8")


def test_of_several_addresses_of_a_name_the_allowed_ones_remain() -> None:
    assert NOTHING.select("x", 80, ["10.0.0.1", "1.1.1.1", "::1"]) == ["1.1.1.1"]
    with pytest.raises(AddressRefused) as caught:
        NOTHING.select("judge.example", 80, ["10.0.0.1"])
    assert "10.0.0.1" not in str(caught.value)


def test_a_loopback_judge_opens_its_own_port_and_nothing_public() -> None:
    only = AllowList.only("127.0.0.1", 4000)
    assert only.allows("x", ipaddress.ip_address("127.0.0.1"), 4000)
    for address, port in [("127.0.0.1", 4001), ("127.0.0.2", 4000), ("1.1.1.1", 4000)]:
        assert not only.allows("x", ipaddress.ip_address(address), port)


@given(st.text(max_size=30))
@example("a\x00b")
@example("\x7f")
def test_any_url_is_allowed_or_refused_and_nothing_else_is_raised(text: str) -> None:
    for url in (text, f"http://{text}", f"https://host/{text}"):
        with suppress(AddressRefused):
            check_url(url, NOTHING)


def test_a_host_with_a_character_that_nobody_sees_is_refused() -> None:
    for host in ("a\x00b", "127.0.0.1\x00", "a\x7fb"):
        with pytest.raises(AddressRefused, match="cannot be read"):
            check_url(f"http://{host}/", NOTHING)
