"""Give access tokens to clients that prove who they are, and judge them again at every request.

OAuth 2 client credentials with `private_key_jwt`, as SMART Backend Services has it.
Sources: RFC 7523; https://hl7.org/fhir/smart-app-launch/backend-services.html.
"""

import math
from datetime import datetime, timedelta
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from joserfc.jwt import Token

from gateway.callers import (
    ALGORITHMS,
    ASSERTION_SECONDS,
    ASSERTION_TYPE,
    CLOCK_SKEW_SECONDS,
    TOKEN_SECONDS,
    Caller,
    covers,
    still,
)
from gateway.claims import BOUND, CHALLENGE, check_binding, is_in_time
from gateway.clock import Clock
from gateway.directory import Client, Directory
from gateway.errors import Refusal
from gateway.professionals import Professionals
from gateway.published import Published
from gateway.signatures import SignatureError, UnknownKeyError, unverified, verified, verified_by
from gateway.signing import SigningKeys
from gateway.store.assertions import use_assertion
from gateway.store.engine import Store

TOKENS_IN_HAND = 1_000
KEYS_KEPT_SECONDS = 10
"""How long what stands at a client's `jwksUrl` is believed: a client comes back for a token after minutes."""


class OAuthError(Exception):
    """A token request is refused (RFC 6749 5.2); `error` is the code of the standard, `reason` is for the log."""

    def __init__(self, error: str, reason: str) -> None:
        super().__init__(reason)
        self.error = error
        self.reason = reason


