"""Which search parameters each resource type has (https://hl7.org/fhir/R4/searchparameter-registry.html), out of `definitions.py`.

`_id` and `_lastUpdated` are the store's own columns and not in this table. Names, addresses, numbers and texts are no search keys:
`is_forbidden` knows how clients ask for them.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Literal, cast

from msgspec import Struct

from mappings.search.definitions import DEFINITIONS

Kind = Literal["token", "reference", "date"]

_BASE = "http://hl7.org/fhir/SearchParameter/"


class Parameter(Struct, frozen=True, kw_only=True):
    """One search parameter. `paths` are dotted, over lists; `targets` are the types it may refer to, of which none means any."""

    name: str
    kind: Kind
    paths: tuple[str, ...]
    definition: str
    targets: tuple[str, ...] = ()


PROFILE = "_profile"
"""A uri in R4. Asked and kept as a token: the whole value is the code, without a system."""

_NAMES = ("name", "family", "given", "phonetic", "agent-name", "entity-name")
_FORBIDDEN = frozenset({*_NAMES, "phone", "email", "telecom", "text", "_text", "_content"})

_COMMON = """
    Resource-profile token meta.profile
    Resource-security token meta.security
    Resource-tag token meta.tag
"""


def _parameters(rows: str) -> Iterator[Parameter]:
    for row in filter(str.strip, rows.replace("\n        >", " >").splitlines()):
        said, _, targets = row.partition(" > ")
        identifier, kind, *paths = said.split()
        base, _, name = identifier.partition("-")
        yield Parameter(
            name=f"_{name}" if base == "Resource" else name,
            kind=cast("Kind", kind),
            paths=tuple(paths),
            definition=_BASE + identifier,
            targets=() if targets == "any" else tuple(each for each in targets.split() if each != ">"),
        )


PARAMETERS: Mapping[str, Mapping[str, Parameter]] = MappingProxyType(
    {
        resource_type: MappingProxyType({each.name: each for each in _parameters(rows + _COMMON)})
        for resource_type, rows in DEFINITIONS.items()
    }
)
"""Type → name → parameter; its types are those that can be searched."""


def is_forbidden(name: str) -> bool:
    """Return whether a parameter asks for a name, an address, a number or a text: no search by those, however lenient the client."""
    return name in _FORBIDDEN or name.startswith("address")


def may_refer(parameter: Parameter, resource_type: str) -> bool:
    """Return whether a parameter may lead to a type."""
    return parameter.kind == "reference" and (not parameter.targets or resource_type in parameter.targets)
