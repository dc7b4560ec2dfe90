"""What anybody may ask: tokens, keys, discovery and health. Nothing here knows a plan."""

from aiohttp import web

from gateway.api.call import Call, answer, certificate_of, spend
from gateway.callers import ALGORITHMS
from gateway.directory import SCOPES
from gateway.peers import origin
from gateway.store.engine import StoreError
from gateway.store.plans import count_plans
from gateway.tokens import OAuthError


async def give_token(call: Call) -> web.Response:
    """POST /oauth/token: OAuth 2 client credentials with private_key_jwt (RFC 6749, RFC 7523)."""
    # By where it comes from, not by the client that it names: anybody can name one, and would keep it out.
    trusted = call.gateway.settings.trusted_proxies
    come_from = origin(call.http.remote, call.http.headers.getall("X-Forwarded-For", ()), trusted)
    spend(call.http, call.gateway.token_rates, come_from)
    form = {name: str(value) for name, value in (await call.http.post()).items()}
    never_stored = {"Cache-Control": "no-store", "Pragma": "no-cache"}
    try:
        certificate = certificate_of(call.http, call.gateway.settings)
        return web.json_response(await call.gateway.gatekeeper.token(form, certificate), headers=never_stored)
    except OAuthError as error:
        call.gateway.log("token_refused", reason=error.reason)
        status = 401 if error.error == "invalid_client" else 400
        return web.json_response({"error": error.error}, status=status, headers=never_stored)


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
