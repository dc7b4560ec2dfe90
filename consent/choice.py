"""A `Choice`: what one resident (or who decides for them) says about one recipient, one set of parts, one purpose, one period.

No means no, silence means no. The wire form is that of `/v1/residents/{id}/choices`.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Annotated, Literal

from msgspec import Meta, field

from consent.errors import ConsentError
from mappings.codes import Domain, Kind, OrganisationKind, Purpose
from mappings.errors import Finding
from mappings.plan import Record

RecipientType = Literal["organisation", "role", "person", "kind", "all"]
Effect = Literal["permit", "deny"]
Capacity = Literal["resident", "parent", "representative"]

WORDED = r"^[^\x00]*[^\s\x00-\x1f][^\x00]*$"
"""What a text that says something looks like: one character that can be seen, and no NUL."""

Words = Annotated[str, Meta(extra_json_schema={"pattern": WORDED})]
"""A text that says something; `check_choices` judges it, and names every place at once."""

NEEDED_BY_TYPE: dict[RecipientType, tuple[str, ...]] = {
    "organisation": ("organisation",),
    "role": ("organisation", "role"),
    "person": ("organisation", "person"),
    "kind": ("kind",),
    "all": (),
}
"""Which fields name a recipient of each type; others must be absent, so that no choice seems narrower than it is."""


class RecipientSelector(Record, frozen=True):
    """Whom a choice is about."""

    type: RecipientType
    organisation: str | None = None
    role: Words | None = None
    person: Words | None = None
    kind: OrganisationKind | None = None


class PartSelector(Record, frozen=True):
    """Which parts: of these kinds, in these domains, with these ids; an absent list means any, never the safety parts."""

    kinds: tuple[Kind, ...] = ()
    domains: tuple[Domain, ...] = ()
    part_ids: tuple[Words, ...] = ()


class GivenBy(Record, frozen=True):
    """Who said it: in which capacity, which person (an opaque id or role, never a name), and under which mandate."""

    capacity: Capacity
    person: Words
    mandate: Words | None = None


class Choice(Record, frozen=True):
    """One choice. Its first and its last day are Amsterdam days, both inclusive; `version` is the set version that last changed it."""

    recipient: RecipientSelector
    effect: Effect
    given_by: GivenBy
    id: str = ""
    parts: tuple[PartSelector, ...] = ()
    purpose: Purpose | None = None
    starts_on: date | None = field(default=None, name="from")
    ends_on: date | None = field(default=None, name="until")
    evidence: Words | None = None
    recorded_by: Words | None = None
    version: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0


def says_nothing(text: str | None) -> bool:
    """Say whether a text is absent or blank."""
    return text is None or _VISIBLE.search(text) is None


_VISIBLE = re.compile(r"[^\s\x00-\x1f]")
_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")


def check_choices(choices: Iterable[Choice], known_organisations: frozenset[str]) -> None:
    """Refuse a set of choices of which one could mean something else than it says.

    `known_organisations` are directory ids: a choice for a recipient that nobody knows would silently do nothing.
    Raises ConsentError with pointers into `/choices`.
    """
    findings: list[Finding] = []
    for position, choice in enumerate(choices):
        found = [*_findings(choice, f"/choices/{position}", known_organisations)]
        told = {finding.pointer for finding in found}
        findings += found
        findings += (each for each in unsayable(choice, f"/choices/{position}") if each.pointer not in told)
    if findings:
        raise ConsentError(*findings)


def unsayable(choice: Choice, pointer: str) -> Iterator[Finding]:
    """Yield the texts of a choice that FHIR and databases cannot write down: blank ones, and NUL."""
    recipient, given_by = choice.recipient, choice.given_by
    texts = [
        ("recipient/role", recipient.role),
        ("recipient/person", recipient.person),
        ("givenBy/person", given_by.person),
        ("givenBy/mandate", given_by.mandate),
        ("evidence", choice.evidence),
        ("recordedBy", choice.recorded_by),
    ]
    for at, selector in enumerate(choice.parts):
        texts += [(f"parts/{at}/partIds/{number}", part_id) for number, part_id in enumerate(selector.part_ids)]
    for place, text in texts:
        if text is not None and (says_nothing(text) or _UNWRITABLE.search(text)):
            remedy = "give text with more than white space in it and without NUL, or leave it out"
            yield Finding(pointer=f"{pointer}/{place}", code="text", remedy=remedy)


def _findings(choice: Choice, pointer: str, known_organisations: frozenset[str]) -> Iterator[Finding]:
    recipient, needed = choice.recipient, NEEDED_BY_TYPE[choice.recipient.type]
    for name in ("organisation", "role", "person", "kind"):
        said = getattr(recipient, name)
        blank = name in {"role", "person"} and said is not None and says_nothing(said)
        if (said is not None) != (name in needed) or blank:
            remedy = f"a recipient of type {recipient.type} has " + (" and ".join(needed) or "no other field")
            yield Finding(pointer=f"{pointer}/recipient/{name}", code="recipient", remedy=remedy)
    if recipient.organisation is not None and recipient.organisation not in known_organisations:
        remedy = "name an organisation of the directory; the administrator adds one with PUT /v1/organisations/{id}"
        yield Finding(pointer=f"{pointer}/recipient/organisation", code="unknown-recipient", remedy=remedy)
    if choice.starts_on and choice.ends_on and choice.ends_on < choice.starts_on:
        yield Finding(pointer=f"{pointer}/until", code="period", remedy="let until be the same day as from, or later")
    if says_nothing(choice.given_by.person):
        yield Finding(pointer=f"{pointer}/givenBy/person", code="person", remedy="say who gave this choice")
    if choice.given_by.capacity == "representative" and says_nothing(choice.given_by.mandate):
        remedy = "name the mandate or court decision that lets a representative choose"
        yield Finding(pointer=f"{pointer}/givenBy/mandate", code="mandate", remedy=remedy)
