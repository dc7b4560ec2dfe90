"""A plan of a whole household: several people in it, each statement with its speaker, and its safety parts for nobody by accident."""

import json
from datetime import date
from typing import Any

import pytest
from forms import FORMATS, source

from mappings.bundle import bundle_to_plan, in_order, plan_to_bundle, plan_to_resources
from mappings.draft import with_plain_ids
from mappings.elements import CONFIDENTIALITY, group_id
from mappings.errors import MappingError
from mappings.format import Draft
from mappings.plan import Label, Safety, SupportPlan, Worry
from mappings.quality import check_quality

HOUSEHOLD, SAFETY = FORMATS["1gezin1plan"], FORMATS["veilig-verder-plan"]
STATEMENTS = (
    "aanleiding",
    "krachten",
    "zorgenBasiszorgEnVeiligheid",
    "zorgen",
    "integraleAnalyse",
    "gewensteResultaat",
)
EVENTS = {"eersteKeer": "first-event", "ergsteKeer": "worst-event", "laatsteKeer": "last-event"}
EVENTS |= {"hoeVaak": "frequency", "schade": "harm", "grootsteZorg": "biggest-worry"}
SPEAKER = {"soort": "gezinslid", "ref": "a"}
SAID = {"tekst": "x", "over": ["a"], "spreker": SPEAKER}
TODAY = date(2026, 10, 3)
PEOPLE = [{"ref": "a"}, {"ref": "b"}]
HEADER = {"planNummer": "1", "status": "concept", "gezinsleden": PEOPLE}


def household(**changed: Any) -> dict[str, Any]:
    """Return a small household plan with other properties."""
    return {**HEADER, "aanleiding": [{"ref": "vraag", "tekst": "x", "spreker": SPEAKER}], **changed}


def safety(**changed: Any) -> dict[str, Any]:
    """Return a small safety plan with other properties."""
    return {**HEADER, "zorgen": {"grootsteZorg": [SAID]}, **changed}


def read(form: Any, document: dict[str, Any]) -> Draft:
    """Read a document."""
    draft: Draft = form.read(json.dumps(document).encode())
    return draft


def refused(form: Any, document: dict[str, Any]) -> list[tuple[str, str]]:
    """Return pointer and remedy of what is wrong."""
    with pytest.raises(MappingError) as caught:
        read(form, document)
    return [(finding.pointer, finding.remedy) for finding in caught.value.findings]


def whole(form: str, case: str) -> SupportPlan:
    """Return the plan of an example under ids that FHIR allows."""
    return in_order(with_plain_ids(FORMATS[form].read(source(form, case)).plan))


# ---- who says it


def test_every_speaker_is_somebody_else_and_comes_back_out_of_fhir() -> None:
    """A mother, her son, a grandmother, a neighbour, a teacher and an organisation: each statement keeps its own."""
    plan = whole("1gezin1plan", "iedereen-aan-het-woord")
    said = {part.id: part.label.speaker for part in plan.parts if part.kind in {"occasion", "strength", "worry"}}
    again, _ = bundle_to_plan(plan_to_bundle(plan, "https://gateway.example/fhir"))
    speakers = {speaker.ref for speaker in said.values() if speaker}

    assert {"marloes", "finn", "oma", "buurvrouw", "juf", "delinde"} == {
        ref.split("-", 1)[1] for ref in speakers if ref
    }
    assert said == {part.id: part.label.speaker for part in again.parts if part.id in said}


@pytest.mark.parametrize("section", STATEMENTS)
def test_a_statement_of_the_household_plan_without_its_speaker_is_refused(section: str) -> None:
    """In every section of statements; a speaker who may not be named is a kind of person."""
    nobody = household(**{section: [{"tekst": "x"}]})
    unnamed = household(**{section: [{"tekst": "x", "spreker": {"soort": "netwerk"}}]})

    assert refused(HOUSEHOLD, nobody) == [(f"/{section}/0", "give the missing property spreker")]
    assert {part.label.speaker.type for part in read(HOUSEHOLD, unnamed).plan.parts if part.id != "occasion:vraag"} == {
        "relative"
    }


