"""The grounds other than consent: a closed, shipped catalogue that a municipality enables or narrows, never extends.

Each entry names its article. The articles are those of the Wmo 2015 (wetten.overheid.nl/BWBR0035362), the Jeugdwet
(BWBR0034925) and the AVG (EU 2016/679) as known when this version shipped; a municipality's data protection officer confirms
an entry before it is enabled. Nothing is enabled by default.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

from consent.choice import PartSelector
from consent.errors import ConsentError
from mappings.codes import KINDS, Kind, Law, OrganisationKind, Purpose
from mappings.errors import Finding
from mappings.plan import Record

Ground = Literal[
    "consent", "statutory-task", "legal-obligation", "reporting-right", "vital-interest", "own-data", "authored"
]
"""The closed set: nothing is ever disclosed on another ground."""

Reach = Literal["plan", "individual", "carried"]
"""How far a ground reaches: the whole plan; individual provisions and the residents they are for; or of those only what the
recipient itself carries out, and who it is for."""


class CatalogueEntry(Record, frozen=True):
    """One ground in law.

    `law`: the law of the provisions that it serves; it reaches parts under that law or none.
    `objectable`: an objection (AVG 21) suspends it.
    `restricted`: reaches restricted parts too. `secrecy_lifted_by`: what lifts professional secrecy on parts recorded under it;
    without it such parts stay out.
    """

    id: str
    ground: Ground
    article: str
    organisation_kinds: tuple[OrganisationKind, ...]
    purposes: tuple[Purpose, ...]
    kinds: tuple[Kind, ...]
    law: Law | None
    nl: str
    en: str
    reach: Reach = "plan"
    objectable: bool = True
    restricted: bool = False
    secrecy_lifted_by: str | None = None


_DECISION_KINDS: tuple[Kind, ...] = (
    "identity",
    "contact",
    "support-question",
    "desired-result",
    "provision",
    "agreement",
    "decision",
)

CATALOGUE: tuple[CatalogueEntry, ...] = (
    CatalogueEntry(
        id="wmo-decision",
        ground="statutory-task",
        article="Wmo 2015 art. 5.1.1 and 2.3.5",
        organisation_kinds=("backoffice",),
        purposes=("decision",),
        kinds=_DECISION_KINDS,
        law="wmo",
        reach="individual",
        objectable=False,
        nl="De gemeente heeft dit nodig om te beslissen over uw aanvraag.",
        en="The municipality needs this to decide on your application.",
    ),
    CatalogueEntry(
        id="jeugdwet-decision",
        ground="statutory-task",
        article="Jeugdwet art. 7.4.0 and 2.3",
        organisation_kinds=("backoffice",),
        purposes=("decision",),
        kinds=_DECISION_KINDS,
        law="jeugdwet",
        reach="individual",
        objectable=False,
        nl="De gemeente heeft dit nodig om te beslissen over jeugdhulp.",
        en="The municipality needs this to decide on youth support.",
    ),
    CatalogueEntry(
        id="wmo-assignment",
        ground="statutory-task",
        article="Wmo 2015 art. 5.2.1",
        organisation_kinds=("care-provider",),
        purposes=("support",),
        kinds=("identity", "provision"),
        law="wmo",
        reach="carried",
        nl="De aanbieder heeft dit nodig om de ondersteuning te geven die de gemeente heeft toegewezen.",
        en="The provider needs this to give the support that the municipality assigned to it.",
    ),
    CatalogueEntry(
        id="jeugdwet-assignment",
        ground="statutory-task",
        article="Jeugdwet art. 7.4.0",
        organisation_kinds=("care-provider",),
        purposes=("support",),
        kinds=("identity", "provision"),
        law="jeugdwet",
        reach="carried",
        nl="De aanbieder heeft dit nodig om de jeugdhulp te geven die de gemeente heeft toegewezen.",
        en="The provider needs this to give the youth support that the municipality assigned to it.",
    ),
    CatalogueEntry(
        id="veilig-thuis-report",
        ground="reporting-right",
        article="Wmo 2015 art. 5.2.6",
        organisation_kinds=("veilig-thuis",),
        purposes=("support",),
        kinds=("identity", "contact", "worry", "safety", "signal"),
        law=None,
        objectable=False,
        restricted=True,
        secrecy_lifted_by="Wmo 2015 art. 5.2.6",
        nl="Veilig Thuis mag dit weten omdat iemand misschien niet veilig is.",
        en="Veilig Thuis may know this because somebody may not be safe.",
    ),
)

_ENTRIES = {entry.id: entry for entry in CATALOGUE}


class GroundSetting(Record, frozen=True):
    """One line of the municipality's grounds file: which catalogue entry, narrowed to what. Absent means the entry's own."""

    id: str
    organisation_kind: OrganisationKind | None = None
    purpose: Purpose | None = None
    parts: tuple[PartSelector, ...] = ()


class EnabledGround(Record, frozen=True):
    """A catalogue entry as this municipality uses it."""

    entry: CatalogueEntry
    organisation_kinds: frozenset[OrganisationKind]
    purposes: frozenset[Purpose]
    parts: tuple[PartSelector, ...]


def enable_grounds(settings: Iterable[GroundSetting]) -> tuple[EnabledGround, ...]:
    """Return the grounds that a municipality's file enables.

    Raises ConsentError when a line names no catalogue entry, or would widen one.
    """
    lines = tuple(settings)
    findings = tuple(finding for position, line in enumerate(lines) for finding in _widenings(line, f"/{position}"))
    if findings:
        raise ConsentError(*findings)
    return tuple(_enabled(line, _ENTRIES[line.id]) for line in lines)


def _enabled(line: GroundSetting, entry: CatalogueEntry) -> EnabledGround:
    return EnabledGround(
        entry=entry,
        organisation_kinds=frozenset({line.organisation_kind} if line.organisation_kind else entry.organisation_kinds),
        purposes=frozenset({line.purpose} if line.purpose else entry.purposes),
        parts=line.parts or (PartSelector(kinds=entry.kinds),),
    )


def _widenings(line: GroundSetting, pointer: str) -> Iterator[Finding]:
    entry = _ENTRIES.get(line.id)
    if entry is None:
        remedy = "name one of " + ", ".join(_ENTRIES)
        yield Finding(pointer=f"{pointer}/id", code="unknown-ground", remedy=remedy)
        return
    if line.organisation_kind and line.organisation_kind not in entry.organisation_kinds:
        remedy = "the catalogue has this ground for " + ", ".join(entry.organisation_kinds)
        yield Finding(pointer=f"{pointer}/organisationKind", code="wider-than-catalogue", remedy=remedy)
    if line.purpose and line.purpose not in entry.purposes:
        remedy = "the catalogue has this ground for " + ", ".join(entry.purposes)
        yield Finding(pointer=f"{pointer}/purpose", code="wider-than-catalogue", remedy=remedy)
    for position, selector in enumerate(line.parts):
        if not set(selector.kinds or KINDS) <= set(entry.kinds):
            remedy = "name kinds out of " + ", ".join(entry.kinds)
            yield Finding(pointer=f"{pointer}/parts/{position}/kinds", code="wider-than-catalogue", remedy=remedy)
