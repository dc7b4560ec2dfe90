"""Seal and hash: AES-256-GCM under data keys, data keys wrapped by the master key, keyed hashes for what must be found again.

Nothing here knows a plan. Keys are bytes; what is stored is bytes or hex text.
"""

import base64
import hashlib
import hmac
import os
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

_NONCE_BYTES = 12
_KEY_BYTES = 32
PSEUDONYMS_IN_HAND = 10_000


class SealError(Exception):
    """Bytes were altered, or are under another key."""


class MasterKey:
    """The one key that is not in a database: derives the wrapping key and the hashing keys, each for one use."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != _KEY_BYTES:
            raise SealError("the master key is 32 bytes, in base64")
        self._wrapping = _derived(secret, b"wrap data keys")
        self._finding = _derived(secret, b"find by keyed hash")
        self._naming = _derived(secret, b"name parts")
        self._pseudonyms = _derived(secret, b"pseudonyms per recipient")
        self._cursors = _derived(secret, b"cursors of searches")
        self.pseudonym = lru_cache(PSEUDONYMS_IN_HAND)(self._pseudonym)

    def wrap(self, data_key: bytes) -> bytes:
        """Seal a data key for the key store."""
        return seal(self._wrapping, data_key, b"data key")

    def unwrap(self, wrapped: bytes) -> bytes:
        """Open a data key. Raises SealError when another master key wrapped it."""
        return unseal(self._wrapping, wrapped, b"data key")

    def seal_cursor(self, place: bytes) -> str:
        """Return where a search is, as text that only this gateway reads (base64url)."""
        return base64.urlsafe_b64encode(seal(self._cursors, place, b"cursor")).decode().rstrip("=")

    def open_cursor(self, text: str) -> bytes:
        """Return what `seal_cursor` was given. Raises SealError."""
        try:
            sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except ValueError as error:
            raise SealError("this is no cursor of ours") from error
        return unseal(self._cursors, sealed, b"cursor")

    def fingerprint(self, *values: str) -> str:
        """Return the keyed hash under which a BSN, a plan number or a digest is found again (hex, 32 bytes)."""
        return hmac.digest(self._finding, "\x00".join(values).encode(), "sha256").hex()

    def part_id(self, plan: str, key: str) -> str:
        """Return the stable id of a part: the same for the same plan and source key, and telling neither (32 characters)."""
        return hmac.digest(self._naming, f"{plan}\x00{key}".encode(), "sha256")[:16].hex()

    def _pseudonym(self, recipient: str, resident: str) -> str:
        """Return the number that one recipient knows a resident by, when it may not have the BSN."""
        return hmac.digest(self._pseudonyms, f"{recipient}\x00{resident}".encode(), "sha256")[:16].hex()


def _derived(secret: bytes, use: bytes) -> bytes:
    return HKDFExpand(algorithm=hashes.SHA256(), length=_KEY_BYTES, info=b"planbrug " + use).derive(secret)


def load_master_key(path: Path, *, create: bool) -> MasterKey:
    """Read the master key file (base64 of 32 bytes); with `create` an absent one is made, mode 0600.

    Raises SealError when it is absent or not such a key.
    """
    if create and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(base64.b64encode(os.urandom(_KEY_BYTES)))
    try:
        return MasterKey(base64.b64decode(path.read_bytes().strip(), validate=True))
    except (OSError, ValueError) as error:
        raise SealError("the master key file is absent or not base64") from error


def new_data_key() -> bytes:
    """Return a fresh data key."""
    return os.urandom(_KEY_BYTES)


def seal(key: bytes, text: bytes, context: bytes) -> bytes:
    """Seal `text`; it opens only with the same `context` (nonce first, then ciphertext and tag)."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, text, context)


def unseal(key: bytes, sealed: bytes, context: bytes) -> bytes:
    """Open what `seal` made. Raises SealError when one bit differs."""
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
    except (InvalidTag, ValueError) as error:
        raise SealError("the sealed bytes were altered, or are under another key") from error


def sha256_hex(body: bytes) -> str:
    """Return the plain hash that a recipient can repeat over the bytes it got."""
    return hashlib.sha256(body).hexdigest()
