"""What was said, found, scored or decided: one table, one mechanism, both directions.

Worry → Condition (https://hl7.org/fhir/R4/condition.html), analysis → ClinicalImpression
(https://hl7.org/fhir/R4/clinicalimpression.html), everything else → Observation (https://hl7.org/fhir/R4/observation.html)
with the kind as its code. What the resource has no element for is an Observation.component under a code of `plan-field`.
"""

from datetime import date
from typing import Any, get_args

from msgspec import Struct

from mappings.codes import Kind, SafetyAspect
from mappings.elements import Resource, actor_reference, concept, day, extension, part_to_element
from mappings.node import Node
from mappings.plan import (
    Actor,
    Agreement,
    Analysis,
    AnyPart,
    DesiredResult,
    EarlierHelp,
    FormalDecision,
    Occasion,
    Safety,
    Score,
    Signal,
    Strength,
    SupportQuestion,
    Worry,
)

Finding = (
    Occasion
    | SupportQuestion
    | Strength
    | Worry
    | EarlierHelp
    | Analysis
    | DesiredResult
    | Score
    | Safety
    | Agreement
    | FormalDecision
    | Signal
)

Place = tuple[str, str, Any]
"""Part field, where it goes, its type. `a.0.b` is a path; `component` and `extension` mean: under the field's own code."""


class Shape(Struct, frozen=True, kw_only=True):
    """How one kind of part becomes a resource: its type, its class, the element of its kind, its places."""

    part: type[Finding]
    places: tuple[Place, ...]
    resource: str = "Observation"
    kind: str = "code"
    status: str | None = "final"
    required: frozenset[str] = frozenset({"text"})


_COMPONENT: dict[type, str] = {str: "valueString", int: "valueInteger", date: "valueDateTime"}
_ASPECTS: tuple[SafetyAspect, ...] = get_args(SafetyAspect)
_STATUSES = {
    "Observation": ("registered", "preliminary", "final", "amended", "corrected"),
    "ClinicalImpression": ("in-progress", "completed"),
}
"""The statuses that still say something: cancelled, entered-in-error and unknown do not, and no plan may hold them."""

_STATEMENT: tuple[Place, ...] = (
    ("text", "valueString", str),
    ("since", "effectiveDateTime", date),
    ("consequence", "component", str),
)
_WORRY = Shape(
    part=Worry,
    resource="Condition",
    kind="category",
    status=None,
    places=(("text", "code.text", str), ("since", "onsetDateTime", date), ("consequence", "extension", str)),
)
_ANALYSIS = Shape(
    part=Analysis,
    resource="ClinicalImpression",
    status="completed",
    places=(
        ("text", "summary", str),
        ("since", "effectiveDateTime", date),
        ("consequence", "prognosisCodeableConcept.0.text", str),
    ),
)
_EARLIER_HELP = Shape(
    part=EarlierHelp,
    places=(
        ("text", "valueString", str),
        ("by", "component", str),
        ("starts_on", "effectivePeriod.start", date),
        ("ends_on", "effectivePeriod.end", date),
        ("result", "component", str),
    ),
)
_SCORE = Shape(
    part=Score,
    places=(("scale", "method.text", str), ("value", "valueInteger", int), ("measured_on", "effectiveDateTime", date)),
    required=frozenset({"scale", "value"}),
)
_SAFETY = Shape(
    part=Safety,
    places=(
        ("aspect", "component", SafetyAspect),
        ("text", "valueString", str),
        ("value", "component", int),
        ("owner", "component", Actor),
        ("place", "component", str),
        ("starts_on", "effectivePeriod.start", date),
        ("due_on", "effectivePeriod.end", date),
        ("watched_by", "component", Actor),
        ("consequence", "component", str),
    ),
    required=frozenset({"aspect"}),
)
_AGREEMENT = Shape(
    part=Agreement,
    places=(
        ("by", "component", Actor),
        ("on", "effectiveDateTime", date),
        ("agreed", "valueBoolean", bool),
        ("view", "component", str),
    ),
    required=frozenset({"by", "on", "agreed"}),
)
_DECISION = Shape(
    part=FormalDecision,
    places=(
        ("reference", "identifier.0.value", str),
        ("text", "valueString", str),
        ("decided_on", "effectiveDateTime", date),
        ("starts_on", "component", date),
        ("ends_on", "component", date),
    ),
    required=frozenset({"reference"}),
)