class Gatekeeper:
    """Issues access tokens, and judges them again at every request."""

    def __init__(
        self,
        keys: SigningKeys,
        issuer: str,
        store: Store,
        directory: Directory,
        clock: Clock,
        published: Published,
        professionals: Professionals | None = None,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._store = store
        self._directory = directory
        self._clock = clock
        self._published = published
        self._professionals = professionals
        self._tokens: dict[str, tuple[ECKey, Token]] = {}

    @property
    def token_url(self) -> str:
        """Where tokens are had, and what an assertion's `aud` must be."""
        return f"{self._issuer}/oauth/token"

    def public_keys(self) -> list[dict[str, Any]]:
        """Return the keys that this gateway's signatures are judged with, as public JWKs; the first one signs now."""
        return self._keys.public()

    async def token(self, form: dict[str, str], certificate: str | None = None) -> dict[str, Any]:
        """Answer a token request that came with this client certificate (its thumbprint). Raises OAuthError."""
        if form.get("grant_type") != "client_credentials":
            raise OAuthError("unsupported_grant_type", "grant-type")
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise OAuthError("invalid_client", "assertion-type")
        client = await self._client_of(form.get("client_assertion", ""))
        if client.mtls and certificate is None:
            raise OAuthError("invalid_client", "no-certificate")
        scopes = _granted(client, form.get("scope", ""))
        now = int(self._clock.now().timestamp())
        claims = {
            "iss": self._issuer,
            "sub": client.client_id,
            "aud": self._issuer,
            "iat": now,
            "exp": now + TOKEN_SECONDS,
            "jti": self._clock.new_id(),
            "scope": scopes,
            **({"cnf": {BOUND: certificate}} if client.mtls else {}),
        }
        key = self._keys.now()[0]
        token = jwt.encode({"alg": "ES384", "typ": "at+jwt", "kid": key.kid}, claims, key, algorithms=ALGORITHMS)
        return {"access_token": token, "token_type": "bearer", "expires_in": TOKEN_SECONDS, "scope": scopes}

    async def caller(self, authorization: str, certificate: str | None = None) -> Caller:
        """Return who holds this Authorization header and client certificate. Raises Refusal: unauthenticated."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Refusal("unauthenticated", headers=CHALLENGE)
        token = token.strip()
        if self._professionals is not None and self._professionals.issued(token):
            return await self._professionals.caller(token, certificate)
        decoded = self._verified(token)
        claims = decoded.claims
        now = self._clock.now().timestamp()
        fresh = is_in_time(claims, now)
        ours = (claims.get("iss"), claims.get("aud"), decoded.header.get("typ")) == (
            self._issuer,
            self._issuer,
            "at+jwt",
        )
        known = (await self._directory.now()).clients.get(str(claims.get("sub")))
        if not (fresh and ours and known):
            raise Refusal("unauthenticated", headers=CHALLENGE)
        entry, client = known
        check_binding(claims, certificate, must_be_bound=client.mtls)
        return Caller(entry=entry, client=client, scopes=still(str(claims.get("scope", "")).split(), client))

    def _verified(self, token: str) -> Token:
        """Return a token whose signature holds; it is verified once, and its claims are judged at every request."""
        believed = self._keys.now()
        known = self._tokens.get(token)
        if known is not None and known[0] in believed:
            return known[1]
        try:
            named = unverified(token, 0).get("kid")
            key = next(key for key in believed if key.kid == named)
            decoded = jwt.decode(token, key, algorithms=["ES384"])
        except (SignatureError, StopIteration, JoseError, ValueError) as error:
            raise Refusal("unauthenticated", headers=CHALLENGE) from error
        if len(self._tokens) >= TOKENS_IN_HAND:
            self._tokens.clear()
        self._tokens[token] = (key, decoded)
        return decoded

    async def _signed_by(self, client: Client, assertion: str) -> Token:
        """Return an assertion that a client's key signed."""
        if client.jwks is not None:
            return verified(assertion, client.jwks.keys, ALGORITHMS)
        if client.jwks_url is None:
            raise UnknownKeyError("this client has no keys")
        return await verified_by(self._published, client.jwks_url, KEYS_KEPT_SECONDS, assertion, ALGORITHMS)

    async def _client_of(self, assertion: str) -> Client:
        """Return the client that signed an assertion, and use the assertion up."""
        try:
            claimed = str(unverified(assertion, 1)["sub"])
        except (SignatureError, KeyError) as error:
            raise OAuthError("invalid_client", "not-a-jwt") from error
        known = (await self._directory.now()).clients.get(claimed)
        if known is None:
            raise OAuthError("invalid_client", "unknown-client")
        _, client = known
        try:
            decoded = await self._signed_by(client, assertion)
        except UnknownKeyError as error:
            raise OAuthError("invalid_client", "unknown-key") from error
        except SignatureError as error:
            raise OAuthError("invalid_client", "signature") from error
        except OSError as error:
            raise OAuthError("invalid_client", "keys-unreachable") from error
        claims = decoded.claims
        now = self._clock.now()
        if wrong := _wrong_claim(claims, client.client_id, self.token_url, now):
            raise OAuthError("invalid_client", wrong)
        expires_at = now + timedelta(seconds=ASSERTION_SECONDS + CLOCK_SKEW_SECONDS)
        jti = str(claims["jti"])
        if not await self._store.write(lambda tx: use_assertion(tx, client.client_id, jti, expires_at, now)):
            raise OAuthError("invalid_client", "replayed")
        return client


def _wrong_claim(claims: dict[str, Any], client_id: str, token_url: str, now: datetime) -> str | None:
    """Name the first claim that is not as RFC 7523 section 3 wants it, or None."""
    seconds = now.timestamp()
    audience = claims.get("aud")
    moments = (claims.get("exp"), claims.get("iat", seconds), claims.get("nbf", seconds))
    expires, *begins = (value if isinstance(value, int | float) else math.nan for value in moments)
    checks = (
        ("iss", claims.get("iss") == client_id),
        ("sub", claims.get("sub") == client_id),
        ("aud", audience == token_url or (isinstance(audience, list) and token_url in audience)),
        ("jti", isinstance(claims.get("jti"), str) and 0 < len(claims["jti"]) <= 64),  # noqa: PLR2004 - the column's length
        ("exp", seconds < expires <= seconds + ASSERTION_SECONDS + CLOCK_SKEW_SECONDS),
        ("iat", all(begin <= seconds + CLOCK_SKEW_SECONDS for begin in begins)),
    )
    return next((name for name, holds in checks if not holds), None)


def _granted(client: Client, asked: str) -> str:
    """Return the asked scopes when the client may have them all; asking for none gets all of them."""
    wanted = asked.split() or list(client.scopes)
    if not all(covers(client.scopes, scope) for scope in wanted):
        raise OAuthError("invalid_scope", "scope")
    return " ".join(dict.fromkeys(wanted))
