"""A resident's choices, compiled once per version, so that a decision costs the same with ten choices as with a thousand.

Specificity (Dutch GF Consent, nl-generic-functions-ig `consent.md`): person > role in an organisation > organisation > kind > all;
named part > kind and domain > either > all; a purpose counts as specific; a period never does. It is a partial order.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import product

from consent.choice import Capacity, Choice, PartSelector, RecipientSelector
from mappings.codes import OrganisationKind, Purpose
from mappings.plan import AnyPart, Record

Rank = tuple[int, int, int]
"""Specificity on the axes recipient, parts, purpose; higher is more specific."""

RecipientKey = tuple[str, ...]
PartKey = tuple[str, ...]
Audience = tuple[tuple[RecipientKey, Purpose | None], ...]


class Recipient(Record, frozen=True):
    """Who would receive or read. `bsn_article` is the article that lets this organisation have a BSN.

    `resident` is set when the reader is that resident.
    """

    organisation: str
    kind: OrganisationKind | None = None
    role: str | None = None
    person: str | None = None
    bsn_article: str | None = None
    resident: str | None = None


class Match(Record, frozen=True):
    """What a choice says about parts by one of its selectors, with how specific that is."""

    rank: Rank
    choice: Choice
    selector: PartSelector


Parts = dict[PartKey, tuple[Match, ...]]

Speaker = tuple[Capacity, str]
"""In which capacity, and which person. What one speaker says never overrules what another says."""


class ChoiceIndex:
    """The compiled choices of one resident at one version.

    `named`: the ids of the parts that some choice names; `permitted`: the organisations that some permit names.
    """

    def __init__(self, choices: Iterable[Choice], version: int = 0) -> None:
        """Compile; the cost is in the number of choices, once."""
        self.version = version
        self.choices = tuple(choices)
        self.named = frozenset(
            part_id for choice in self.choices for selector in choice.parts for part_id in selector.part_ids
        )
        self.permitted = frozenset(
            choice.recipient.organisation
            for choice in self.choices
            if choice.effect == "permit" and choice.recipient.organisation
        )
        table: dict[tuple[RecipientKey, Purpose | None], dict[Speaker, dict[PartKey, list[Match]]]] = {}
        for choice in self.choices:
            said = table.setdefault((_recipient_key(choice.recipient), choice.purpose), {})
            speaker = (choice.given_by.capacity, choice.given_by.person)
            parts = said.setdefault(speaker, defaultdict(list))
            for selector in choice.parts or (PartSelector(),):
                for part_rank, part_key in _part_keys(selector):
                    rank = (_RECIPIENT_RANK[choice.recipient.type], part_rank, int(choice.purpose is not None))
                    parts[part_key].append(Match(rank=rank, choice=choice, selector=selector))
        self._table = {
            key: {speaker: {name: tuple(rows) for name, rows in parts.items()} for speaker, parts in said.items()}
            for key, said in table.items()
        }

    def heard(self, audience: Audience) -> dict[Speaker, tuple[Parts, ...]]:
        """Return what each speaker says about this audience, to look parts up in."""
        found: dict[Speaker, tuple[Parts, ...]] = {}
        for key in audience:
            if key in self._table:
                for speaker, parts in self._table[key].items():
                    found[speaker] = (*found.get(speaker, ()), parts)
        return found


def audience_of(recipient: Recipient, purpose: Purpose) -> Audience:
    """Return the keys under which choices about a recipient and a purpose may stand."""
    return tuple(product(_keys_of(recipient), (purpose, None)))


def matches(said: Iterable[Parts], part: AnyPart, keys: tuple[PartKey, ...], today: date) -> list[Match]:
    """Return what the choices say about `part` today; `keys` are its `keys_of_part`."""
    return [
        entry
        for parts in said
        for key in keys
        if key in parts
        for entry in parts[key]
        if _in_period(entry.choice, today) and _selects(entry, part)
    ]


def most_specific(found: Sequence[Match]) -> Sequence[Match]:
    """Return the maximal elements: those that no other match is at least as specific as on every axis."""
    if len(found) < 2:  # noqa: PLR2004 - with one there is nothing to compare
        return found
    return [row for row in found if not any(_dominates(other.rank, row.rank) for other in found)]


def keys_of_part(part: AnyPart) -> tuple[PartKey, ...]:
    """Return the keys under which choices about a part may stand: a fixed number, whatever the number of choices."""
    kind, domain = part.kind, part.label.domain
    keys: tuple[PartKey, ...] = (("any",), ("part", part.id), ("kind", kind))
    return (*keys, ("domain", domain), ("both", kind, domain)) if domain else keys


def guarded(part: AnyPart) -> bool:
    """Say whether a part is shared only when it is named: a safety part, or one marked restricted."""
    return part.kind == "safety" or part.label.sensitivity == "restricted"


_RECIPIENT_RANK = {"all": 0, "kind": 1, "organisation": 2, "role": 3, "person": 4}


def _recipient_key(selector: RecipientSelector) -> RecipientKey:
    named = (selector.organisation, selector.role, selector.person, selector.kind)
    return (selector.type, *(name for name in named if name is not None))


def _keys_of(recipient: Recipient) -> Iterator[RecipientKey]:
    yield ("all",)
    yield ("organisation", recipient.organisation)
    if recipient.kind:
        yield ("kind", recipient.kind)
    if recipient.role:
        yield ("role", recipient.organisation, recipient.role)
    if recipient.person:
        yield ("person", recipient.organisation, recipient.person)


def _part_keys(selector: PartSelector) -> Iterator[tuple[int, PartKey]]:
    if selector.part_ids:
        yield from ((3, ("part", part_id)) for part_id in selector.part_ids)
    elif selector.kinds and selector.domains:
        yield from ((2, ("both", *pair)) for pair in product(selector.kinds, selector.domains))
    elif selector.kinds:
        yield from ((1, ("kind", kind)) for kind in selector.kinds)
    elif selector.domains:
        yield from ((1, ("domain", domain)) for domain in selector.domains)
    else:
        yield 0, ("any",)


def _in_period(choice: Choice, today: date) -> bool:
    return (choice.starts_on is None or choice.starts_on <= today) and (
        choice.ends_on is None or today <= choice.ends_on
    )


def _selects(entry: Match, part: AnyPart) -> bool:
    """Hold a named part to the other lists of its selector, and keep a permit from reaching a guarded part unnamed."""
    selector = entry.selector
    if selector.part_ids:
        right_kind = not selector.kinds or part.kind in selector.kinds
        return right_kind and (not selector.domains or part.label.domain in selector.domains)
    named = part.kind == "safety" and "safety" in selector.kinds
    return named or entry.choice.effect == "deny" or not guarded(part)


def _dominates(high: Rank, low: Rank) -> bool:
    return high != low and all(left >= right for left, right in zip(high, low, strict=True))
