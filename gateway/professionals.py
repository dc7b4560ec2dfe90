"""Professionals who logged in elsewhere: access tokens of the one OpenID provider that this gateway trusts.

Sources: OpenID Connect Discovery 1.0; RFC 9068 (JWT access tokens); RFC 8725. What a professional may do, the directory says: the
client `oidc:ORGANISATION` of the organisation has the purpose and the most scopes; the token says who it is, and may give less.
"""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gateway.callers import Caller, still
from gateway.claims import CHALLENGE, check_binding, is_in_time
from gateway.clock import Clock
from gateway.directory import PROFESSIONALS, Directory
from gateway.errors import Refusal
from gateway.published import Published
from gateway.signatures import SignatureError, unverified, verified_by

ALGORITHMS = ("ES256", "ES384", "RS256", "PS256")
TYPES = {"at+jwt", "application/at+jwt", "jwt"}
"""What a token may call itself; some providers still say no more than JWT. An ID token is for another audience."""

DISCOVERY_KEPT_SECONDS = 300
KEYS_KEPT_SECONDS = 60

_NAME = re.compile(r"[!-.0-~]{1,64}")
"""What a person and a role are called: visible ASCII without a slash, which separates them in the name of a reader."""


class Provider(Struct, frozen=True, kw_only=True):
    """The provider, the audience of its tokens for this gateway, and the claims that name somebody's organisation and role."""

    issuer: str
    audience: str
    organisation_claim: str
    role_claim: str


class Professionals:
    """Judges tokens of the provider."""

    def __init__(self, provider: Provider, directory: Directory, clock: Clock, published: Published) -> None:
        self._provider = provider
        self._directory = directory
        self._clock = clock
        self._published = published

    def issued(self, token: str) -> bool:
        """Say whether a token claims to be of the provider; nothing of it is believed yet."""
        try:
            return unverified(token, 1).get("iss") == self._provider.issuer
        except SignatureError:
            return False

    async def caller(self, token: str, certificate: str | None) -> Caller:
        """Return who holds a token. Raises Refusal: unauthenticated, or unavailable when the provider's keys cannot be had."""
        try:
            decoded = await verified_by(self._published, await self._keys_url(), KEYS_KEPT_SECONDS, token, ALGORITHMS)
        except SignatureError as error:
            raise Refusal("unauthenticated", headers=CHALLENGE) from error
        except OSError as error:
            raise Refusal("unavailable", headers={"Retry-After": "10"}) from error
        claims = decoded.claims
        if str(decoded.header.get("typ", "jwt")).lower() not in TYPES or not self._is_ours(claims):
            raise Refusal("unauthenticated", headers=CHALLENGE)
        return await self._known(claims, certificate)

    async def _keys_url(self) -> str:
        """Return where the provider's keys stand. Raises OSError when its discovery cannot be had, or is that of another."""
        issuer = self._provider.issuer
        found = await self._published.get(
            f"{issuer.rstrip('/')}/.well-known/openid-configuration", DISCOVERY_KEPT_SECONDS
        )
        url = found.get("jwks_uri")
        scheme = issuer.partition(":")[0]
        if found.get("issuer") != issuer or not isinstance(url, str) or not url.startswith(f"{scheme}://"):
            raise OSError("the discovery of the provider is not its own")
        return url

    def _is_ours(self, claims: Mapping[str, Any]) -> bool:
        audience = claims.get("aud")
        return (
            claims.get("iss") == self._provider.issuer
            and self._provider.audience in (audience if isinstance(audience, list) else [audience])
            and is_in_time(claims, self._clock.now().timestamp())
        )

    async def _known(self, claims: Mapping[str, Any], certificate: str | None) -> Caller:
        """Return the professional as the directory has the organisation. Raises Refusal when it does not."""
        organisation, person = claims.get(self._provider.organisation_claim), claims.get("sub")
        role = claims.get(self._provider.role_claim)
        clients = (await self._directory.now()).clients
        known = clients.get(f"{PROFESSIONALS}{organisation}") if isinstance(organisation, str) else None
        if known is None or not _is_name(person) or not (role is None or _is_name(role)):
            raise Refusal("unauthenticated", headers=CHALLENGE)
        entry, client = known
        check_binding(claims, certificate, must_be_bound=client.mtls)
        scope = claims.get("scope")
        scopes = still(scope.split() if isinstance(scope, str) else (), client)
        # The scopes of the token take the place of the client's: whoever asks for less is not an administrator either.
        somebody = replace(client, person=person, role=role, scopes=tuple(sorted(scopes)))
        return Caller(entry=entry, client=somebody, scopes=scopes)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None