@pytest.mark.parametrize("section", ["krachten", "complicerendeFactoren", *(f"zorgen/{name}" for name in EVENTS)])
@pytest.mark.parametrize("lacking", ["spreker", "over"])
def test_a_statement_of_the_safety_plan_without_speaker_or_subject_is_refused(section: str, lacking: str) -> None:
    """Whom it is about is never guessed: whoever a part is about may read it."""
    said = {name: value for name, value in SAID.items() if name != lacking}
    outer, _, inner = section.partition("/")
    document = safety(**{outer: {inner: [said]} if inner else [said]})

    assert refused(SAFETY, document) == [(f"/{section}/0", f"give the missing property {lacking}")]


@pytest.mark.parametrize(
    ("section", "item"),
    [
        ("professionals", {"ref": "p", "rol": "school"}),
        ("veiligheidsschaal", {"cijfer": 5, "spreker": SPEAKER}),
        ("veiligheidsafspraken", {"wat": "x"}),
        ("doelencheck", {"nummer": 1, "omschrijving": "x"}),
        ("evaluaties", {"gepland": "2026-12-01"}),
        ("akkoord", {"door": SPEAKER, "op": "2026-11-01"}),
    ],
)
def test_nothing_else_in_a_safety_plan_leaves_open_whom_it_is_about(section: str, item: dict[str, Any]) -> None:
    """Neither people nor agreements; of the network it is `vanGezinsleden` that says it."""
    related = safety(netwerk=[{"ref": "n", "relatie": "buur"}])

    assert refused(SAFETY, safety(**{section: [item]})) == [(f"/{section}/0", "give the missing property over")]
    assert refused(SAFETY, related) == [("/netwerk/0", "give the missing property vanGezinsleden")]


def test_every_mark_on_the_safety_scale_has_its_scorer() -> None:
    """Three people, three marks, 0 among them; none of them is the mark of the household."""
    plan = whole("veilig-verder-plan", "rust-aan-de-deur")
    marks = {part.label.speaker.ref: part.value for part in plan.parts if getattr(part, "aspect", "") == "scale"}

    assert marks == {"resident-marloes": 4, "resident-finn": 0, "team-yasmin": 3}


@pytest.mark.parametrize("mark", [-1, 11, 5.5])
def test_a_mark_outside_the_scale_is_refused(mark: float) -> None:
    """Whole numbers from 0 to 10."""
    scored = {"cijfer": mark, "over": ["a"], "spreker": SPEAKER}

    assert [pointer for pointer, _ in refused(SAFETY, safety(veiligheidsschaal=[scored]))] == [
        "/veiligheidsschaal/0/cijfer"
    ]


# ---- several residents


def test_a_plan_of_a_household_is_about_a_group_and_its_parts_about_whom_they_name() -> None:
    """The CarePlan is about all; a part about one is about that one Patient, and no Group says more than the plan."""
    plan = whole("1gezin1plan", "iedereen-aan-het-woord")
    both = group_id(("resident-marloes", "resident-finn"))
    resources = {f"{each['resourceType']}/{each['id']}": each for each in plan_to_resources(plan)}

    assert resources["CarePlan/draft"]["subject"] == {"reference": f"Group/{both}"}
    assert [name for name in resources if name.startswith("Group/")] == [f"Group/{both}"]
    assert resources["Condition/worry-zorg-2"]["subject"] == {"reference": "Patient/resident-finn"}
    assert resources["Condition/worry-zorg-3"]["subject"] == {"reference": f"Group/{both}"}
    assert resources["Task/action-1"]["for"] == {"reference": f"Group/{both}"}


def test_what_one_of_two_tells_about_herself_is_about_her_alone() -> None:
    """Also out of FHIR: he is not among its subjects, so nothing asks him and nothing shows it to him."""
    plan, _ = bundle_to_plan(
        plan_to_bundle(whole("veilig-verder-plan", "niet-alles-voor-iedereen"), "https://x.example")
    )
    subjects = {part.aspect: part.label.subjects for part in plan.parts if part.kind == "safety"}

    assert subjects["last-event"] == subjects["harm"] == subjects["agreement"] == ("resident-vrouw",)
    assert subjects["complicating-factor"] == ("resident-vrouw", "resident-man")


