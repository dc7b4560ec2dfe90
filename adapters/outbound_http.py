"""The HTTP client of every way out: only to addresses that are allowed, no redirects, bounded answers, no cookies.

Guards against server-side request forgery: a name is resolved here, and the connection goes to the address that was judged.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Network, IPv6Network, ip_address

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from multidict import CIMultiDictProxy

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
        target = ip_address(address.partition("%")[0])
        return target.is_global or any(target in network for network in self._allowed)


def open_session(allowed: Sequence[IPv4Network | IPv6Network], timeout_seconds: float) -> aiohttp.ClientSession:
    """Open the client session that all ways out share."""
    resolver = GuardedResolver(allowed)
    return aiohttp.ClientSession(
        connector=_GuardedConnector(resolver=resolver, limit_per_host=8, use_dns_cache=False),
        timeout=aiohttp.ClientTimeout(total=timeout_seconds, connect=timeout_seconds / 2),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=True,
    )


class _GuardedConnector(aiohttp.TCPConnector):
    """Judges literal addresses too, which aiohttp does not hand to a resolver."""

    def __init__(self, *, resolver: GuardedResolver, limit_per_host: int, use_dns_cache: bool) -> None:
        super().__init__(resolver=resolver, limit_per_host=limit_per_host, use_dns_cache=use_dns_cache)
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
            parcel.url, data=_body(parcel, written), headers=sent, allow_redirects=False
        ) as response:
            if 200 <= response.status < 300:  # noqa: PLR2004 - the 2xx class
                return Reply(response.status, await response.content.read(ANSWER_LIMIT_BYTES))
            return _refused(response)
    except TimeoutError:
        return Answer(signal="timeout")
    except aiohttp.ClientConnectorError as error:
        guarded = isinstance(error.os_error, TargetNotAllowedError)
        return Answer(signal="target-not-allowed" if guarded else "not-connected", left=False)
    except TargetNotAllowedError:
        return Answer(signal="target-not-allowed", left=False)
    except (aiohttp.ClientError, ConnectionError, asyncio.IncompleteReadError):
        return Answer(signal="cut")


async def _body(parcel: Parcel, written: Written) -> AsyncIterator[bytes]:
    yield parcel.body
    written()


def _refused(response: aiohttp.ClientResponse) -> Answer:
    if 300 <= response.status < 400:  # noqa: PLR2004 - the 3xx class
        return Answer(signal="redirect", status=response.status)
    return Answer(signal="status", status=response.status, retry_after_seconds=_retry_after(response.headers))


def _retry_after(headers: CIMultiDictProxy[str]) -> float | None:
    """Read Retry-After (RFC 9110 10.2.3) in either form, as seconds from the Date of the same answer."""
    text = headers.get("Retry-After", "")
    if text.isdigit():
        return float(text)
    try:
        moment: datetime = parsedate_to_datetime(text)
        return max(0.0, (moment - parsedate_to_datetime(headers["Date"])).total_seconds())
    except (ValueError, TypeError, KeyError):
        return None
