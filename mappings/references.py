"""Who and what the parts of a plan refer to: people, organisations, goals; and the same plan under other ids."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, get_args, get_type_hints

import msgspec
from msgspec.structs import replace

from mappings.plan import (
    Action,
    Actor,
    AnyPart,
    Contact,
    Goal,
    Identity,
    Label,
    Provision,
    Relative,
    SupportPlan,
    TeamMember,
)


def actors_of(part: AnyPart) -> Iterator[tuple[str, Actor]]:
    """Yield (field, actor) for everybody whom a part names, its speaker first."""
    if part.label.speaker:
        yield "speaker", part.label.speaker
    for field in _actor_fields(type(part)):
        actor = getattr(part, field)
        if actor is not None:
            yield field, actor


@cache
def _actor_fields(kind: type) -> tuple[str, ...]:
    """Return the fields of a kind of part that hold an actor."""
    return tuple(name for name, hint in get_type_hints(kind).items() if Actor in (hint, *get_args(hint)))


def organisations_of(part: AnyPart) -> Iterator[str]:
    """Yield the ids of the organisations that a part names, its recorder left out."""
    if isinstance(part, TeamMember) and part.organisation is not None:
        yield part.organisation
    if isinstance(part, Provision) and part.provider is not None:
        yield part.provider
    for _, actor in actors_of(part):
        if actor.type == "organisation" and actor.ref:
            yield actor.ref


def carriers_of(part: AnyPart, plan: SupportPlan) -> frozenset[str]:
    """Return the ids of the organisations that carry this part out: the provider, or the owner or the owner's employer."""
    match part:
        case Provision(provider=str(provider)):
            return frozenset({provider})
        case Action(owner=Actor(type="organisation", ref=str(ref))):
            return frozenset({ref})
        case Action(owner=Actor(type="professional", ref=str(ref))):
            return frozenset(
                member.organisation
                for member in plan.parts
                if isinstance(member, TeamMember) and member.id == ref and member.organisation
            )
        case _:
            return frozenset()


_OF_ONE = (Identity, Contact)
_FOR_GOALS = (Action, Provision)


def broken_references(plan: SupportPlan) -> Iterator[tuple[str, str, str]]:
    """Yield (part id, field, what it should be) for every reference that the plan itself does not answer."""
    by_type = {
        "resident": frozenset(plan.residents),
        "relative": frozenset(part.id for part in plan.parts if isinstance(part, Relative)),
        "professional": frozenset(part.id for part in plan.parts if isinstance(part, TeamMember)),
        "organisation": frozenset(organisation.id for organisation in plan.organisations),
    }
    goals = frozenset(part.id for part in plan.parts if isinstance(part, Goal))
    for part in plan.parts:
        label = part.label
        if not label.subjects or not by_type["resident"].issuperset(label.subjects):
            yield part.id, "subjects", "resident"
        if label.mentioned and not by_type["relative"].issuperset(label.mentioned):
            yield part.id, "mentioned", "relative"
        if isinstance(part, _OF_ONE) and label.subjects != (part.resident,):
            yield part.id, "resident", "resident"
        if isinstance(part, _FOR_GOALS) and not goals.issuperset(part.goals):
            yield part.id, "goals", "goal"
        for field, actor in actors_of(part):
            if actor.ref is not None and actor.ref not in by_type[actor.type]:
                yield part.id, field, actor.type
        if not by_type["organisation"].issuperset(organisations_of(part)):
            yield part.id, "organisation", "organisation"


def renamed(plan: SupportPlan, names: Mapping[str, str]) -> SupportPlan:
    """Return the plan with ids replaced, in every place that refers to them; an id that is not in `names` stays."""

    def name(reference: str) -> str:
        return names.get(reference, reference)

    return replace(
        plan,
        source=name(plan.source) if plan.source else plan.source,
        residents=tuple(map(name, plan.residents)),
        organisations=tuple(replace(organisation, id=name(organisation.id)) for organisation in plan.organisations),
        parts=tuple(_renamed_part(part, name) for part in plan.parts),
    )


Name = Callable[[str], str]


def _renamed_part(part: AnyPart, name: Name) -> AnyPart:
    changed: dict[str, Any] = {"id": name(part.id), "label": _renamed_label(part.label, name)}
    for field in _reference_fields(type(part)):
        value = getattr(part, field)
        if value is not None:
            changed[field] = _renamed_value(value, name)
    return replace(part, **changed)


def _renamed_label(label: Label, name: Name) -> Label:
    recorder = label.recorded_by
    return replace(
        label,
        subjects=tuple(map(name, label.subjects)),
        mentioned=tuple(map(name, label.mentioned)),
        speaker=_renamed_value(label.speaker, name) if label.speaker else None,
        recorded_by=replace(recorder, organisation=name(recorder.organisation)) if recorder else None,
    )


def _renamed_value(value: Any, name: Name) -> Any:
    if isinstance(value, Actor):
        return Actor(type=value.type, ref=name(value.ref)) if value.ref else value
    return name(value) if isinstance(value, str) else tuple(map(name, value))


_REFERENCES = frozenset({"resident", "organisation", "provider", "goals"})
"""The fields of parts that hold an id or ids, beside those that hold an actor."""


@cache
def _reference_fields(kind: type) -> tuple[str, ...]:
    """Return the fields of a kind of part that refer to something."""
    held = tuple(field.name for field in msgspec.structs.fields(kind) if field.name in _REFERENCES)
    return (*held, *(field for field in _actor_fields(kind) if field != "label"))
