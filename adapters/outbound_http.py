"""The HTTP client of every way out: only to addresses that are allowed, no redirects, bounded answers, no cookies.

Guards against server-side request forgery: a name is resolved here, and the connection goes to the address that was judged.
"""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import aiohttp
from aiohttp.abc import AbstractResolver, AbstractStreamWriter, ResolveResult
from aiohttp.resolver import ThreadedResolver

from adapters.interface import Answer, Parcel, Written

ANSWER_LIMIT_BYTES = 5_000_000


class TargetNotAllowedError(OSError):
    """The address is neither public nor in the allowed networks."""


class GuardedResolver(AbstractResolver):
    """Resolves a name and keeps only addresses that outgoing calls may reach."""

    def __init__(self, allowed: Sequence[IPv4Network | IPv6Network]) -> None:
        self._allowed = tuple(allowed)
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the allowed addresses of `host`. Raises TargetNotAllowedError when there are none."""
        found = await self._resolver.resolve(host, port, family)
        kept = [result for result in found if self.allows(result["host"])]
        if not kept:
            raise TargetNotAllowedError
        return kept

    async def close(self) -> None:
        """Close the resolver beneath."""
        await self._resolver.close()

    def allows(self, address: str) -> bool:
        """Say whether a literal address may be reached."""
        target = _embedded(ip_address(address.partition("%")[0]))
        public = target.is_global and not target.is_multicast
        return public or any(target in network for network in self._allowed)


_NAT64 = ip_network("64:ff9b::/96")


def _embedded(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 one leads to (mapped, 6to4, Teredo, NAT64), or the address itself."""
    if not isinstance(address, IPv6Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo[1] if address.teredo else None
    return address.ipv4_mapped or address.sixtofour or teredo or address


def open_session(allowed: Sequence[IPv4Network | IPv6Network], timeout_seconds: float) -> aiohttp.ClientSession:
    """Open the client session that all ways out share. It bounds no connections: whoever sends bounds them per recipient, and two
    recipients may share a host."""
    resolver = GuardedResolver(allowed)
    return aiohttp.ClientSession(
        connector=_GuardedConnector(resolver=resolver, limit=0, use_dns_cache=False),
        timeout=aiohttp.ClientTimeout(total=timeout_seconds, connect=timeout_seconds / 2),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=True,
    )


class _GuardedConnector(aiohttp.TCPConnector):
    """Judges literal addresses too, which aiohttp does not hand to a resolver."""

    def __init__(self, *, resolver: GuardedResolver, limit: int, use_dns_cache: bool) -> None:
        super().__init__(resolver=resolver, limit=limit, use_dns_cache=use_dns_cache)
        self._guard = resolver

    async def _resolve_host(
        self, host: str, port: int, traces: "Sequence[aiohttp.tracing.Trace] | None" = None
    ) -> list[ResolveResult]:
        found = await super()._resolve_host(host, port, traces)
        if not all(self._guard.allows(result["host"]) for result in found):
            raise TargetNotAllowedError
        return found


class Reply:
    """A status with the bounded body of a 2xx."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body


async def post(
    session: aiohttp.ClientSession, parcel: Parcel, written: Written, headers: dict[str, str]
) -> Reply | Answer:
    """POST a parcel: a 2xx comes back as `Reply` to be judged by the caller, everything else as the final `Answer`."""
    sent = {
        "Content-Type": parcel.content_type,
        "Content-Length": str(len(parcel.body)),
        "Planbrug-Delivery": parcel.delivery_id,
        "Planbrug-Sequence": str(parcel.sequence),
        "Planbrug-Sha256": parcel.sha256,
        **headers,
    }
    try:
        async with session.post(
            parcel.url, data=_Body(parcel, written), headers=sent, allow_redirects=False
        ) as response:
            if 200 <= response.status < 300:  # noqa: PLR2004 - the 2xx class
                return Reply(response.status, await _read(response))
            return _refused(response)
    except aiohttp.ConnectionTimeoutError:
        return Answer(signal="timeout", left=False)
    except TimeoutError:
        return Answer(signal="timeout")
    except aiohttp.ClientConnectorError as error:
        guarded = isinstance(error.os_error, TargetNotAllowedError)
        return Answer(signal="target-not-allowed" if guarded else "not-connected", left=False)
    except TargetNotAllowedError:
        return Answer(signal="target-not-allowed", left=False)
    except (aiohttp.ClientError, ConnectionError, asyncio.IncompleteReadError):
        return Answer(signal="cut")


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Read to the end of the answer, or to the limit: what is cut there is no receipt."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > ANSWER_LIMIT_BYTES:
            return b""
    return bytes(body)


class _Body(aiohttp.Payload):
    """The bytes of a parcel, which say when the last of them is written."""

    def __init__(self, parcel: Parcel, written: Written) -> None:
        super().__init__(parcel.body, content_type=parcel.content_type)
        self._body = parcel.body
        self._size = len(parcel.body)
        self._written = written

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as text."""
        return self._body.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the body."""
        await writer.write(self._body)
        self._written()

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:  # noqa: ARG002 - it is ours
        """Write the body, whose length was announced."""
        await self.write(writer)


def _refused(response: aiohttp.ClientResponse) -> Answer:
    if 300 <= response.status < 400:  # noqa: PLR2004 - the 3xx class
        return Answer(signal="redirect", status=response.status)
    return Answer(signal="status", status=response.status, retry_after_seconds=_retry_after(response.headers))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After (RFC 9110 10.2.3) in either form, as seconds from the Date of the same answer."""
    text = headers.get("Retry-After", "")
    try:
        if text.isascii() and text.isdigit():
            return float(text[:9])
        moment: datetime = parsedate_to_datetime(text)
        return max(0.0, (moment - parsedate_to_datetime(headers["Date"])).total_seconds())
    except (ValueError, TypeError, KeyError, OverflowError):
        return None
