"""What R4 says of the structure of a resource, out of the models of `fhir.resources`, and the walk along it.

The models know element names, cardinalities, types and reference targets. They read more than FHIR JSON allows: numbers in quotes,
an object written as text, their own Python names for elements. So the walk holds every element to the name and the JSON type that
R4 gives it (https://hl7.org/fhir/R4/json.html); what is required, which choice is made and how a value is written the models say.

R4 or R4B: see `bundle.py`. What R4B has new is refused here, and so are the resource types that R4 had and R4B has not (medicinal
products, substances, evidence synthesis): there is no model to hold them to.
The models cost 0.3 s and 33 MB to import: only a process that takes FHIR in pays for them.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache, cached_property
from typing import Annotated, Any, get_args, get_origin

from msgspec import Struct

from mappings.document import escape
from mappings.elements import Resource
from mappings.errors import Finding

_UNKNOWN = "leave this element out: R4 has none of this name here; what is your own goes into an extension"
_JSON_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "boolean": ((bool,), "give true or false, without quotes"),
    "integer": ((int,), "give a whole number, without quotes"),
    "decimal": ((int, float), "give a number, without quotes"),
    "text": ((str,), "give text in quotes"),
    "object": ((dict,), "give an object"),
}
_NO_RESOURCES = (
    "Resource DomainResource AdministrableProductDefinition Citation ClinicalUseDefinition EvidenceReport Ingredient"
    " ManufacturedItemDefinition MedicinalProductDefinition NutritionProduct PackagedProductDefinition RegulatedAuthorization"
    " SubscriptionStatus SubscriptionTopic SubstanceDefinition"
)
_NOT_R4 = frozenset(_NO_RESOURCES.split())
"""Abstract, or new in R4B."""
_NO_SPACE = frozenset({"Uri", "Url", "Canonical", "Oid", "Id"})
_KINDS: dict[str, tuple[str, str]] = {
    "missing": ("required", "add this element: R4 requires it"),
    "model_field_validation.missing": ("required", "add this element: R4 requires it"),
    "extra_forbidden": ("extra-forbidden", _UNKNOWN),
    "choice": ("choice", "give exactly one of the types that R4 offers for each element with a choice"),
}
_FORMAT = ("format", "write this value as R4 writes its type")


class Element(Struct, frozen=True, kw_only=True):
    """What R4 says of one element. `type` has the model of an object; `targets` are what a reference may refer to."""

    json: str
    many: bool
    spaceless: bool
    type: Any
    targets: frozenset[str]


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


def model_of(name: str) -> Any:
    """Return the model of a resource type; None for a name that is no resource of R4."""
    from fhir.resources.R4B import fhirtypes  # noqa: PLC0415

    found: Any = getattr(fhirtypes, f"{name}Type", None)
    if name in _NOT_R4 or not hasattr(found, "get_model_klass"):
        return None
    model = found.get_model_klass()
    return model if model.has_resource_base() else None


@cache
def elements(model: Any) -> dict[str, Element]:
    """Return the elements of a model by their name in JSON."""
    found = {field.alias or name: _element(field) for name, field in model.model_fields.items()}
    return {name: element for name, element in found.items() if name not in {"fhir_comments", "resource_type"}}


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
    known = elements(place.model)
    for name, value in place.value.items():
        if name == "resourceType" and place.is_resource:
            continue
        here = f"{place.pointer}/{escape(name)}"
        if (element := known.get(name)) is None:
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
    elif element.spaceless and any(each.isspace() for each in value):
        yield Finding(pointer=pointer, code="format", remedy="give an address or id without white space")
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


def _element(field: Any) -> Element:
    many, leaf, form = _leaf(field.annotation)
    # A primitive that every resource must have comes without its annotation, which then stands beside the field.
    forms = {form, *(type(each).__name__ for each in field.metadata)}
    complex_type = leaf if hasattr(leaf, "get_model_klass") else None
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return Element(
        json="object" if complex_type else _json(leaf),
        many=many,
        spaceless=bool(forms & _NO_SPACE),
        type=complex_type,
        targets=frozenset(extra.get("enum_reference_types", ())),
    )


def _leaf(annotation: Any, form: str = "") -> tuple[bool, Any, str]:
    """Return whether it is a list, the type in it, and the name of the FHIR primitive."""
    origin, arguments = get_origin(annotation), [each for each in get_args(annotation) if each is not type(None)]
    if origin is None:
        return False, annotation, form
    if origin is Annotated:
        return _leaf(arguments[0], form or type(arguments[1]).__name__)
    many, leaf, found = _leaf(arguments[0], form)
    return many or origin is list, leaf, found


def _json(leaf: Any) -> str:
    for kind, name in ((bool, "boolean"), (int, "integer"), (Decimal, "decimal")):
        if isinstance(leaf, type) and issubclass(leaf, kind):
            return name
    return "text"


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
        if here is not None or (kind in _KINDS and isinstance(above, dict)):
            pointer = f"{pointer}/{escape(str(step))}"
        if here is None:
            break
    if kind == "value_error" and isinstance(here, dict):
        kind = "choice"
    code, remedy = _KINDS.get(kind, _FORMAT)
    return Finding(pointer=pointer, code=code, remedy=remedy)


def _child(value: Any, step: int | str) -> Any:
    """Return what stands at a step of an error; None when nothing does, since a model has steps of its own."""
    if isinstance(value, dict):
        return value.get(str(step))
    return value[step] if isinstance(value, list) and isinstance(step, int) and step < len(value) else None
