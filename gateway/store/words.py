"""Words as numbers: codes, systems, references and search fields stand in the index as 64 bits of their hash, a quarter of the space.

Two words of one number are as likely as 2⁻⁶⁴; a search would then find one resource too many of those that its reader may see anyway.
"""

from functools import lru_cache
from hashlib import blake2b

from mappings.search.parameters import PARAMETERS

WORDS_IN_HAND = 50_000


@lru_cache(WORDS_IN_HAND)
def number_of(word: str) -> int:
    """Return the number of a word, signed: what BIGINT holds."""
    return int.from_bytes(blake2b(word.encode(errors="surrogatepass"), digest_size=8).digest(), "big", signed=True)


def field_of(resource_type: str, param: str) -> int:
    """Return the number of a search parameter of a type."""
    return FIELDS[resource_type, param]


def name_of(resource_type: str, resource_id: str) -> int:
    """Return the number of a resource's name, which a reference to it has as its code."""
    return number_of(f"{resource_type}/{resource_id}")


FIELDS = {
    (resource_type, param): number_of(f"{resource_type}.{param}") >> 32
    for resource_type, params in PARAMETERS.items()
    for param in params
}
"""(type, parameter) → its number, 32 bits."""
