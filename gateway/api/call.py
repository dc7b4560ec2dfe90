"""One request as a handler sees it: the gateway, the caller, and parameters that were checked."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.api.query import PLAIN
from gateway.api.route import Route
from gateway.callers import Caller
from gateway.errors import Refusal, refusal
from gateway.peers import forwarded_certificate, is_trusted, thumbprint
from gateway.rates import Rate, Rates
from gateway.settings import Settings
from gateway.wiring import Gateway
from mappings.errors import Finding

Wanted = TypeVar("Wanted")

MAX_KEY_LENGTH = 255
RATE = web.RequestKey("rate", Rate)
"""How the caller of a request stands; it is told with every answer."""

VERSION_HEADER = {"API-Version": "1.0.0"}


class Call(Struct, frozen=True, kw_only=True):
    """A request with everything that was worked out before its handler runs."""

    gateway: Gateway
    http: web.Request
    route: Route
    asked: Struct | None = None
    caller: Caller | None = None

    @property
    def by(self) -> Caller:
        """The caller of a route that is not anonymous."""
        if self.caller is None:
            raise Refusal("unauthenticated")
        return self.caller

    def path(self, name: str) -> str:
        """Return a path parameter."""
        value = self.http.match_info[name]
        if not _PLAIN.fullmatch(value):
            raise Refusal("not-found")
        return value

    def query(self, wanted: type[Wanted]) -> Wanted:
        """Return the query parameters, which were checked against the route's own table: `wanted` names that table's type."""
        if not isinstance(self.asked, wanted):
            raise TypeError("a handler asks for other parameters than its route takes")
        return self.asked

    async def body(self, wanted: type[Wanted]) -> Wanted:
        """Return the JSON body as `wanted`, which the route says it takes. Raises Refusal that names the place, never the value."""
        if self.route.operation is None or self.route.operation.takes is not wanted:
            raise TypeError("a handler reads another body than its route takes")
        if self.http.content_type not in {"application/json", ""}:
            raise refusal("media-type", "", "send application/json")
        return decoded(await self.http.read(), wanted)


def spend(http: web.Request, rates: Rates, who: str) -> None:
    """Count a request. Raises Refusal rate-limit when it is one too many."""
    rate = rates.take(who)
    if rate is None:
        return
    http[RATE] = rate
    if rate.exceeded:
        raise Refusal("rate-limit", headers={"Retry-After": str(rate.retry_seconds)})


def certificate_of(http: web.Request, settings: Settings) -> str | None:
    """Return the thumbprint of the client certificate of a request, or None.

    From a trusted proxy only its header counts, for a certificate of the connection would be the proxy's own.
    """
    if settings.client_cert_header and is_trusted(http.remote, settings.trusted_proxies):
        certificate = forwarded_certificate(http.headers.getall(settings.client_cert_header, ()))
    else:
        tls = http.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
    return thumbprint(certificate) if certificate else None


_PLAIN = re.compile(PLAIN)
_PATH = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
_KINDS = (
    ("Object missing required field", "missing", "add the field {field}"),
    ("Object contains unknown field", "unknown", "leave out what the API does not describe here"),
    ("Invalid enum value", "value", "use one of the values that the API describes"),
    ("Expected", "type", "use the type that the API describes"),
)


def decoded(body: bytes, wanted: type[Wanted]) -> Wanted:
    """Decode JSON into `wanted`. Raises Refusal: json when it is none, document when it is another shape."""
    try:
        try:
            return msgspec.json.decode(body, type=wanted)
        except msgspec.ValidationError as error:
            if not _WHOLE.match(str(error)):
                raise
            return msgspec.convert(_whole(msgspec.json.decode(body)), wanted)
    except msgspec.ValidationError as error:
        raise Refusal("document", [_finding(str(error))]) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal("json") from error


_WHOLE = re.compile(r"Expected `int( \| null)?`, got `float`")


def _whole(value: Any) -> Any:
    """Return JSON with 1.0 as 1: to a JSON Schema both are integers (2020-12, 4.2.3)."""
    if isinstance(value, list):
        return [_whole(each) for each in value]
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _finding(message: str) -> Finding:
    """Say what msgspec found without the values that its message may hold."""
    found = _PATH.search(message)
    steps = _STEP.findall(found.group("path")) if found else []
    pointer = "".join(f"/{name or position}" for name, position in steps)
    for beginning, code, remedy in _KINDS:
        if message.startswith(beginning):
            field = re.search(r"`(\w+)`", message)
            known = field.group(1) if field and code == "missing" else ""
            return Finding(pointer=pointer, code=code, remedy=remedy.format(field=known))
    return Finding(pointer=pointer, code="value", remedy="use a value that the API describes")


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a JSON answer."""
    body = msgspec.json.encode(value)
    return web.Response(
        body=body, status=status, content_type="application/json", headers={**VERSION_HEADER, **(headers or {})}
    )


def idempotency_key(call: Call) -> str | None:
    """Return the Idempotency-Key of a request, if it has one. Raises Refusal."""
    key = call.http.headers.get("Idempotency-Key")
    if key is not None and not (0 < len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable()):
        raise refusal("parameter", "/Idempotency-Key", f"a key has 1 to {MAX_KEY_LENGTH} printable characters")
    return key


def etag(version: int) -> str:
    """Return a weak ETag for a version."""
    return f'W/"{version}"'


def if_match(http: web.Request) -> int:
    """Return the version that If-Match names. Raises Refusal: precondition when it is absent, stale when it names none of ours."""
    text = http.headers.get("If-Match")
    if text is None:
        raise Refusal("precondition")
    found = re.fullmatch(r'\s*(?:W/)?"(\d{1,9})"\s*', text)
    if not found:
        raise Refusal("stale")
    return int(found.group(1))