def test_a_safety_plan_writes_out_whom_a_part_is_about_also_when_that_is_everybody() -> None:
    """So that a reader need not know who absence stands for."""
    written = json.loads(SAFETY.write(read(SAFETY, safety(krachten=[{**SAID, "over": ["a", "b"]}])).plan))

    assert written["krachten"][0]["over"] == ["a", "b"]


# ---- what nobody gets by accident


def test_everything_in_a_safety_plan_is_restricted_unless_it_is_a_person_who_is_not() -> None:
    """Without a word about it: names too, for they tell that there is a safety plan."""
    fields = {
        "gezinsleden": [{"ref": "a", "voornaam": "A", "telefoon": "0900-0000001"}, {"ref": "b"}],
        "netwerk": [{"ref": "n", "relatie": "buur", "vanGezinsleden": ["a"]}],
        "professionals": [
            {"ref": "p", "rol": "huisarts", "over": ["a"]},
            {"ref": "q", "rol": "school", "over": ["a"], "vertrouwelijk": False},
        ],
        "krachten": [SAID],
        "zorgen": {name: [SAID] for name in EVENTS},
        "complicerendeFactoren": [SAID],
        "veiligheidsschaal": [{"cijfer": 5, "over": ["a"], "spreker": SPEAKER}],
        "veiligheidsafspraken": [{"wat": "x", "over": ["a"]}],
        "doelencheck": [{"nummer": 1, "omschrijving": "x", "over": ["a"]}],
        "evaluaties": [{"gepland": "2026-12-01", "over": ["a"]}],
        "akkoord": [{"door": SPEAKER, "op": "2026-11-01", "over": ["a"]}],
    }
    plan = in_order(with_plain_ids(read(SAFETY, safety(**fields)).plan))
    normal = {part.id for part in plan.parts if part.label.sensitivity == "normal"}
    observed = [each for each in plan_to_resources(plan) if each["resourceType"] == "Observation"]

    assert SAFETY.kinds == {part.kind for part in plan.parts}
    assert normal == {"team-q"}
    assert {"R"} == {each["meta"]["security"][0]["code"] for each in observed}
    assert {CONFIDENTIALITY} == {each["meta"]["security"][0]["system"] for each in observed}


@pytest.mark.parametrize(
    ("form", "document", "pointer"),
    [
        (SAFETY, safety(krachten=[{**SAID, "vertrouwelijk": False}]), "/krachten/0/vertrouwelijk"),
        (
            SAFETY,
            safety(veiligheidsafspraken=[{"wat": "x", "over": ["a"], "vertrouwelijk": False}]),
            "/veiligheidsafspraken/0/vertrouwelijk",
        ),
        (
            SAFETY,
            safety(doelencheck=[{"nummer": 1, "omschrijving": "x", "over": ["a"], "vertrouwelijk": False}]),
            "/doelencheck/0/vertrouwelijk",
        ),
        (
            HOUSEHOLD,
            household(zorgenBasiszorgEnVeiligheid=[{**SAID, "vertrouwelijk": False}]),
            "/zorgenBasiszorgEnVeiligheid/0/vertrouwelijk",
        ),
    ],
    ids=["a strength that gives safety", "a safety agreement", "a goal of the goals check", "section 7"],
)
def test_what_is_about_safety_cannot_be_opened_up(form: Any, document: dict[str, Any], pointer: str) -> None:
    """Who says that it is not confidential is told that it is."""
    assert refused(form, document) == [(pointer, "give one of: true")]


def test_a_safety_part_that_came_in_open_is_read_back_restricted() -> None:
    """From a system that did not mark it: the document leaves the mark out, and absent means restricted."""
    open_part = Safety(id="s", label=Label(subjects=("a",)), aspect="strength", text="x")
    plan = SupportPlan(id="p", status="concept", residents=("a",), parts=(open_part,), instrument="fhir")
    body = json.loads(SAFETY.write(plan))
    (part,) = SAFETY.lens.read(body)[0].plan.parts  # type: ignore[union-attr]

    assert SAFETY.unwritten(plan) == ()
    assert "vertrouwelijk" not in body["krachten"][0]
    assert part.label.sensitivity == "restricted"


