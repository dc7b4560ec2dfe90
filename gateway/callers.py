"""Who calls: OAuth 2 client credentials with `private_key_jwt`, as SMART Backend Services has it.

Sources: RFC 7523; https://hl7.org/fhir/smart-app-launch/backend-services.html. With `gateway.envelope` the only file that knows JOSE.
"""

import base64
import json
import os
from collections.abc import Awaitable, Callable, Collection, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet
from joserfc.jwt import Token
from msgspec import Struct

from consent.index import Recipient
from gateway.clock import Clock
from gateway.directory import Client, Directory, Entry, PublicKeys
from gateway.errors import Refusal, refusal
from gateway.store.assertions import use_assertion
from gateway.store.engine import Store

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS = ["ES384", "RS384"]
TOKEN_SECONDS = 300
TOKENS_IN_HAND = 1_000
ASSERTION_SECONDS = 300
CLOCK_SKEW_SECONDS = 60
"""How far a caller's clock may be off before `iat` or `nbf` lies in the future."""

FetchKeys = Callable[[str], Awaitable[dict[str, Any]]]
"""jwksUrl → the JWK Set that stands there now."""


class OAuthError(Exception):
    """A token request is refused (RFC 6749 5.2); `error` is the code of the standard, `reason` is for the log."""

    def __init__(self, error: str, reason: str) -> None:
        super().__init__(reason)
        self.error = error
        self.reason = reason


