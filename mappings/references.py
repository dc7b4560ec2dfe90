"""Who and what the parts of a plan refer to: people, organisations, goals; and the same plan under other ids."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, get_args, get_type_hints

import msgspec

from mappings.plan import (
    Action,
    Actor,
    AnyPart,
    Contact,
    Goal,
    Identity,
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
    match part:
        case TeamMember(organisation=str(organisation)) | Provision(provider=str(organisation)):
            yield organisation
        case _:
            pass
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
        if not part.label.subjects or not by_type["resident"].issuperset(part.label.subjects):
            yield part.id, "subjects", "resident"
        if not by_type["relative"].issuperset(part.label.mentioned):
            yield part.id, "mentioned", "relative"
        if isinstance(part, Identity | Contact) and part.label.subjects != (part.resident,):
            yield part.id, "resident", "resident"
        if isinstance(part, Action | Provision) and not goals.issuperset(part.goals):
            yield part.id, "goals", "goal"
        for field, actor in actors_of(part):
            if actor.ref is not None and actor.ref not in by_type[actor.type]:
                yield part.id, field, actor.type
        for organisation in organisations_of(part):
            if organisation not in by_type["organisation"]:
                yield part.id, "organisation", "organisation"


_REFERENCES = frozenset(
    {"id", "resident", "subjects", "mentioned", "ref", "organisation", "provider", "goals", "residents", "source"}
)
"""The fields that hold an id, wherever they stand in a plan; no other field of the model has such a name."""


def renamed(plan: SupportPlan, names: Mapping[str, str]) -> SupportPlan:
    """Return the plan with ids replaced, in every place that refers to them; an id that is not in `names` stays."""
    return msgspec.convert(_renamed(msgspec.to_builtins(plan), names), SupportPlan)


def _renamed(value: Any, names: Mapping[str, str], field: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _renamed(inner, names, key) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_renamed(inner, names, field) for inner in value]
    return names.get(value, value) if field in _REFERENCES and isinstance(value, str) else value
