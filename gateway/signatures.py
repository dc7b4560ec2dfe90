"""Verify a signed token (compact JWS, RFC 7515) by a set of public keys: by the key it names, or by each when it names none."""

import base64
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from joserfc.jwt import Token

from gateway.published import Document, Published

MOST_TRIED = 10
"""How many keys are tried for a token that names none."""

LONGEST_TOKEN = 8_192
"""No token that is worth the work of reading is longer."""


class SignatureError(Exception):
    """Not a token, not with these algorithms, or not signed by the key that it names."""


class UnknownKeyError(SignatureError):
    """None of the keys is the one that the token names, or could have signed it: a newer set of keys may have it."""


def verified(token: str, keys: Iterable[Mapping[str, Any]], algorithms: Collection[str]) -> Token:
    """Return a token whose signature holds under one of these JWKs; its claims are yet to be judged. Raises SignatureError."""
    header = unverified(token, 0)
    named = header.get("kid")
    if header.get("alg") not in algorithms:
        raise SignatureError("sign with " + " or ".join(sorted(algorithms)))
    for key in list(_fitting(keys, named, header["alg"]))[:MOST_TRIED]:
        try:
            return jwt.decode(token, key, algorithms=list(algorithms))
        except (JoseError, ValueError, KeyError, TypeError, RecursionError) as error:
            if named is not None:
                raise SignatureError("the signature does not hold") from error
    raise UnknownKeyError("sign with a key that is published")


async def verified_by(
    published: Published, url: str, keep_seconds: float, token: str, algorithms: Collection[str]
) -> Token:
    """Return a token signed by a key of the JWK Set at an address; a key that was not there a moment ago is looked for again.

    Raises SignatureError, and OSError when the keys cannot be had.
    """
    try:
        return verified(token, _keys_in(await published.get(url, keep_seconds)), algorithms)
    except UnknownKeyError:
        newer = await published.newer(url)
        if newer is None:
            raise
        return verified(token, _keys_in(newer), algorithms)


def _keys_in(document: Document) -> list[dict[str, Any]]:
    """Return the keys of a JWK Set; of what is none, none."""
    keys = document.get("keys")
    return [key for key in keys if isinstance(key, dict)] if isinstance(keys, list) else []


def unverified(token: str, part: int) -> dict[str, Any]:
    """Read the header (0) or the claims (1) to find the keys to judge them with; nothing is believed yet. Raises SignatureError."""
    try:
        text = token.split(".")[part] if len(token) <= LONGEST_TOKEN else ""
        found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (IndexError, ValueError, RecursionError) as error:
        raise SignatureError("this is not a signed token") from error
    if not isinstance(found, dict):
        raise SignatureError("this is not a signed token")
    return found


def _fitting(keys: Iterable[Mapping[str, Any]], named: object, algorithm: str) -> Iterator[ECKey | RSAKey]:
    """Yield the keys that may have signed; one that cannot be read is not there."""
    kind = ECKey if algorithm.startswith("ES") else RSAKey
    for key in keys:
        if key.get("kty") != kind.key_type or key.get("use", "sig") != "sig" or key.get("alg", algorithm) != algorithm:
            continue
        try:
            found = kind.import_key(dict(key))
        except (JoseError, ValueError, KeyError, TypeError):
            continue
        if named is None or named in {key.get("kid"), found.thumbprint()}:
            yield found
