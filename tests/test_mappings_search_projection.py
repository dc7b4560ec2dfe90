"""How much of a resource a search shows."""

from copy import deepcopy
from typing import Any

import pytest
from searches import examples, parsed

from mappings.edge import check_resource
from mappings.models import model_of
from mappings.search.parameters import PARAMETERS
from mappings.search.projection import SUBSETTED, projected

ASKED = (
    "_summary=true",
    "_summary=text",
    "_summary=data",
    "_summary=count",
    "_count=0",
    "_elements=subject,code,effective,status",
)
ALWAYS = {"resourceType", "id", "meta", "implicitRules", "modifierExtension"}
BY_TYPE = {resource["resourceType"]: resource for resource in examples()}

ADDED = {"AuditEvent": {"agent", "source"}, "Provenance": {"agent"}}
"""What is mandatory in R4 without being part of a summary."""

OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "1",
    "meta": {"versionId": "2", "tag": [{"system": "urn:t", "code": "a"}]},
    "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">x</div>'},
    "extension": [{"url": "urn:x", "valueCode": "x"}],
    "status": "final",
    "_status": {"extension": [{"url": "urn:x", "valueCode": "x"}]},
    "code": {"text": "x"},
    "category": [{"text": "x"}],
    "effectiveDateTime": "2026-01-01",
    "valueString": "x",
    "method": {"text": "x"},
}

SHOWN: dict[str, set[str]] = {
    "_summary=true": {"status", "_status", "code", "effectiveDateTime", "valueString"},
    "_summary=text": {"text", "status", "_status", "code"},
    "_summary=count": {"status", "_status", "code"},
    "_summary=data": OBSERVATION.keys() - ALWAYS - {"text"},
    "_summary=false": OBSERVATION.keys() - ALWAYS,
    "_elements=category": {"category", "status", "_status", "code"},
    "_elements=effective,value": {"effectiveDateTime", "valueString", "status", "_status", "code"},
    "_elements=valueString": {"valueString", "status", "_status", "code"},
    "_elements=nonsense": {"status", "_status", "code"},
    "_elements=category&_summary=text": {"text", "status", "_status", "code"},
    "": OBSERVATION.keys() - ALWAYS,
}


@pytest.mark.parametrize(("text", "expected"), SHOWN.items(), ids=SHOWN)
def test_what_is_asked_is_shown(text: str, expected: set[str]) -> None:
    """With what is mandatory, whatever is asked."""
    assert expected == projected(OBSERVATION, parsed("Observation", text)).keys() - ALWAYS


@pytest.mark.parametrize("text", ASKED)
@pytest.mark.parametrize("resource_type", BY_TYPE)
def test_part_of_a_resource_is_valid_and_says_that_it_is_a_part(resource_type: str, text: str) -> None:
    """For every type that a plan becomes; the resource itself stays as it was."""
    for resource in (each for each in examples() if each["resourceType"] == resource_type):
        before = deepcopy(resource)
        shown = projected(resource, parsed(resource_type, text))
        assert resource == before
        assert check_resource(shown) == []
        assert SUBSETTED in shown["meta"]["tag"]
        assert {name: resource[name] for name in shown.keys() - {"meta"}} == {
            name: shown[name] for name in shown.keys() - {"meta"}
        }


def test_a_part_of_a_part_says_so_once() -> None:
    """What is marked already is not marked again, and its own tags stay."""
    query = parsed("Observation", "_summary=true")
    once = projected(OBSERVATION, query)
    assert once["meta"] == {"versionId": "2", "tag": [{"system": "urn:t", "code": "a"}, SUBSETTED]}
    assert projected(once, query) == once


def test_elements_are_of_the_type_that_is_searched() -> None:
    """What comes along stays whole; a summary is one of everything."""
    assert projected(OBSERVATION, parsed("Task", "_elements=status")) is OBSERVATION
    assert "method" not in projected(OBSERVATION, parsed("Task", "_summary=true"))


def test_a_type_without_a_table_stays_whole() -> None:
    """An outcome that comes along in a search is no resource of ours."""
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "not-found"}]}
    assert projected(outcome, parsed("Task", "_summary=true")) is outcome


@pytest.mark.parametrize("resource_type", PARAMETERS)
def test_a_summary_has_the_elements_that_the_models_mark(resource_type: str) -> None:
    """All of them and no others, also of types that no example has; R4B changed none."""
    model = model_of(resource_type)
    assert model is not None
    shown = projected(_whole(resource_type), parsed(resource_type, "_summary=true")).keys()
    expected = {name for name in model.summary_elements_sequence() if name not in ALWAYS}
    assert expected == shown - ALWAYS - ADDED.get(resource_type, set())


@pytest.mark.parametrize("text", ASKED)
@pytest.mark.parametrize("resource_type", PARAMETERS)
def test_what_the_models_require_is_shown(resource_type: str, text: str) -> None:
    """Whatever is asked."""
    model = model_of(resource_type)
    assert model is not None
    required = {field.alias or name for name, field in model.model_fields.items() if _is_required(field)}
    assert required <= projected(_whole(resource_type), parsed(resource_type, text)).keys()


def _whole(resource_type: str) -> dict[str, Any]:
    """Return something of every element."""
    model = model_of(resource_type)
    assert model is not None
    return {**dict.fromkeys(model.elements_sequence(), "x"), "resourceType": resource_type, "meta": {}}


def _is_required(field: Any) -> bool:
    return field.is_required() or bool((field.json_schema_extra or {}).get("element_required"))
