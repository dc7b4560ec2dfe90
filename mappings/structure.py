"""The structure of a resource, and the walk along it, place by place.

The models of `fhir.resources` (`models.py`) read more than FHIR JSON allows: numbers in quotes, an object written as text, their own
Python names for elements; and they tell of what lacks only when nothing else is wrong. So the walk itself holds every element to its
name, its JSON type, its number and its choice (https://hl7.org/fhir/R4/json.html); how a value is written the models say.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from msgspec import Struct

from mappings.document import escape
from mappings.elements import Resource
from mappings.errors import Finding
from mappings.models import Element, Shape, model_of, shape_of

_UNKNOWN = "leave this element out: R4 has none of this name here; what is your own goes into an extension"
_JSON_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "boolean": ((bool,), "give true or false, without quotes"),
    "integer": ((int,), "give a whole number, without quotes"),
    "decimal": ((int, float), "give a number, without quotes"),
    "text": ((str,), "give text in quotes"),
    "object": ((dict,), "give an object"),
}
_REQUIRED = "add this element: R4 requires it"
_CHOICE = "give exactly one of the types that R4 offers for each element with a choice"
_FORM = "write this value as R4 writes its type"
_LACKS = frozenset({"missing", "model_field_validation.missing"})
"""The errors of a model that point at what is not there."""


class Container:
    """A resource in which `#` references resolve (https://hl7.org/fhir/R4/references.html#contained)."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource

    @cached_property
    def kinds(self) -> dict[str, str]:
        """The types of the contained resources, by their id; of the resource itself under the empty id."""
        inner = self.resource.get("contained")
        found = [{**self.resource, "id": ""}, *(inner if isinstance(inner, list) else ())]
        named = ((each.get("id"), each.get("resourceType")) for each in found if isinstance(each, dict))
        return {name: kind for name, kind in named if isinstance(name, str) and isinstance(kind, str)}

    @cached_property
    def mentions(self) -> frozenset[str]:
        """The `#` references that stand anywhere in it."""
        return mentions(self.resource)


class Place(Struct, frozen=True, kw_only=True):
    """An object in a resource: the name of its model, its path as R4 writes it, and where it stands.

    `owner` is the resource it belongs to; `container` the outermost one; `inside` the path of the element that holds it; `targets`
    what it may refer to; `full_urls` says of which type the resources of the Bundle are.
    """

    type: str
    path: str
    value: Resource
    pointer: str
    owner: Resource
    container: Container
    inside: str
    targets: frozenset[str]
    full_urls: Mapping[str, str]
    model: Any

    @property
    def is_resource(self) -> bool:
        """Say whether this is a resource itself."""
        return self.value is self.owner

    @property
    def is_contained(self) -> bool:
        """Say whether this is a contained resource."""
        return self.is_resource and self.owner is not self.container.resource


def walk(resource: Resource, pointer: str, full_urls: Mapping[str, str]) -> Iterator[Place | Finding]:
    """Yield every object of a resource and what is wrong with its names and JSON types, in the order of the document."""
    stack: list[Place | Finding] = [_root(resource, pointer, None, full_urls)]
    while stack:
        place = stack.pop()
        yield place
        if isinstance(place, Place):
            stack += reversed(list(_inside(place)))


def mentions(resource: Any) -> frozenset[str]:
    """Return the `#` references in a resource, whatever their element."""
    found, stack = set(), [resource]
    while stack:
        value = stack.pop()
        if isinstance(value, str) and value.startswith("#"):
            found.add(value)
        elif isinstance(value, dict):
            stack += value.values()
        elif isinstance(value, list):
            stack += value
    return frozenset(found)


def model_findings(place: Place) -> Iterator[Finding]:
    """Yield what the model of a resource refuses; pydantic's own words are left out, since they quote the value."""
    from pydantic import ValidationError  # noqa: PLC0415

    outer = _without_resources(place.value)
    try:
        place.model.model_validate(outer)
    except ValidationError as error:
        for each in error.errors(include_url=False, include_input=False, include_context=False):
            yield _model_finding(each["type"], each["loc"], outer, place.pointer)
    except (KeyError, TypeError, AttributeError):
        yield Finding(
            pointer=place.pointer, code="resource-type", remedy="name the R4 resource type of every resource inside"
        )


def _root(resource: Any, pointer: str, around: Place | None, full_urls: Mapping[str, str]) -> Place | Finding:
    if not isinstance(resource, dict):
        return Finding(pointer=pointer, code="type", remedy="give a resource")
    name: Any = resource.get("resourceType")
    model = model_of(name) if isinstance(name, str) else None
    if model is None:
        return Finding(pointer=f"{pointer}/resourceType", code="resource-type", remedy="name a resource type of R4")
    return Place(
        type=name,
        path=name,
        value=resource,
        pointer=pointer,
        owner=resource,
        container=around.container if around else Container(resource),
        inside="",
        targets=frozenset(),
        full_urls=full_urls,
        model=model,
    )


def _inside(place: Place) -> Iterator[Place | Finding]:
    shape = shape_of(place.model)
    yield from _lacking(place, shape)
    for name, value in place.value.items():
        if name == "resourceType" and place.is_resource:
            continue
        here = f"{place.pointer}/{escape(name)}"
        if (element := shape.elements.get(name)) is None:
            yield Finding(pointer=here, code="extra-forbidden", remedy=_UNKNOWN)
        elif element.many != isinstance(value, list):
            remedy = "give a list" if element.many else "give one value, not a list"
            yield Finding(pointer=here, code="type", remedy=remedy)
        else:
            for at, item in enumerate(value if element.many else [value]):
                yield from _item(place, name, element, item, f"{here}/{at}" if element.many else here)


def _item(place: Place, name: str, element: Element, value: Any, pointer: str) -> Iterator[Place | Finding]:
    types, remedy = _JSON_TYPES[element.json]
    if value is None:
        return
    if not _is_one_of(types, value):
        yield Finding(pointer=pointer, code="type", remedy=remedy)
    elif element.form and not element.form.fullmatch(value):
        yield Finding(pointer=pointer, code="format", remedy=_FORM)
    elif element.type is not None and element.type.__name__ == "ResourceType":
        yield _root(value, pointer, place if name == "contained" else None, place.full_urls)
    elif element.type is not None:
        model = element.type.get_model_klass()
        yield Place(
            type=model.get_resource_type(),
            path=_path(place, name, model.get_resource_type()),
            value=value,
            pointer=pointer,
            owner=place.owner,
            container=place.container,
            inside=place.path,
            targets=element.targets,
            full_urls=place.full_urls,
            model=model,
        )


def _is_one_of(types: tuple[type, ...], value: Any) -> bool:
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


def _path(place: Place, name: str, kind: str) -> str:
    """Return the path that R4 gives an object: of a part `Observation.component`, of a datatype its own name."""
    if name.startswith("_"):
        return f"{place.path}.{name[1:]}"
    return f"{place.path}.{name}" if kind != place.type and kind.startswith(place.type) else kind


def _lacking(place: Place, shape: Shape) -> Iterator[Finding]:
    """Yield what R4 requires and is not there; the models tell that only when nothing else is wrong."""
    there = {name.removeprefix("_") for name in place.value}
    for name in shape.required:
        if name not in there:
            yield Finding(pointer=f"{place.pointer}/{name}", code="required", remedy=_REQUIRED)
    for names, required in shape.choices:
        made = sum(name in there for name in names)
        if made > 1 or (required and not made):
            yield Finding(pointer=place.pointer, code="choice", remedy=_CHOICE)


def _without_resources(resource: Resource) -> Resource:
    """Return the resource without those in it, which are checked each by itself."""
    outer = {name: value for name, value in resource.items() if name != "contained"}
    if resource.get("resourceType") == "Bundle" and isinstance(outer.get("entry"), list):
        entries = outer["entry"]
        outer["entry"] = [_without(each, "resource") if isinstance(each, dict) else each for each in entries]
    return outer


def _without(element: Resource, name: str) -> Resource:
    return {each: value for each, value in element.items() if each != name}


def _model_finding(kind: str, steps: tuple[int | str, ...], resource: Resource, pointer: str) -> Finding:
    here: Any = resource
    for step in steps:
        here, above = _child(here, step), here
        if here is not None or (kind in _LACKS and isinstance(above, dict)):
            pointer = f"{pointer}/{escape(str(step))}"
        if here is None:
            break
    return Finding(pointer=pointer, code="format", remedy=_FORM)


def _child(value: Any, step: int | str) -> Any:
    """Return what stands at a step of an error; None when nothing does, since a model has steps of its own."""
    if isinstance(value, dict):
        return value.get(str(step))
    return value[step] if isinstance(value, list) and isinstance(step, int) and step < len(value) else None
