"""Write back what was read: three plans become one, so that what the writer could not see is neither erased nor overwritten.

`base` is what the writer was shown, `mine` what came back, `current` the plan whole. Field by field: what the writer left as it was
shown keeps its current value, what the writer changed is taken over. Parts that were not shown stay; parts that were shown and did
not come back are gone. What cannot be both is named and refused.
"""

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from mappings.errors import Finding, MappingError
from mappings.plan import AnyPart, Label, SupportPlan
from mappings.references import broken_references

Thing = TypeVar("Thing", AnyPart, Label, SupportPlan)

_HEADER = ("status", "instrument", "number", "starts_on", "ends_on")


def merged(base: SupportPlan, mine: SupportPlan, current: SupportPlan) -> SupportPlan:
    """Return the next version. Raises MappingError, with part ids for pointers, where hidden and written contradict each other.

    All three have the same ids. A part that was not shown may come along as it is: its writer has it from
    elsewhere. Of `mine` nothing is changed but what `base` shows to have been hidden from its writer.
    """
    parts = _parts(base, mine, current)
    residents = _kept(base.residents, mine.residents, current.residents)
    shown = set(base.organisations)
    written = [each for each in mine.organisations if each not in shown]
    organisations = {each.id: each for each in (*base.organisations, *current.organisations, *written)}
    named = _kept(*(tuple(each.id for each in plan.organisations) for plan in (base, mine, current)))
    plan = replace(
        _changed(base, mine, current, _HEADER),
        residents=residents,
        parts=parts,
        organisations=tuple(organisations[name] for name in named),
    )
    findings = [_conflict(part_id) for part_id, _, _ in broken_references(plan)]
    if findings:
        raise MappingError(*findings)
    return plan


def _conflict(part_id: str) -> Finding:
    remedy = "something that you cannot see depends on what you took out or changed; leave that as it was"
    return Finding(pointer=part_id, code="conflict", remedy=remedy)


def _parts(base: SupportPlan, mine: SupportPlan, current: SupportPlan) -> tuple[AnyPart, ...]:
    """Return the parts of the next version, in the order that the writer gave them or, untouched, in their own."""
    shown, whole = ({part.id: part for part in plan.parts} for plan in (base, current))
    written: dict[str, AnyPart] = {}
    findings: list[Finding] = []
    for part in mine.parts:
        before = shown.get(part.id)
        is_hidden = before is None and part != whole.get(part.id, part)
        if is_hidden or (before is not None and type(before) is not type(part)):
            findings.append(_conflict(part.id))
        else:
            written[part.id] = part if before is None else _part(before, part, whole[part.id])
    if findings:
        raise MappingError(*findings)
    kept = {name: part for name, part in whole.items() if name not in shown}
    ids = _kept(tuple(shown), tuple(written), tuple(whole))
    return tuple((written | kept)[name] for name in ids)


def _part(before: AnyPart, part: AnyPart, whole: AnyPart) -> AnyPart:
    fields = [field.name for field in msgspec.structs.fields(type(part)) if field.name not in {"id", "label"}]
    label = _changed(before.label, part.label, whole.label, Label.__struct_fields__)
    return replace(_changed(before, part, whole, fields), label=label)


def _changed(base: Thing, mine: Thing, current: Thing, fields: Iterable[str]) -> Thing:
    """Return `current` with the fields that differ between `base` and `mine`; a list keeps what was hidden of it."""
    changes: dict[str, Any] = {}
    for name in fields:
        before: Any = getattr(base, name)
        now: Any = getattr(mine, name)
        whole: Any = getattr(current, name)
        if now != before:
            is_list_of_ids = isinstance(now, tuple) and all(isinstance(item, str) for item in (*before, *now, *whole))
            changes[name] = _kept(before, now, whole) if is_list_of_ids else now
    return replace(current, **changes)


def _kept(before: tuple[str, ...], now: tuple[str, ...], whole: tuple[str, ...]) -> tuple[str, ...]:
    """Return ids as they are now, with those of `whole` that were not shown: in their order when nothing was moved, else behind."""
    shown, written = set(before), set(now)
    hidden = tuple(name for name in whole if name not in shown)
    new = tuple(name for name in now if name not in shown and name not in hidden)
    if tuple(name for name in now if name in shown) == tuple(name for name in before if name in written):
        left = written.union(hidden)
        return (*(name for name in whole if name in left), *new)
    return (*now, *(name for name in hidden if name not in written))
