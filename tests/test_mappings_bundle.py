"""A plan in FHIR R4 and back: nothing lost, nothing added, nothing refused in silence."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plans import support_plans

import mappings
from consent.choice import Capacity, Choice, GivenBy, RecipientSelector
from consent.fhir import choice_to_consent
from mappings import codes
from mappings.bundle import (
    bundle_to_plan,
    check_bundle,
    encode_bundle,
    in_order,
    plan_to_bundle,
    plan_to_resources,
)
from mappings.edge import check_resource
from mappings.elements import group_id
from mappings.errors import MappingError
from mappings.plan import (
    Action,
    Actor,
    Agreement,
    Contact,
    Evaluation,
    Goal,
    Identity,
    Label,
    Occasion,
    Organisation,
    Provision,
    RecordedBy,
    Relative,
    Safety,
    SupportPlan,
    TeamMember,
    Volume,
    Worry,
    contact_id,
    identity_id,
)

URL = "https://planbrug.voorbeeld.nl/fhir"
PROFILES = Path(mappings.__file__).parent / "profiles"
DEFINITIONS = [json.loads(path.read_text()) for path in sorted(PROFILES.glob("*.json"))]
EXTENSIONS = {each["url"] for each in DEFINITIONS if each.get("type") == "Extension"}
CODES = {
    each["url"]: {concept["code"] for concept in each.get("concept", ())}
    for each in DEFINITIONS
    if each["resourceType"] == "CodeSystem"
}
OPEN_SYSTEMS = {each["url"] for each in DEFINITIONS if each.get("content") == "not-present"}
A, BOTH = ("anna",), ("anna", "bas")

R4_ELEMENTS = {
    "CarePlan": "identifier status intent category title subject period author careTeam supportingInfo goal activity",
    "CareTeam": "subject participant",
    "ClinicalImpression": "status code subject effectiveDateTime assessor summary prognosisCodeableConcept",
    "Condition": "category code subject onsetDateTime asserter",
    "Goal": "lifecycleStatus achievementStatus category description subject startDate target expressedBy",
    "Group": "type actual member",
    "Observation": "identifier status code subject effectiveDateTime effectivePeriod performer valueString valueInteger"
    " valueBoolean method component",
    "Organization": "identifier type name",
    "Patient": "identifier name telecom gender birthDate address",
    "Practitioner": "name",
    "PractitionerRole": "practitioner organization code period",
    "RelatedPerson": "patient relationship name telecom",
    "ServiceRequest": "status intent category code orderDetail subject occurrencePeriod requester performer quantityQuantity"
    " quantityRatio supportingInfo",
    "Task": "code status statusReason intent description focus for executionPeriod requester owner restriction input output",
}
"""The elements that we use, out of the tables of 4.0.1 (https://hl7.org/fhir/R4/resourcelist.html), where R4B has the same."""

examples = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def sent(plan: SupportPlan) -> dict[str, Any]:
    """Return the Bundle as another system reads it."""
    return json.loads(encode_bundle(plan_to_bundle(plan, URL)))


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every JSON object inside."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(item)


def without_unpublished(value: Any) -> Any:
    """Return the JSON without any extension that no file in mappings/profiles defines."""
    if isinstance(value, list):
        return [without_unpublished(item) for item in value]
    if not isinstance(value, dict):
        return value
    known = [item for item in value.get("extension", ()) if item["url"] in EXTENSIONS]
    return {name: without_unpublished(known if name == "extension" else item) for name, item in value.items()}


def resource(plan: SupportPlan, resource_type: str) -> dict[str, Any]:
    """Return the only resource of a type."""
    (found,) = (each for each in plan_to_resources(plan) if each["resourceType"] == resource_type)
    return found


def place(bundle: dict[str, Any], resource_type: str) -> tuple[str, dict[str, Any]]:
    """Return the pointer and the body of the first resource of a type in a Bundle."""
    found = ((f"/entry/{at}/resource", each["resource"]) for at, each in enumerate(bundle["entry"]))
    return next((pointer, body) for pointer, body in found if body["resourceType"] == resource_type)


def a_plan(*parts: Any, residents: tuple[str, ...] = A, **header: Any) -> SupportPlan:
    """Return a plan around some parts."""
    known = {"id": "plan-1", "status": "agreed", "instrument": "plan-van-aanpak"} | header
    return SupportPlan(residents=residents, parts=parts, **known)


def a_full_plan() -> SupportPlan:
    """Return a plan of a household with a part of nearly every shape."""
    team = Actor(type="professional", ref="lid-1")
    label = Label(subjects=A, domain="housing", law="wmo", speaker=Actor(type="resident", ref="anna"))
    return a_plan(
        Identity(
            id=identity_id("anna"),
            label=label,
            resident="anna",
            bsn="999900018",
            given="Anna Maria",
            prefix="van der",
            family="Berg",
        ),
        Contact(
            id=contact_id("anna"),
            label=Label(subjects=A, sensitivity="restricted"),
            resident="anna",
            street="Dorpsstraat",
            house_number="1",
            municipality="0363",
        ),
        Relative(id="oma", label=Label(subjects=BOTH), relation="family", name="Oma", carer=True, agreed=True),
        TeamMember(
            id="lid-1",
            label=Label(subjects=A),
            role="coordinator",
            name="T. Team",
            organisation="wijkteam",
            coordinator=True,
        ),
        Occasion(id="aanleiding", label=label, text="Het huis is te klein."),
        Worry(
            id="zorg",
            label=Label(subjects=BOTH, speaker=Actor(type="organisation", ref="wijkteam"), mentioned=("oma",)),
            text="Er is veel ruzie.",
            consequence="Niemand slaapt.",
        ),
        Goal(id="doel-1", label=label, text="Wij wonen ruim.", term="short", status="reached", due_on=date(2027, 1, 1)),
        Goal(
            id="doel-2",
            label=Label(subjects=A, recorded_by=RecordedBy(organisation="wijkteam", secrecy=True)),
            text="Ik slaap goed.",
        ),
        Action(
            id="actie", label=label, text="Huis zoeken", owner=team, goals=("doel-2", "doel-1"), frequency="elke week"
        ),
        Provision(
            id="voorziening",
            label=label,
            text="Begeleiding",
            individual=True,
            status="granted",
            delivery="in-kind",
            provider="wijkteam",
            goals=("doel-1",),
            volume=Volume(value=3, unit="uur", per="week"),
        ),
        Evaluation(id="evaluatie", label=label, planned_on=date(2027, 3, 1)),
        Safety(
            id="veilig",
            label=Label(subjects=BOTH, sensitivity="restricted"),
            aspect="agreement",
            text="Niet schreeuwen",
            owner=team,
        ),
        Agreement(id="akkoord", label=label, by=Actor(type="resident", ref="anna"), on=date(2026, 9, 1)),
        residents=BOTH,
        version=4,
        changed_at=datetime(2026, 9, 1, 12, tzinfo=UTC),
        source="wijkteam",
        number="2026-17",
        organisations=(Organisation(id="wijkteam", name="Wijkteam Zuid", kind="neighbourhood-team"),),
    )


@examples
@given(support_plans())
def test_a_plan_comes_back_whole_and_nothing_of_our_own_bundle_is_lost(plan: SupportPlan) -> None:
    assert (plan, ()) == bundle_to_plan(sent(plan))


@examples
@given(support_plans())
def test_nothing_rides_on_an_extension_that_is_not_published(plan: SupportPlan) -> None:
    assert plan == bundle_to_plan(without_unpublished(sent(plan)))[0]


@examples
@given(support_plans(), st.randoms(use_true_random=False))
def test_the_order_of_entries_and_of_kinds_says_nothing(plan: SupportPlan, random: Any) -> None:
    """The CarePlan lists goals, activities and findings; a server may return the entries in any order."""
    parts = list(plan.parts)
    random.shuffle(parts)
    shuffled = msgspec.structs.replace(plan, parts=tuple(parts))
    bundle = sent(shuffled)
    unlisted = [
        each for each in bundle["entry"] if each["resource"]["resourceType"] in {"RelatedPerson", "Organization"}
    ]
    listed = [each for each in bundle["entry"] if each not in unlisted]
    random.shuffle(listed)
    assert in_order(shuffled) == bundle_to_plan(bundle | {"entry": unlisted + listed})[0]


@settings(examples, max_examples=25)
@given(support_plans())
def test_every_resource_validates_and_every_own_code_is_published(plan: SupportPlan) -> None:
    """But for a period that ends before it starts: that stands so in the plan itself."""
    bundle = sent(plan)
    assert [each for each in check_resource(bundle) if each.code != "per-1"] == []
    for each in objects(bundle):
        system = each.get("system", "")
        if "code" in each and system.startswith(f"{codes.BASE}/CodeSystem") and system not in OPEN_SYSTEMS:
            assert each["code"] in CODES[system]


@settings(examples, max_examples=25)
@given(support_plans())
def test_only_elements_that_r4_has_are_used(plan: SupportPlan) -> None:
    for each in plan_to_resources(plan):
        known = {"resourceType", "id", "meta", "extension", *R4_ELEMENTS[each["resourceType"]].split()}
        assert known.issuperset(each)


@settings(examples, max_examples=25)
@given(support_plans())
def test_every_reference_resolves_and_every_version_is_that_of_the_view(plan: SupportPlan) -> None:
    resources = plan_to_resources(plan)
    names = {f"{each['resourceType']}/{each['id']}" for each in resources}
    assert len(names) == len(resources)
    references = (each["reference"] for each in objects(resources) if isinstance(each.get("reference"), str))
    assert names.issuperset(references)
    version = str(plan.version) if plan.version else None
    assert {version} == {each.get("meta", {}).get("versionId") for each in resources}


@given(plan=support_plans(), random=st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_some_resources_are_those_of_all(plan: SupportPlan, random: Any) -> None:
    whole = plan_to_resources(plan)
    ids = {each["id"] for each in random.sample(whole, random.randint(0, min(4, len(whole))))}
    assert plan_to_resources(plan, ids) == [each for each in whole if each["id"] in ids]


def test_a_full_household_plan_comes_back_and_validates() -> None:
    plan = a_full_plan()
    assert (plan, ()) == bundle_to_plan(sent(plan))
    check_bundle(sent(plan))


def test_the_same_plan_gives_the_same_bytes() -> None:
    assert encode_bundle(plan_to_bundle(a_full_plan(), URL)) == encode_bundle(plan_to_bundle(a_full_plan(), URL))


def test_an_entry_is_a_put_of_its_own_type_and_id() -> None:
    first = plan_to_bundle(a_plan(), URL)["entry"][0]
    assert f"{URL}/CarePlan/plan-1" == first["fullUrl"]
    assert first["request"] == {"method": "PUT", "url": "CarePlan/plan-1"}


def test_a_view_without_who_it_is_says_only_what_kind_of_person() -> None:
    nobody = Actor(type="professional")
    label = Label(subjects=A, speaker=nobody)
    view = a_plan(
        Occasion(id="a", label=label, text="x"),
        Worry(id="b", label=Label(subjects=A, speaker=Actor(type="organisation")), text="x"),
        Action(id="c", label=label, text="x", owner=nobody),
        Agreement(id="d", label=label, by=Actor(type="resident"), on=date(2026, 1, 1)),
    )
    assert resource(view, "Task")["owner"] == {"type": "PractitionerRole", "display": "professional"}
    assert (in_order(view), ()) == bundle_to_plan(sent(view))
    check_bundle(sent(view))


def test_a_view_without_parts_holds_the_careplan_and_a_patient_with_an_id_only() -> None:
    careplan, patient = plan_to_resources(a_plan())
    assert {"resourceType": "Patient", "id": "anna", "meta": {"profile": patient["meta"]["profile"]}} == patient
    assert not {"goal", "activity", "supportingInfo", "careTeam", "author", "period", "identifier"} & set(careplan)


def test_what_a_view_leaves_out_is_nowhere_in_its_bytes() -> None:
    plan = a_full_plan()
    view = msgspec.structs.replace(plan, parts=tuple(part for part in plan.parts if part.kind == "occasion"))
    text = encode_bundle(plan_to_bundle(view, URL)).decode()
    hidden = (part.id for part in plan.parts if part.kind not in {"occasion", "identity", "contact"})
    assert [part for part in (*hidden, "999900018", "Berg", "0363") if f'"{part}"' in text or f'/{part}"' in text] == []


@pytest.mark.parametrize("status", get_args(codes.PlanStatus))
def test_every_phase_of_a_plan_comes_back(status: Any) -> None:
    plan = a_plan(status=status)
    assert plan == bundle_to_plan(sent(plan))[0]


@pytest.mark.parametrize(
    ("phase", "status", "expected"),
    [("agreed", "active", "agreed"), ("concept", "active", "agreed"), ("decided", "completed", "ended")],
    ids=["a phase that fits counts", "a status wins of an older phase", "an ended plan is ended"],
)
def test_another_server_may_change_the_status_alone(phase: Any, status: str, expected: str) -> None:
    bundle = sent(a_plan(status=phase))
    place(bundle, "CarePlan")[1]["status"] = status
    assert expected == bundle_to_plan(bundle)[0].status


def refusal(bundle: dict[str, Any]) -> list[tuple[str, str]]:
    """Return pointer and code of every finding that a Bundle is refused with."""
    with pytest.raises(MappingError) as refused:
        bundle_to_plan(bundle)
    return [(finding.pointer, finding.code) for finding in refused.value.findings]


@pytest.mark.parametrize(
    ("resource_type", "element"),
    [
        ("CarePlan", "status"),
        ("Task", "status"),
        ("Goal", "lifecycleStatus"),
        ("ServiceRequest", "status"),
        ("Observation", "status"),
        ("Patient", "gender"),
        ("Task", "intent"),
        ("CarePlan", "intent"),
    ],
)
def test_a_code_outside_its_list_is_refused_with_its_pointer(resource_type: str, element: str) -> None:
    bundle = sent(a_full_plan())
    pointer, body = place(bundle, resource_type)
    body[element] = "nonsense"
    assert [(f"{pointer}/{element}", "code")] == refusal(bundle)


def test_all_refusals_are_found_at_once_and_none_quotes_the_value() -> None:
    bundle = sent(a_full_plan())
    place(bundle, "Goal")[1]["lifecycleStatus"] = "geheim"
    place(bundle, "Task")[1]["status"] = "geheim"
    with pytest.raises(MappingError) as refused:
        bundle_to_plan(bundle)
    assert [(each.code, "geheim" in each.remedy) for each in refused.value.findings] == [("code", False)] * 2


@pytest.mark.parametrize(
    ("path", "element", "code"),
    [
        ((), {"modifierExtension": [{"url": "https://voorbeeld.nl/niet", "valueBoolean": True}]}, "modifier-extension"),
        (("description",), {"modifierExtension": [{"url": "https://voorbeeld.nl/niet"}]}, "modifier-extension"),
        ((), {"implicitRules": "https://voorbeeld.nl/regels"}, "modifier-element"),
        ((), {"lifecycleStatus": "entered-in-error"}, "entered-in-error"),
    ],
    ids=["a modifier extension", "a modifier extension deep inside", "implicit rules", "an entry in error"],
)
def test_what_could_turn_a_meaning_around_is_refused(path: tuple[str, ...], element: Any, code: str) -> None:
    bundle = sent(a_full_plan())
    pointer, body = place(bundle, "Goal")
    for step in path:
        body = body[step]
    body |= element
    (name,) = element
    assert [("/".join((pointer, *path, name)), code)] == refusal(bundle)


def test_a_service_that_must_not_be_given_is_refused() -> None:
    bundle = sent(a_full_plan())
    pointer, body = place(bundle, "ServiceRequest")
    body["doNotPerform"] = True
    assert [(f"{pointer}/doNotPerform", "modifier-element")] == refusal(bundle)


def test_every_element_that_a_plan_does_not_carry_is_reported() -> None:
    bundle = sent(a_full_plan())
    at, body = place(bundle, "Goal")
    body["note"] = [{"text": "los"}]
    body["extension"] = [{"url": "https://voorbeeld.nl/x", "valueString": "y"}]
    bundle["entry"].append({"resource": {"resourceType": "Flag", "id": "vlag", "status": "active"}})
    last = f"/entry/{len(bundle['entry']) - 1}/resource"
    plan, loss = bundle_to_plan(bundle)
    assert a_full_plan() == plan
    assert {
        f"{at}/note/0/text",
        f"{at}/extension/0/url",
        f"{at}/extension/0/valueString",
        f"{last}/resourceType",
        f"{last}/status",
    } == set(loss)


def test_references_by_urn_resolve_and_resources_without_an_id_get_the_one_of_their_url() -> None:
    """https://hl7.org/fhir/R4/bundle.html#references."""
    patient, goal, group = (f"0000000{number}-0000-4000-8000-000000000000" for number in range(3))
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"fullUrl": f"urn:uuid:{patient}", "resource": {"resourceType": "Patient"}},
            {
                "fullUrl": f"urn:uuid:{group}",
                "resource": {
                    "resourceType": "Group",
                    "type": "person",
                    "actual": True,
                    "member": [
                        {"entity": {"reference": f"urn:uuid:{patient}"}},
                        {"entity": {"reference": "Patient/p2"}},
                    ],
                },
            },
            {
                "fullUrl": f"urn:uuid:{goal}",
                "resource": {
                    "resourceType": "Goal",
                    "lifecycleStatus": "accepted",
                    "description": {"text": "Wonen"},
                    "subject": {"reference": f"urn:uuid:{group}"},
                },
            },
            {
                "resource": {
                    "resourceType": "CarePlan",
                    "id": "p",
                    "status": "active",
                    "intent": "plan",
                    "subject": {"reference": f"urn:uuid:{patient}"},
                    "goal": [{"reference": f"urn:uuid:{goal}"}],
                }
            },
        ],
    }
    plan, loss = bundle_to_plan(bundle)
    assert (patient,) == plan.residents
    assert (Goal(id=goal, label=Label(subjects=(patient, "p2")), text="Wonen"),) == plan.parts
    assert loss == ("/entry/2/resource/lifecycleStatus",)


