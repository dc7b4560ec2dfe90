"""Identifiers that check themselves, and the systems they belong to.

Systems: BSN, AGB, URA and KvK from the Nictiz and VWS naming systems (http://fhir.nl/fhir/NamingSystem/…).
No fhir.nl system exists for the OIN or for the CBS municipality code; the OIN follows the CloudEvents NL GOV profile.
"""

import re
from operator import mul

BSN_SYSTEM = "http://fhir.nl/fhir/NamingSystem/bsn"
AGB_SYSTEM = "http://fhir.nl/fhir/NamingSystem/agb-z"
URA_SYSTEM = "http://fhir.nl/fhir/NamingSystem/ura"
KVK_SYSTEM = "http://fhir.nl/fhir/NamingSystem/kvk"
OIN_SYSTEM = "urn:nld:oin"

BSN_TEST_RANGE = range(999_900_006, 999_999_990 + 1)
"""The range reserved for tests (RvIG); the demo accepts no other."""

_BSN = re.compile(r"[0-9]{8,9}")
_BSN_WEIGHTS = (9, 8, 7, 6, 5, 4, 3, 2, -1)
_SHAPES = {
    AGB_SYSTEM: re.compile(r"\d{8}"),
    URA_SYSTEM: re.compile(r"\d{8}"),
    KVK_SYSTEM: re.compile(r"\d{8}"),
    OIN_SYSTEM: re.compile(r"\d{20}"),
}


class IdentifierError(ValueError):
    """The text is not such an identifier. Carries what was expected, never the text."""


class Bsn(str):
    """A citizen service number that passed the 11-test: 9·d1 + 8·d2 + … + 2·d8 − 1·d9 ≡ 0 (mod 11), and is not 0.

    Raises IdentifierError.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> "Bsn":
        """Check and keep the nine digits; eight digits gain their leading zero."""
        digits = text.zfill(9) if _BSN.fullmatch(text) else ""
        if not digits or int(digits) == 0:
            raise IdentifierError("a BSN has nine digits")
        if sum(map(mul, _BSN_WEIGHTS, map(int, digits))) % 11:
            raise IdentifierError("the number fails the 11-test for a BSN")
        return super().__new__(cls, digits)


def check_identifier(system: str, value: str) -> str:
    """Return `value` when it has the shape that `system` demands; an unknown system demands nothing.

    Raises IdentifierError.
    """
    shape = _SHAPES.get(system)
    if shape and not shape.fullmatch(value):
        raise IdentifierError(f"expected {shape.pattern} for {system}")
    return Bsn(value) if system == BSN_SYSTEM else value
