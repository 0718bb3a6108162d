"""Decides which addresses outbound requests may reach.

Public unicast addresses only, unless the operator lists more: ``GROOVE_OUTBOUND_ALLOW``.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from workers.outbound.errors import AddressRefused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ALLOW_VARIABLE = "GROOVE_OUTBOUND_ALLOW"
PROXY_VARIABLE = "GROOVE_OUTBOUND_PROXY"
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
_PORT = re.compile(r"[0-9]{1,5}")
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
# NAT64 (RFC 6052, RFC 8215) and IPv4-compatible addresses hold an IPv4 address in their last 32 bits.
_HOLD_IPV4 = [ipaddress.ip_network(each) for each in ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")]
# Instance metadata hands out credentials: AWS, GCP, Azure, Alibaba, Oracle, Tencent. A listed network or host
# name does not open them, only an entry with the address itself.
METADATA = frozenset(
    ipaddress.ip_address(each)
    for each in (
        "169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23",
        "fd20:ce::254", "168.63.129.16", "100.100.100.200", "192.0.0.192", "169.254.0.23",
    )
)  # fmt: skip


def unwrap(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
    if inner is None and int(address) > 1 and any(address in network for network in _HOLD_IPV4):
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address


def is_public(address: Address) -> bool:
    """True for a global unicast address that no cloud uses for instance metadata."""
    address = unwrap(address)
    if address in METADATA or address.is_multicast or address.is_unspecified or not address.is_global:
        return False
    return isinstance(address, ipaddress.IPv4Address) or address in _GLOBAL_UNICAST


@dataclass(frozen=True)
class Entry:
    """A host name or a network, on one port or on all."""

    host: str = ""
    network: Network | None = None
    port: int | None = None

    def allows(self, host: str, address: Address, port: int) -> bool:
        """True if a connection to ``address``, which ``host`` resolved to, is covered."""
        if self.port not in (None, port):
            return False
        if self.network is None:
            return host == self.host and address not in METADATA
        alone = self.network.num_addresses == 1
        return address in self.network and (alone or address not in METADATA)


@dataclass(frozen=True)
class AllowList:
    """Addresses that outbound requests may reach besides public ones, or instead of them."""

    entries: tuple[Entry, ...] = ()
    public: bool = True

    @classmethod
    def parse(cls, words: Iterable[str]) -> AllowList:
        """Read host names, addresses and networks, each with a port if it has one. Raises ``ValueError``."""
        return cls(tuple(_parse_entry(word.strip().lower()) for word in words if word.strip()))

    @classmethod
    def only(cls, host: str, port: int) -> AllowList:
        """Allow one address and port, and nothing else."""
        return cls((Entry(network=ipaddress.ip_network(host), port=port),), public=False)

    def allows(self, host: str, address: Address, port: int) -> bool:
        """True if a connection for ``host`` may go to ``address``."""
        inner, name = unwrap(address), host.lower().rstrip(".")
        if any(entry.allows(name, inner, port) for entry in self.entries):
            return True
        return self.public and is_public(address)

    def lists(self, host: str, port: int) -> bool:
        """True if an entry covers the host as the URL spells it, by name or address, without a look-up."""
        literal, name = _parse_literal(host), host.lower().rstrip(".")
        if literal is None:
            return any(entry.host == name and entry.port in (None, port) for entry in self.entries)
        address = unwrap(ipaddress.ip_address(literal))
        return any(entry.allows(name, address, port) for entry in self.entries)

    def select(self, host: str, port: int, found: Iterable[str]) -> list[str]:
        """Return the addresses that a connection may go to. Raises ``AddressRefused`` if there is none."""
        allowed = [each for each in found if self.allows(host, ipaddress.ip_address(each), port)]
        if not allowed:
            raise refusal(host)
        return allowed


def refusal(host: str) -> AddressRefused:
    """The error for a host whose addresses are not allowed. It does not tell the addresses."""
    return AddressRefused(
        f"{host} is not a public address. The operator of this site can allow it with {ALLOW_VARIABLE}."
    )


def _parse_entry(word: str) -> Entry:
    network = _parse_network(word)
    if network is not None:
        return Entry(network=network)
    host, colon, port = word.rpartition(":")
    if not colon:
        host, port = word, ""
    elif not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise ValueError(f"{word!r} has no valid port")
    number = int(port) if port else None
    network = _parse_network(host.removeprefix("[").removesuffix("]"))
    if network is not None:
        return Entry(network=network, port=number)
    if not _HOST.fullmatch(host.rstrip(".")):
        raise ValueError(f"{word!r} is neither a host name, an address nor a network")
    return Entry(host=host.rstrip("."), port=number)


def _parse_network(word: str) -> Network | None:
    try:
        return ipaddress.ip_network(word, strict=False)
    except ValueError:
        return None


def operator_allow_list() -> AllowList:
    """Read the operator's list from the environment."""
    return AllowList.parse(os.environ.get(ALLOW_VARIABLE, "").split(","))


def operator_proxy() -> str:
    """Read the operator's proxy from the environment; empty for none. Other proxy variables do not count."""
    return os.environ.get(PROXY_VARIABLE, "")


def require_https(url: str, allow: AllowList | None = None) -> None:
    """Raise ``AddressRefused`` for a URL without TLS, unless the operator lists its host."""
    allow = operator_allow_list() if allow is None else allow
    check_url(url, allow)
    parts = urlsplit(url)
    if parts.scheme != "https" and not allow.lists(parts.hostname or "", parts.port or 80):
        raise AddressRefused("The URL must begin with https://.")


def check_url(url: str, allow: AllowList | None = None) -> None:
    """Check all of a URL that needs no name server. Raises ``AddressRefused``."""
    allow = operator_allow_list() if allow is None else allow
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise AddressRefused("The URL cannot be read.") from error
    if not host.isprintable():  # the system's resolver fails on NUL
        raise AddressRefused("The URL cannot be read.")
    if parts.scheme not in {"http", "https"} or not host:
        raise AddressRefused("The URL must begin with http:// or https:// and name a host.")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("The URL must not hold a user name or password.")
    if host.rstrip(".") == "localhost" or host.endswith(".localhost"):
        allow.select(host, port, ["127.0.0.1"])
    literal = _parse_literal(host)
    if literal is not None:
        allow.select(host, port, [literal])


def _parse_literal(host: str) -> str | None:
    """Return the address that ``host`` spells out, in any form that the system's resolver takes."""
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host))  # 127.1, 0x7f000001, 2130706433
    except (OSError, UnicodeError):
        return None