@pytest.mark.parametrize("resource_type", ["Patient", "Goal"])
@pytest.mark.parametrize("code", ["R", "V", "nog-onbekend"])
def test_a_confidentiality_above_normal_is_never_lowered(resource_type: str, code: str) -> None:
    label = Label(subjects=A)
    identity = Identity(id=identity_id("anna"), label=label, resident="anna", given="Anna")
    bundle = sent(a_plan(identity, Goal(id="doel", label=label, text="Wonen")))
    place(bundle, resource_type)[1]["meta"]["security"][0]["code"] = code
    kind = "identity" if resource_type == "Patient" else "goal"
    assert [kind] == [part.kind for part in bundle_to_plan(bundle)[0].parts if part.label.sensitivity == "restricted"]


@pytest.mark.parametrize("count", [0, 2])
def test_a_bundle_holds_exactly_one_careplan(count: int) -> None:
    bundle = sent(a_plan())
    careplan = bundle["entry"].pop(0)["resource"]
    bundle["entry"] += [{"resource": careplan | {"id": f"p{number}"}} for number in range(count)]
    assert [code for _, code in refusal(bundle)] == ["one-careplan"]


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"subject": {"reference": "Group/weg"}}, "/subject", "reference"),
        ({"category": "geen lijst"}, "/category", "type"),
        ({"description": {}}, "/description/text", "required"),
        ({"startDate": "2026-02-31"}, "/startDate", "date"),
    ],
    ids=["a group that is not there", "a text for a list", "no description", "a day that does not exist"],
)
def test_a_goal_that_cannot_be_read_is_refused_with_its_pointer(change: Any, pointer: str, code: str) -> None:
    bundle = sent(a_full_plan())
    at, body = place(bundle, "Goal")
    body |= change
    assert [(at + pointer, code)] == refusal(bundle)