# ---- which section


def test_a_worry_about_safety_goes_to_its_own_section_and_asks_for_a_safety_plan() -> None:
    """Wherever it came from; the other worries stay where they were."""
    plan = read(HOUSEHOLD, household(zorgenBasiszorgEnVeiligheid=[SAID], zorgen=[{**SAID, "leefgebied": "wonen"}])).plan
    other = Worry(id="worry:w", label=Label(subjects=plan.residents, domain="safety"), text="y")
    more = SupportPlan(
        id="p", status="concept", residents=plan.residents, parts=(*plan.parts, other), instrument="1gezin1plan"
    )
    written = json.loads(HOUSEHOLD.write(more))

    assert [item["tekst"] for item in written["zorgenBasiszorgEnVeiligheid"]] == ["x", "y"]
    assert [item["leefgebied"] for item in written["zorgen"]] == ["wonen"]
    assert [row.code for row in check_quality(plan, TODAY)].count("no-safety-plan") == 1


def test_a_worry_about_safety_among_the_others_is_refused() -> None:
    """It would come back in another section, and so have been open in this one."""
    ((pointer, remedy),) = refused(HOUSEHOLD, household(zorgen=[{**SAID, "leefgebied": "veiligheid"}]))

    assert pointer == "/zorgen/0/leefgebied"
    assert "veiligheid" not in remedy


@pytest.mark.parametrize(("section", "aspect"), [*EVENTS.items()])
def test_what_happened_has_a_section_per_aspect(section: str, aspect: str) -> None:
    """First, worst and last time, how often, harm, and the biggest worry: each its own list."""
    document = safety(zorgen={section: [{**SAID, "vertrouwelijk": True}]})
    draft = read(SAFETY, document)

    assert [part.aspect for part in draft.plan.parts] == [aspect]
    assert json.loads(SAFETY.write(draft.plan)) == document


def test_the_goals_check_and_a_complete_agreement_satisfy_the_quality_report() -> None:
    """Four goals of the domain safety, and agreements with who, what, where, when, who watches and what if not."""
    plan = whole("veilig-verder-plan", "rust-aan-de-deur")
    codes = {row.code for row in check_quality(plan, TODAY)}

    assert {code for code in codes if "safety" in code} == set()


def test_the_two_plans_of_a_household_leave_each_other_out_and_say_so() -> None:
    """A safety part has no place in the household plan, an action none in the safety plan."""
    plan, safe = whole("1gezin1plan", "iedereen-aan-het-woord"), whole("veilig-verder-plan", "rust-aan-de-deur")

    assert {part.id for part in safe.parts if part.kind == "safety"} == set(HOUSEHOLD.unwritten(safe))
    assert {part.id for part in plan.parts if part.kind == "action"} <= set(SAFETY.unwritten(plan))


@pytest.mark.parametrize(
    ("form", "document", "lost"),
    [
        (HOUSEHOLD, household(gezinsleden=[{"ref": "a", "plaatsInGezin": "moeder"}]), "/gezinsleden/0/plaatsInGezin"),
        (
            HOUSEHOLD,
            household(zorgenBasiszorgEnVeiligheid=[{**SAID, "leefgebied": "wonen"}]),
            "/zorgenBasiszorgEnVeiligheid/0/leefgebied",
        ),
        (SAFETY, safety(zorgen={"grootsteZorg": [{**SAID, "hoortBij": "x"}]}), "/zorgen/grootsteZorg/0/hoortBij"),
        (SAFETY, safety(zorgen={"grootsteZorg": [SAID], "anders": [SAID]}), "/zorgen/anders/0/tekst"),
    ],
    ids=["a place in the family", "a domain in section 7", "a property of a nested item", "a nested list"],
)
def test_what_the_plan_cannot_hold_is_reported(form: Any, document: dict[str, Any], lost: str) -> None:
    """By its place, at every depth."""
    assert lost in [loss.pointer for loss in read(form, document).loss]
