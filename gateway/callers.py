"""Who calls, what it may do, and the keys and assertions with which a caller proves who it is.

Sources: RFC 7523; https://hl7.org/fhir/smart-app-launch/backend-services.html. Tokens are given and judged in `gateway.tokens`.
"""

import json
import os
from collections.abc import Collection, Iterable
from datetime import datetime
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import ECKey
from msgspec import Struct

from consent.index import Recipient
from gateway.directory import Client, Entry, PublicKeys
from gateway.errors import refusal

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS = ["ES384", "RS384"]
TOKEN_SECONDS = 300
ASSERTION_SECONDS = 300
CLOCK_SKEW_SECONDS = 60
"""How far a caller's clock may be off before `iat` or `nbf` lies in the future."""


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
            if not covers(self.scopes, f"system/{resource_type}.{letter}"):
                raise refusal("scope", "", f"this needs the scope system/{resource_type}.{letter}")


_SMART = "system/"


def covers(held: Collection[str], wanted: str) -> bool:
    """Say whether `wanted` is one of these scopes, or asks no more than SMART scopes among them give together."""
    if wanted in held or not wanted.startswith(_SMART):
        return wanted in held
    asked_type, _, letters = wanted.removeprefix(_SMART).partition(".")
    given = [scope.removeprefix(_SMART).partition(".") for scope in held if scope.startswith(_SMART)]
    has = "".join(each for name, _, each in given if name in {"*", asked_type})
    return bool(letters) and set(letters) <= set(has)


def still(scopes: Iterable[str], client: Client) -> frozenset[str]:
    """Return the scopes of a token that its client has now."""
    return frozenset(scope for scope in scopes if covers(client.scopes, scope))


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