SHAPES: dict[Kind, Shape] = {
    "occasion": Shape(part=Occasion, places=_STATEMENT),
    "support-question": Shape(part=SupportQuestion, places=_STATEMENT),
    "strength": Shape(part=Strength, places=_STATEMENT),
    "worry": _WORRY,
    "earlier-help": _EARLIER_HELP,
    "analysis": _ANALYSIS,
    "desired-result": Shape(part=DesiredResult, places=_STATEMENT),
    "score": _SCORE,
    "safety": _SAFETY,
    "agreement": _AGREEMENT,
    "decision": _DECISION,
    "signal": Shape(part=Signal, places=_STATEMENT),
}
_ONLY_KIND: dict[str, Kind] = {"Condition": "worry", "ClinicalImpression": "analysis"}
_OBSERVED = tuple(kind for kind, shape in SHAPES.items() if shape.resource == "Observation")


def finding_to_resource(part: AnyPart, stamp: Resource) -> Resource:
    """Render one finding."""
    shape = SHAPES[part.kind]
    resource = part_to_element(shape.resource, part, stamp)
    kind = concept("part-kind", part.kind)
    resource[shape.kind] = [kind] if shape.kind == "category" else kind
    if shape.status:
        resource["status"] = shape.status
    for field, place, form in shape.places:
        value = getattr(part, field)
        if value is not None and value != "":
            _put(resource, field, place, form, value)
    return resource


def resource_to_finding(node: Node) -> Finding | None:
    """Read one finding; None for an Observation of a kind that a plan does not hold. Raises MappingError."""
    resource_type = node.value["resourceType"]
    kind = _ONLY_KIND.get(resource_type) or node.coded("part-kind", _OBSERVED, "code")
    if kind is None:
        return None
    if resource_type in _STATUSES:
        node.needed("status").code(_STATUSES[resource_type])
    shape = SHAPES[kind]
    fields = {field: _get(node, field, place, form) for field, place, form in shape.places}
    for field, place, _ in shape.places:
        if field in shape.required and fields[field] is None:
            raise _missing(node, field, place)
    return shape.part(id=node.value["id"], label=node.label(), **fields)


def _code(field: str) -> str:
    return field.replace("_", "-")


def _put(resource: Resource, field: str, place: str, form: Any, value: Any) -> None:
    if place == "extension":
        resource.setdefault("extension", []).append(extension(_code(field), valueString=value))
    elif place == "component":
        component = {"code": concept("plan-field", _code(field))} | _component(form, value)
        resource.setdefault("component", []).append(component)
    else:
        _put_at(resource, place.split("."), value if form is not date else day(value))


def _put_at(resource: Resource, path: list[str], value: Any) -> None:
    match path:
        case [name]:
            resource[name] = value
        case [name, "0", *rest]:
            _put_at(resource.setdefault(name, [{}])[0], rest, value)
        case [name, *rest]:
            _put_at(resource.setdefault(name, {}), rest, value)


def _component(form: Any, value: Any) -> Resource:
    if form is Actor:
        return {"extension": [extension("actor", valueReference=actor_reference(value))]}
    if form is SafetyAspect:
        return {"valueCodeableConcept": concept("safety-aspect", value)}
    return {_COMPONENT[form]: day(value) if form is date else value}


def _get(node: Node, field: str, place: str, form: Any) -> Any:
    if place == "extension":
        found = node.extension(_code(field))
        return found.text("valueString") if found else None
    if place != "component":
        return _read(node, form, *(int(step) if step == "0" else step for step in place.split(".")))
    for component in node.each("component"):
        if component.coded("plan-field", None, "code") == _code(field):
            return _read_component(component, form)
    return None


def _read_component(component: Node, form: Any) -> Any:
    if form is Actor:
        found = component.extension("actor")
        return found.actor("valueReference") if found else None
    if form is SafetyAspect:
        return component.coded("safety-aspect", _ASPECTS, "valueCodeableConcept")
    return _read(component, form, _COMPONENT[form])


def _read(node: Node, form: Any, *path: str | int) -> Any:
    if form is date:
        return node.day(*path)
    if form is int:
        return node.number(*path)
    return node.flag(*path) if form is bool else node.text(*path)


def _missing(node: Node, field: str, place: str) -> Exception:
    if place == "component":
        return node.fail("required", f"add a component with code {_code(field)}")
    return node.fail("required", f"add {place}")
