"""Open what was sealed to this gateway, and seal to a gateway: JWE in compact form (RFC 7516), one key, one pair of algorithms.

The key is published in `/.well-known/jwks.json` with `use` = `enc`.
"""

import binascii
from pathlib import Path
from typing import Any

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwe import JWERegistry
from joserfc.jwk import ECKey
from msgspec import Struct

from gateway.callers import new_key, read_private_key, write_private_key

ALGORITHM = "ECDH-ES+A256KW"
ENCRYPTION = "A256GCM"
_OVERHEAD_BYTES = 4096


class EnvelopeError(Exception):
    """Not a JWE, not with these algorithms, not under this key, or altered. It never says what was inside."""


class Opened(Struct, frozen=True, kw_only=True):
    """What was sealed, and the content type that its sender gave it (`cty`, RFC 7516 4.1.12)."""

    body: bytes
    content_type: str


class EncryptionKey:
    """The private half of the key that partners seal to. It opens at most `limit_bytes`."""

    def __init__(self, key: ECKey, limit_bytes: int) -> None:
        self._key = key
        self._registry = _registry(limit_bytes)

    def public(self) -> dict[str, Any]:
        """Return the public half as a JWK."""
        return {**self._key.as_dict(private=False), "use": "enc", "alg": ALGORITHM}

    def open(self, sealed: bytes) -> Opened:
        """Open a JWE. Raises EnvelopeError."""
        try:
            found = jwe.decrypt_compact(sealed, self._key, registry=self._registry)
        except (JoseError, ValueError, TypeError, KeyError, RecursionError, binascii.Error) as error:
            raise EnvelopeError("seal it as compact JWE to the gateway's key") from error
        header = found.headers()
        if header.get("kid", self._key.kid) != self._key.kid:
            raise EnvelopeError("seal it to the key that the gateway publishes now")
        content_type = header.get("cty")
        return Opened(body=found.plaintext or b"", content_type=content_type if isinstance(content_type, str) else "")


def load_encryption_key(path: Path, limit_bytes: int) -> EncryptionKey:
    """Read the gateway's encryption key (a private JWK, P-384), made with mode 0600 when it is absent."""
    if not path.exists():
        write_private_key(path, new_key())
    return EncryptionKey(read_private_key(path), limit_bytes)


def seal_to(public_key: dict[str, Any], body: bytes, content_type: str) -> bytes:
    """Seal a body to a gateway's public key: the sender's side."""
    key = ECKey.import_key(public_key)
    header = {"alg": ALGORITHM, "enc": ENCRYPTION, "cty": content_type, "kid": key.kid}
    return jwe.encrypt_compact(header, body, key, registry=_registry(len(body))).encode()


def sealed_limit(limit_bytes: int) -> int:
    """Return how long a JWE of a body of this length can be: base64 and its header."""
    return limit_bytes * 4 // 3 + _OVERHEAD_BYTES


def _registry(limit_bytes: int) -> JWERegistry:
    """Return what is allowed: these algorithms, no compression, which could unfold without end; and bodies up to the limit."""
    registry = JWERegistry(algorithms=[ALGORITHM, ENCRYPTION])
    registry.max_ciphertext_length = sealed_limit(limit_bytes)
    return registry
