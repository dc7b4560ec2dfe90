"""What R4 says of each type: its elements, with what JSON they are, how often, whom they refer to, and what is required.

Out of the models of `fhir.resources`, corrected where R4B, which they follow, differs from R4 (https://hl7.org/fhir/R4B/diff.html). What
R4B has new is not there. Nor is what R4 had and R4B has not, since there is no model to hold it to: the resource types for medicinal
products, substances and evidence synthesis, and a Meta as the value of an extension.
The models cost 0.3 s and 33 MB to import: only a process that takes FHIR in pays for them.
"""

import re
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, get_args, get_origin

from msgspec import Struct

_NO_RESOURCES = (
    "Resource DomainResource AdministrableProductDefinition Citation ClinicalUseDefinition EvidenceReport Ingredient"
    " ManufacturedItemDefinition MedicinalProductDefinition NutritionProduct PackagedProductDefinition RegulatedAuthorization"
    " SubscriptionStatus SubscriptionTopic SubstanceDefinition"
)
_NOT_R4 = frozenset(_NO_RESOURCES.split())
"""Abstract, or new in R4B."""
_NO_SPACE = re.compile(r"\S*")
_FORMS = dict.fromkeys(("Uri", "Url", "Canonical", "Oid"), _NO_SPACE) | {"Id": re.compile(r"[A-Za-z0-9\-.]{1,64}")}
_NEW_TYPES = frozenset({"CodeableReferenceType", "RatioRangeType"})
"""Datatypes that R4B brought."""
_R4_TARGETS = {
    "GroupMember.entity": frozenset(
        {"Patient", "Practitioner", "PractitionerRole", "Device", "Medication", "Substance", "Group"}
    ),
    "Observation.subject": frozenset({"Patient", "Group", "Device", "Location"}),
}
"""Where R4 allows fewer targets than R4B."""
_OURS = frozenset({"fhir_comments", "resource_type"})
"""What the models have and FHIR has not."""


class Element(Struct, frozen=True, kw_only=True):
    """What R4 says of one element. `type` has the model of an object; `targets` are what a reference may refer to."""

    json: str
    many: bool
    form: re.Pattern[str] | None
    type: Any
    targets: frozenset[str]


class Shape(Struct, frozen=True, kw_only=True):
    """What R4 says of one type: its elements, those that it requires, and its choices with whether one must be made."""

    elements: dict[str, Element]
    required: tuple[str, ...]
    choices: tuple[tuple[tuple[str, ...], bool], ...]


def model_of(name: str) -> Any:
    """Return the model of a resource type; None for a name that is no resource of R4."""
    from fhir.resources.R4B import fhirtypes  # noqa: PLC0415

    found: Any = getattr(fhirtypes, f"{name}Type", None)
    if name in _NOT_R4 or not hasattr(found, "get_model_klass"):
        return None
    model = found.get_model_klass()
    return model if model.has_resource_base() else None


@cache
def shape_of(model: Any) -> Shape:
    """Return what R4 says of a model."""
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    elements = {name: _element(model, name, field) for name, field in fields.items() if name not in _OURS}
    extras = {name: _extra(field) for name, field in fields.items()}
    choices: dict[str, list[str]] = {}
    for name, extra in extras.items():
        choices.setdefault(extra.get("one_of_many", ""), []).append(name)
    del choices[""]
    return Shape(
        elements={
            name: each for name, each in elements.items() if getattr(each.type, "__name__", "") not in _NEW_TYPES
        },
        required=tuple(
            name for name, field in fields.items() if field.is_required() or extras[name].get("element_required")
        ),
        choices=tuple((tuple(names), extras[names[0]]["one_of_many_required"]) for names in choices.values()),
    )


def _extra(field: Any) -> dict[str, Any]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def _element(model: Any, name: str, field: Any) -> Element:
    many, leaf, form = _leaf(field.annotation)
    # A primitive that every resource must have comes without its annotation, which then stands beside the field.
    forms = (form, *(type(each).__name__ for each in field.metadata))
    complex_type = leaf if hasattr(leaf, "get_model_klass") else None
    targets = _R4_TARGETS.get(
        f"{model.get_resource_type()}.{name}", frozenset(_extra(field).get("enum_reference_types", ()))
    )
    return Element(
        json="object" if complex_type else _json(leaf),
        many=many,
        form=next((_FORMS[each] for each in forms if each in _FORMS), None),
        type=complex_type,
        targets=targets,
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
