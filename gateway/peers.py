"""Who is at the other end of the connection: the peer itself, or whom a trusted proxy says that it speaks for. Pure.

A certificate is known by its thumbprint, `x5t#S256` of RFC 8705 3.1; whether it is a good one, TLS judged before it came here.
What a header says counts only when a proxy of `TRUSTED_PROXIES` sent it; from anybody else it is as if it were not there.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import unquote

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


def thumbprint(certificate: bytes) -> str:
    """Return by what a certificate (DER) is known."""
    return base64.urlsafe_b64encode(hashlib.sha256(certificate).digest()).decode().rstrip("=")


def forwarded_certificate(headers: Sequence[str]) -> bytes | None:
    """Read the certificate (DER) that a proxy passes on in one header; None when there is none, or nothing that is one.

    As URL-encoded PEM, of which the first is the client's (nginx, `$ssl_client_escaped_cert`), or as RFC 9440 has it: `:base64:`.
    """
    if len(headers) != 1:
        return None
    found = _PEM.match(unquote(headers[0])) or _BYTES.fullmatch(headers[0])
    try:
        certificate = base64.b64decode("".join(found[1].split()) if found else "", validate=True)
    except ValueError:
        return None
    return certificate or None


_PEM = re.compile(r"\s*-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
_BYTES = re.compile(r":([A-Za-z0-9+/=]+):")


def _address(text: str) -> Address | None:
    """Read an address, as IPv4 when it is one that IPv6 carries."""
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
