"""Golden pairs on disk: each example of each packaged format, as sent, as a plan, and as the FHIR Bundle of the whole plan."""

import json
from pathlib import Path

import pytest
from forms import CASES, FORMATS, case_id, plan_of

from mappings.bundle import bundle_to_plan, check_bundle, encode_bundle, in_order, plan_to_bundle
from mappings.draft import with_plain_ids

BASE = "https://gateway.example/fhir"

pytestmark = pytest.mark.parametrize("case", CASES, ids=case_id)


def test_an_example_is_read_as_its_plan(case: Path) -> None:
    """source.json → plan.json, and nothing finds no place."""
    draft = FORMATS[case.parents[1].name].read((case / "source.json").read_bytes())
    assert draft.plan == plan_of(case)
    assert draft.loss == ()


def test_an_example_is_written_from_its_plan(case: Path) -> None:
    """plan.json → source.json, and every part has a place."""
    form, plan = FORMATS[case.parents[1].name], plan_of(case)
    assert json.loads(form.write(plan)) == json.loads((case / "source.json").read_bytes())
    assert form.unwritten(plan) == ()


def test_an_example_is_pointed_back_at_item_by_item(case: Path) -> None:
    """Pointers lead to the item that a part came from, references to the keys of the residents."""
    whole = json.loads((case / "source.json").read_bytes())
    draft = FORMATS[case.parents[1].name].read(json.dumps(whole).encode())
    assert all(found(whole, pointer) for pointer in draft.pointers.values())
    keys = [found(whole, draft.pointers[resident])["ref"] for resident in draft.plan.residents]
    assert keys == list(draft.references.values())


def test_an_example_becomes_its_bundle_and_comes_back(case: Path) -> None:
    """plan.json and bundle.json say the same, in both directions, nothing is lost, and the Bundle is valid FHIR."""
    plan = in_order(with_plain_ids(plan_of(case)))
    expected = json.loads((case / "bundle.json").read_bytes())
    assert json.loads(encode_bundle(plan_to_bundle(plan, BASE))) == expected
    assert bundle_to_plan(expected) == (plan, ())
    check_bundle(expected)


def found(node: dict, pointer: str) -> dict:  # type: ignore[type-arg]
    """Return the item that a pointer without escapes leads to."""
    place = node
    for token in pointer.split("/")[1:]:
        place = place[int(token)] if isinstance(place, list) else place[token]
    return place
