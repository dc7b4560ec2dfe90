"""Who is at the other end of the connection: the peer itself, or whom a trusted proxy says that it speaks for. Pure.

What a header says counts only when a proxy of `TRUSTED_PROXIES` sent it; from anybody else it is as if it were not there.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_SUBSCRIBER_BITS = 64
"""An IPv6 subscriber has a whole /64 to ask from, and counts as one."""


def is_trusted(peer: str | None, trusted: Sequence[Network]) -> bool:
    """Say whether a peer is a proxy whose headers are believed."""
    address = _address(peer or "")
    return address is not None and any(address in network for network in trusted)


def origin(peer: str | None, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """Return from where a request comes, to count by: the last address of `X-Forwarded-For` that is no proxy of ours, or the peer."""
    found = _address(peer or "")
    hops = [hop.strip() for line in forwarded for hop in line.split(",")]
    while hops and found is not None and any(found in network for network in trusted):
        before = _address(hops.pop())
        if before is None:
            break
        found = before
    if isinstance(found, IPv6Address):
        return str(ip_network((found, _SUBSCRIBER_BITS), strict=False))
    return str(found)


def _address(text: str) -> Address | None:
    """Read an address, as IPv4 when it is one that IPv6 carries."""
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