def test_the_edge_check_points_at_what_is_no_fhir_and_never_quotes_it() -> None:
    bundle = sent(a_full_plan())
    at, body = place(bundle, "Goal")
    body["geheim"] = "x"
    with pytest.raises(MappingError) as refused:
        check_bundle(bundle)
    assert [(f"{at}/geheim", "extra-forbidden")] == [(each.pointer, each.code) for each in refused.value.findings]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("life-domain", codes.DOMAIN_NL), ("part-kind", codes.KIND_NL)],
    ids=["life domains", "kinds"],
)
def test_a_published_code_system_says_what_the_code_says(name: str, expected: dict[str, str]) -> None:
    (found,) = (each for each in DEFINITIONS if each["url"] == f"{codes.BASE}/CodeSystem/{name}")
    assert expected == {concept["code"]: concept["display"] for concept in found["concept"]}


@pytest.mark.parametrize(
    ("name", "literal"),
    [
        ("plan-phase", codes.PlanStatus),
        ("term", codes.Term),
        ("law", codes.Law),
        ("relation", codes.Relation),
        ("team-role", codes.TeamRole),
        ("organisation-kind", codes.OrganisationKind),
        ("delivery", codes.Delivery),
        ("safety-aspect", codes.SafetyAspect),
        ("purpose", codes.Purpose),
        ("capacity", Capacity),
    ],
)
def test_a_published_code_system_lists_every_code(name: str, literal: Any) -> None:
    assert set(get_args(literal)) == CODES[f"{codes.BASE}/CodeSystem/{name}"]


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda each: each["id"])
def test_every_definition_is_valid_fhir(definition: dict[str, Any]) -> None:
    assert check_resource(definition) == []


def test_every_extension_that_is_published_is_used() -> None:
    """A definition that nothing uses misleads whoever implements it."""
    parts = a_full_plan().parts
    label = Label(subjects=A, law="wmo", speaker=Actor(type="resident", ref="anna"))
    plan = a_plan(*parts, Relative(id="opa", label=label, relation="family"), residents=BOTH)
    choice = Choice(
        recipient=RecipientSelector(type="all"),
        effect="permit",
        given_by=GivenBy(capacity="parent", person="opa", mandate="rechtbank"),
        evidence="formulier",
        recorded_by="wijkteam-app",
    )
    made = [*plan_to_resources(plan), choice_to_consent(choice, resident="anna")]
    assert {each["url"] for each in objects(made) if "url" in each} == EXTENSIONS


def test_the_group_of_the_same_people_has_one_id_in_any_order() -> None:
    assert group_id(("anna", "bas")) == group_id(("bas", "anna")) != group_id(("anna", "cees"))
