"""What anybody may ask: tokens, keys, discovery and health. Nothing here knows a plan."""

from typing import Annotated, Literal

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from gateway.api.call import Call, answer, certificate_of, spend
from gateway.api.shapes import codes
from gateway.callers import ALGORITHMS, ASSERTION_TYPE
from gateway.directory import SCOPES
from gateway.peers import origin
from gateway.store.engine import StoreError
from gateway.store.plans import count_plans
from gateway.tokens import OAuthError

FORM = "application/x-www-form-urlencoded"


class TokenForm(Struct, frozen=True, kw_only=True):
    """A request for a token; further parameters are ignored, as RFC 6749 section 3.2 wants it."""

    grant_type: Literal["client_credentials"]
    client_assertion_type: Annotated[str, codes(ASSERTION_TYPE)]
    client_assertion: Annotated[
        str,
        Meta(
            description="A JWT by the client's key: iss = sub = the client id, aud = this address, exp at most 300 s ahead, jti once."
        ),
    ]
    scope: Annotated[str, Meta(description="Scopes with one space between; all of the client's when left out.")] = ""


class Token(Struct, frozen=True, kw_only=True):
    """An access token, and for how many seconds it is good."""

    access_token: str
    token_type: Annotated[str, codes("bearer")]
    expires_in: int
    scope: str


class TokenRefused(Struct, frozen=True):
    """Why there is no token (RFC 6749 section 5.2)."""

    error: Annotated[str, codes("invalid_request", "invalid_client", "invalid_scope", "unsupported_grant_type")]


async def give_token(call: Call) -> web.Response:
    """POST /oauth/token: OAuth 2 client credentials with private_key_jwt (RFC 6749, RFC 7523)."""
    # By where it comes from, not by the client that it names: anybody can name one, and would keep it out.
    trusted = call.gateway.settings.trusted_proxies
    come_from = origin(call.http.remote, call.http.headers.getall("X-Forwarded-For", ()), trusted)
    spend(call.http, call.gateway.token_rates, come_from)
    try:
        certificate = certificate_of(call.http, call.gateway.settings)
        granted = await call.gateway.gatekeeper.token(await _form(call.http), certificate)
    except OAuthError as error:
        call.gateway.log("token_refused", reason=error.reason)
        return _never_stored(TokenRefused(error.error), 401 if error.error == "invalid_client" else 400)
    return _never_stored(Token(**granted), 200)


async def _form(http: web.Request) -> dict[str, str]:
    """Return the parameters of a token request. Raises OAuthError when it is no form (RFC 6749 section 3.2)."""
    if http.content_type != FORM:
        raise OAuthError("invalid_request", "content-type")
    try:
        return {name: str(value) for name, value in (await http.post()).items()}
    except (LookupError, ValueError) as error:
        raise OAuthError("invalid_request", "encoding") from error


def _never_stored(told: "Token | TokenRefused", status: int) -> web.Response:
    headers = {"Cache-Control": "no-store", "Pragma": "no-cache"}
    return web.Response(body=msgspec.json.encode(told), status=status, content_type="application/json", headers=headers)


async def show_keys(call: Call) -> web.Response:
    """GET /.well-known/jwks.json: the gateway's public keys: those to check its signatures with, and the one to seal to."""
    keys = [*call.gateway.gatekeeper.public_keys(), call.gateway.encryption_key.public()]
    return web.json_response({"keys": keys})


async def show_smart_configuration(call: Call) -> web.Response:
    """GET /fhir/.well-known/smart-configuration (SMART App Launch 2.x, conformance)."""
    return web.json_response(
        {
            "issuer": call.gateway.public_url,
            "token_endpoint": call.gateway.gatekeeper.token_url,
            "jwks_uri": f"{call.gateway.public_url}/.well-known/jwks.json",
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
            "tls_client_certificate_bound_access_tokens": call.gateway.settings.sees_certificates,
            "scopes_supported": sorted(SCOPES),
            "code_challenge_methods_supported": ["S256"],
            "capabilities": ["client-confidential-asymmetric"],
        }
    )


async def is_live(_call: Call) -> web.Response:
    """GET /health/live: the process answers."""
    return answer({"status": "live"})


async def is_ready(call: Call) -> web.Response:
    """GET /health/ready: database and broker answer, and the demo has told its story."""
    checks = {
        "database": await _database(call),
        "broker": call.gateway.broker.ready,
        "started": call.gateway.started.is_set(),
    }
    ready = all(checks.values())
    return answer({"status": "ready" if ready else "not-ready", "checks": checks}, status=200 if ready else 503)


async def _database(call: Call) -> bool:
    try:
        await call.gateway.store.read(count_plans)
    except StoreError:
        return False
    return True