class Caller(Struct, frozen=True, kw_only=True):
    """Who makes a request: a client of an organisation, with the scopes of its token."""

    entry: Entry
    client: Client
    scopes: frozenset[str]

    @property
    def organisation(self) -> str:
        """The directory id of the caller's organisation."""
        return self.entry.id

    @property
    def recipient(self) -> Recipient:
        """The caller as somebody who reads."""
        return self.entry.recipient(role=self.client.role, person=self.client.person)

    @property
    def is_admin(self) -> bool:
        """Whether this client administers the directory, and so may see every delivery, without content."""
        return "organisations:write" in self.client.scopes

    def require(self, scope: str) -> None:
        """Raise Refusal when the token lacks `scope`."""
        if scope not in self.scopes:
            raise refusal("scope", "", f"this needs the scope {scope}")

    def require_some_type(self, named: str) -> None:
        """Raise Refusal, which names the scope as `named`, when the token has no SMART scope at all."""
        if not any(scope.startswith(_SMART) for scope in self.scopes):
            raise refusal("scope", "", f"this needs the scope {named}")

    def require_each(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Raise Refusal when a SMART scope is lacking, for each (resource type, letter of cruds)."""
        for resource_type, letter in sorted(set(wanted)):
            if not _covers(self.scopes, f"system/{resource_type}.{letter}"):
                raise refusal("scope", "", f"this needs the scope system/{resource_type}.{letter}")


class Gatekeeper:
    """Issues access tokens, and judges them again at every request."""

    def __init__(
        self, key: ECKey, issuer: str, store: Store, directory: Directory, clock: Clock, fetch: FetchKeys
    ) -> None:
        self._key = key
        self._issuer = issuer
        self._store = store
        self._directory = directory
        self._clock = clock
        self._fetch = fetch
        self._tokens: dict[str, Token] = {}

    @property
    def token_url(self) -> str:
        """Where tokens are had, and what an assertion's `aud` must be."""
        return f"{self._issuer}/oauth/token"

    def public_key(self) -> dict[str, Any]:
        """Return the key that this gateway signs with, as a public JWK."""
        return {**self._key.as_dict(private=False), "use": "sig", "alg": "ES384"}

    async def token(self, form: dict[str, str]) -> dict[str, Any]:
        """Answer a token request. Raises OAuthError."""
        if form.get("grant_type") != "client_credentials":
            raise OAuthError("unsupported_grant_type", "grant-type")
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise OAuthError("invalid_client", "assertion-type")
        client = await self._client_of(form.get("client_assertion", ""))
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
        }
        token = jwt.encode(
            {"alg": "ES384", "typ": "at+jwt", "kid": self._key.kid}, claims, self._key, algorithms=ALGORITHMS
        )
        return {"access_token": token, "token_type": "bearer", "expires_in": TOKEN_SECONDS, "scope": scopes}

    async def caller(self, authorization: str) -> Caller:
        """Return who holds this Authorization header. Raises Refusal: unauthenticated."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Refusal("unauthenticated", headers=_CHALLENGE)
        decoded = self._verified(token.strip())
        claims = decoded.claims
        now = self._clock.now().timestamp()
        fresh = isinstance(claims.get("exp"), int) and now < claims["exp"]
        ours = (claims.get("iss"), claims.get("aud"), decoded.header.get("typ")) == (
            self._issuer,
            self._issuer,
            "at+jwt",
        )
        known = (await self._directory.now()).clients.get(str(claims.get("sub")))
        if not (fresh and ours and known):
            raise Refusal("unauthenticated", headers=_CHALLENGE)
        entry, client = known
        return Caller(entry=entry, client=client, scopes=_still(str(claims["scope"]).split(), client))

    def _verified(self, token: str) -> Token:
        """Return a token whose signature holds; it is verified once, and its claims are judged at every request."""
        known = self._tokens.get(token)
        if known is not None:
            return known
        try:
            decoded = jwt.decode(token, self._key, algorithms=["ES384"])
        except (JoseError, ValueError) as error:
            raise Refusal("unauthenticated", headers=_CHALLENGE) from error
        if len(self._tokens) >= TOKENS_IN_HAND:
            self._tokens.clear()
        self._tokens[token] = decoded
        return decoded

    async def _keys_of(self, client: Client) -> dict[str, Any]:
        if client.jwks is not None:
            return {"keys": client.jwks.keys}
        try:
            return await self._fetch(client.jwks_url or "")
        except (OSError, ValueError, TimeoutError) as error:
            raise OAuthError("invalid_client", "keys-unreachable") from error

    async def _client_of(self, assertion: str) -> Client:
        """Return the client that signed an assertion, and use the assertion up."""
        claimed = _claimed_subject(assertion)
        known = (await self._directory.now()).clients.get(claimed)
        if known is None:
            raise OAuthError("invalid_client", "unknown-client")
        _, client = known
        keys = await self._keys_of(client)
        try:
            decoded = jwt.decode(assertion, KeySet.import_key_set(keys), algorithms=ALGORITHMS)  # type: ignore[arg-type]
        except (JoseError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise OAuthError("invalid_client", "signature") from error
        claims = decoded.claims
        now = self._clock.now()
        if wrong := _wrong_claim(claims, client.client_id, self.token_url, now):
            raise OAuthError("invalid_client", wrong)
        expires_at = now + timedelta(seconds=ASSERTION_SECONDS + CLOCK_SKEW_SECONDS)
        jti = str(claims["jti"])
        if not await self._store.write(lambda tx: use_assertion(tx, client.client_id, jti, expires_at, now)):
            raise OAuthError("invalid_client", "replayed")
        return client


_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="planbrug"'}


def _claimed_subject(assertion: str) -> str:
    """Read who an assertion says it is, to find the keys to judge it with; nothing else is believed yet."""
    try:
        return str(json.loads(_unpadded(assertion.split(".")[1]))["sub"])
    except (IndexError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise OAuthError("invalid_client", "not-a-jwt") from error


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _wrong_claim(claims: dict[str, Any], client_id: str, token_url: str, now: datetime) -> str | None:
    """Name the first claim that is not as RFC 7523 section 3 wants it, or None."""
    seconds = now.timestamp()
    audience = claims.get("aud")
    expires, issued, not_before = claims.get("exp"), claims.get("iat", seconds), claims.get("nbf", seconds)
    numbers = all(isinstance(value, int | float) for value in (expires, issued, not_before))
    checks = (
        ("iss", claims.get("iss") == client_id),
        ("sub", claims.get("sub") == client_id),
        ("aud", audience == token_url or (isinstance(audience, list) and token_url in audience)),
        ("jti", isinstance(claims.get("jti"), str) and 0 < len(claims["jti"]) <= 64),  # noqa: PLR2004 - the column's length
        ("exp", numbers and seconds < expires <= seconds + ASSERTION_SECONDS + CLOCK_SKEW_SECONDS),  # type: ignore[operator]
        ("iat", numbers and max(issued, not_before) <= seconds + CLOCK_SKEW_SECONDS),
    )
    return next((name for name, holds in checks if not holds), None)


_SMART = "system/"


def _covers(held: Collection[str], wanted: str) -> bool:
    """Say whether `wanted` is one of these scopes, or asks no more than SMART scopes among them give together."""
    if wanted in held or not wanted.startswith(_SMART):
        return wanted in held
    asked_type, _, letters = wanted.removeprefix(_SMART).partition(".")
    given = [scope.removeprefix(_SMART).partition(".") for scope in held if scope.startswith(_SMART)]
    has = "".join(each for name, _, each in given if name in {"*", asked_type})
    return bool(letters) and set(letters) <= set(has)


def _still(scopes: Iterable[str], client: Client) -> frozenset[str]:
    """Return the scopes of a token that its client has now."""
    return frozenset(scope for scope in scopes if _covers(client.scopes, scope))


def _granted(client: Client, asked: str) -> str:
    """Return the asked scopes when the client may have them all; asking for none gets all of them."""
    wanted = asked.split() or list(client.scopes)
    if not all(_covers(client.scopes, scope) for scope in wanted):
        raise OAuthError("invalid_scope", "scope")
    return " ".join(dict.fromkeys(wanted))


def load_signing_key(path: Path) -> ECKey:
    """Read the gateway's signing key (a private JWK, P-384), made with mode 0600 when it is absent."""
    if not path.exists():
        write_private_key(path, new_key())
    return read_private_key(path)


def read_private_key(path: Path) -> ECKey:
    """Read a private JWK."""
    return ECKey.import_key(json.loads(path.read_text()))


def new_key() -> ECKey:
    """Make a P-384 key whose `kid` is its thumbprint (RFC 7638)."""
    key = ECKey.generate_key("P-384", private=True)
    return ECKey.import_key({**key.as_dict(private=True), "kid": key.thumbprint()})


def write_private_key(path: Path, key: ECKey) -> None:
    """Write a private JWK that only its owner can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:
        json.dump(key.as_dict(private=True), file)


def public_jwks(key: ECKey) -> PublicKeys:
    """Return the public half as a JWK Set, for the directory."""
    return PublicKeys([dict(key.as_dict(private=False))])


def client_assertion(key: ECKey, client_id: str, token_url: str, now: datetime, jti: str) -> str:
    """Sign what a client sends to the token endpoint: the caller's side, for the command line and the demo."""
    seconds = int(now.timestamp())
    claims = {"iss": client_id, "sub": client_id, "aud": token_url, "iat": seconds, "exp": seconds + 120, "jti": jti}
    return jwt.encode({"alg": "ES384", "kid": key.kid}, claims, key, algorithms=ALGORITHMS)
