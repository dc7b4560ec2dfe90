"""The one question, may this recipient have this part, is answered by the rules of DOMAIN.md section 6.

Rules stand in tables. Below them `decide` is held against a second, simple implementation of the same rules on thousands of cases.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cache
from hashlib import sha256
from itertools import combinations, product
from random import Random
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from plans import moments, support_plans
from simple_consent import ALL_GROUNDS, CAPACITIES, GROUND_SETS, NARROW, choice_sets, numbered, recipients, verdict

from consent.catalogue import CATALOGUE, CatalogueEntry, EnabledGround, GroundSetting, enable_grounds
from consent.choice import Capacity, Choice, Effect, GivenBy, PartSelector, RecipientSelector
from consent.decide import Case, Decision, ReasonCode, decide, decide_all, open_case
from consent.index import ChoiceIndex, Recipient, most_specific
from consent.voices import age_on, amsterdam_day, days_of_change
from mappings.codes import KINDS, Kind, Law, OrganisationKind, PlanStatus, Purpose
from mappings.plan import (
    Action,
    Actor,
    Agreement,
    AnyPart,
    Contact,
    EarlierHelp,
    Evaluation,
    FormalDecision,
    Goal,
    Identity,
    Label,
    Organisation,
    Provision,
    RecordedBy,
    Relative,
    Safety,
    Score,
    SupportPlan,
    TeamMember,
    Worry,
)

NOON = datetime(2026, 11, 23, 11, tzinfo=UTC)
MARLOES, FINN = "marloes", "finn"
BORN = {MARLOES: date(1989, 3, 14), FINN: date(2017, 5, 2)}
KOMPAS = Recipient(organisation="kompas", kind="care-provider", role="coach", person="joost")
BACKOFFICE = Recipient(organisation="backoffice", kind="backoffice")
VEILIG_THUIS = Recipient(organisation="veilig-thuis", kind="veilig-thuis")
TEAM = Recipient(organisation="wijkteam", kind="neighbourhood-team")

TO = {
    "all": RecipientSelector(type="all"),
    "kind": RecipientSelector(type="kind", kind="care-provider"),
    "organisation": RecipientSelector(type="organisation", organisation="kompas"),
    "role": RecipientSelector(type="role", organisation="kompas", role="coach"),
    "person": RecipientSelector(type="person", organisation="kompas", person="joost"),
}
OF = {
    "everything": PartSelector(),
    "its kind": PartSelector(kinds=("worry",)),
    "its domain": PartSelector(domains=("finances",)),
    "its kind and domain": PartSelector(kinds=("worry",), domains=("finances",)),
    "the part by name": PartSelector(part_ids=("deel",)),
}


def say(
    effect: Effect,
    to: str = "organisation",
    of: str | PartSelector | None = None,
    purpose: Purpose | None = None,
    *,
    by: Capacity = "resident",
    since: date | None = None,
    until: date | None = None,
) -> Choice:
    """Return one choice; `of` is a name of OF or a selector."""
    selector = OF[of] if isinstance(of, str) else of
    return Choice(
        recipient=TO[to],
        effect=effect,
        given_by=GivenBy(capacity=by, person="iemand"),
        parts=(selector,) if selector else (),
        purpose=purpose,
        starts_on=since,
        ends_on=until,
    )


def yes(*args: Any, **known: Any) -> Choice:
    """Permit."""
    return say("permit", *args, **known)


def no(*args: Any, **known: Any) -> Choice:
    """Deny."""
    return say("deny", *args, **known)


def label(*subjects: str, law: Law = "wmo", **known: Any) -> Label:
    """Return a label about money, of Marloes unless told."""
    return Label(**{"subjects": subjects or (MARLOES,), "domain": "finances", "law": law, **known})


def worry(*subjects: str, id: str = "deel", **known: Any) -> Worry:  # noqa: A002
    """Return a worry about money."""
    return Worry(id=id, label=label(*subjects, **known), text="tekst")


def provision(
    *subjects: str,
    id: str = "voorziening",  # noqa: A002
    individual: bool = True,
    provider: str | None = "kompas",
    **known: Any,
) -> Provision:
    """Return an individual provision that Kompas carries."""
    return Provision(id=id, label=label(*subjects, **known), text="tekst", individual=individual, provider=provider)


def identity(resident: str, born: date | None) -> Identity:
    """Return who somebody is."""
    return Identity(id=f"{resident}.identity", label=Label(subjects=(resident,)), resident=resident, birth_date=born)


def part_of(kind: Kind, about: Label, id: str = "deel") -> AnyPart:  # noqa: A002
    """Return a part of any kind."""
    actor, resident = Actor(type="resident", ref=MARLOES), about.subjects[0]
    made: dict[str, AnyPart] = {
        "identity": Identity(id=id, label=about, resident=resident, birth_date=BORN[resident]),
        "contact": Contact(id=id, label=about, resident=resident),
        "household": Relative(id=id, label=about, relation="partner"),
        "team": TeamMember(id=id, label=about, role="other"),
        "earlier-help": EarlierHelp(id=id, label=about, text="tekst"),
        "goal": Goal(id=id, label=about, text="tekst"),
        "action": Action(id=id, label=about, text="tekst", owner=actor),
        "provision": Provision(id=id, label=about, text="tekst", individual=True, provider="kompas"),
        "evaluation": Evaluation(id=id, label=about, planned_on=date(2027, 1, 1)),
        "score": Score(id=id, label=about, scale="s", value=1),
        "safety": Safety(id=id, label=about, aspect="agreement"),
        "agreement": Agreement(id=id, label=about, by=actor, on=date(2026, 1, 1)),
        "decision": FormalDecision(id=id, label=about, reference="r"),
    }
    if kind in made:
        return made[kind]
    return msgspec.convert({"kind": kind, "id": id, "label": msgspec.to_builtins(about), "text": "tekst"}, AnyPart)


def plan_of(
    *parts: AnyPart, status: PlanStatus = "decided", born: Mapping[str, date | None] = BORN, identities: bool = True
) -> SupportPlan:
    """Return the family's plan with these parts."""
    known = {part.resident for part in parts if isinstance(part, Identity)}
    people = [identity(who, born[who]) for who in born if identities and who not in known]
    return SupportPlan(
        id="plan",
        status=status,
        residents=(MARLOES, FINN),
        parts=(*people, *parts),
        instrument="plan-van-aanpak",
        organisations=(Organisation(id="kompas", name="Kompas"), Organisation(id="wijkteam", name="Wijkteam")),
        source="wijkteam",
    )


def ask(
    part: AnyPart,
    *said: Choice,
    finn: Sequence[Choice] = (),
    others: Sequence[AnyPart] = (),
    recipient: Recipient = KOMPAS,
    purpose: Purpose = "support",
    grounds: tuple[EnabledGround, ...] = (),
    now: datetime = NOON,
    signed: bool = False,
    **known: Any,
) -> Decision:
    """Decide about one part of the family's plan; `said` are Marloes' choices."""
    plan = plan_of(part, *others, **known)
    choices = {MARLOES: ChoiceIndex(numbered(MARLOES, said)), FINN: ChoiceIndex(numbered(FINN, finn))}
    case = open_case(plan, recipient, purpose, choices, grounds, now, signed_is_decision=signed)
    return decide(part, case)


def code(*args: Any, **known: Any) -> ReasonCode:
    """Return the reason of `ask`."""
    return ask(*args, **known).code


# --- who wins -------------------------------------------------------------------------------------------------------------------

WHO_WINS = [
    ("silence means no", [], "no-choice"),
    ("one permit of everything suffices", [yes()], "consent"),
    ("one denial is an objection", [no()], "objection"),
    ("an equal permit loses from a denial", [yes(), no()], "objection"),
    ("a person wins from a role", [yes("person"), no("role")], "consent"),
    ("a role wins from its organisation", [yes("role"), no("organisation")], "consent"),
    ("an organisation wins from its kind", [yes("organisation"), no("kind")], "consent"),
    ("a kind wins from everybody", [yes("kind"), no("all")], "consent"),
    ("a denied person is denied in a permitted role", [no("person"), yes("role")], "objection"),
    ("a denied role is denied in a permitted organisation", [no("role"), yes("organisation")], "objection"),
    ("a denied organisation is denied in a permitted kind", [no("organisation"), yes("kind")], "objection"),
    ("a denied kind is denied when everybody is permitted", [no("kind"), yes("all")], "objection"),
    ("a named part wins from kind and domain", [yes(of="the part by name"), no(of="its kind and domain")], "consent"),
    ("kind and domain win from a kind", [yes(of="its kind and domain"), no(of="its kind")], "consent"),
    ("kind and domain win from a domain", [yes(of="its kind and domain"), no(of="its domain")], "consent"),
    ("a kind wins from everything", [yes(of="its kind"), no()], "consent"),
    ("a domain wins from everything", [yes(of="its domain"), no()], "consent"),
    ("a kind and a domain are equal, so the denial wins", [yes(of="its kind"), no(of="its domain")], "objection"),
    ("a domain and a kind are equal, so the denial wins", [yes(of="its domain"), no(of="its kind")], "objection"),
    ("a purpose is specific", [yes(purpose="support"), no()], "consent"),
    ("a denied purpose is denied when all are permitted", [no(purpose="support"), yes()], "objection"),
    ("another purpose says nothing", [yes(purpose="evaluation")], "no-choice"),
    ("a denial for another purpose says nothing", [yes(), no(purpose="evaluation")], "consent"),
    ("a period is not specific", [yes(since=date(2026, 11, 1), until=date(2026, 11, 30)), no()], "objection"),
    (
        "a denial with a period is equal too",
        [no(since=date(2026, 11, 1), until=date(2026, 11, 30)), yes()],
        "objection",
    ),
    ("person against part is incomparable", [yes("person"), no("all", "the part by name")], "objection"),
    ("part against person is incomparable", [yes("all", "the part by name"), no("person")], "objection"),
    ("purpose against part is incomparable", [yes(purpose="support"), no(of="its kind")], "objection"),
    ("part against purpose is incomparable", [yes(of="its kind"), no(purpose="support")], "objection"),
    ("recipient against purpose is incomparable", [yes("person"), no("all", purpose="support")], "objection"),
    (
        "a permit that beats both denials is a yes",
        [yes("person", "the part by name", "support"), no("person"), no("all", "the part by name")],
        "consent",
    ),
    (
        "one unbeaten denial is enough",
        [yes("person"), yes("all", "the part by name"), no("all", None, "support")],
        "objection",
    ),
    (
        "a denial that is beaten twice over does not count",
        [yes("organisation", "its kind"), yes("kind"), no("all")],
        "consent",
    ),
    ("another kind says nothing", [yes(of=PartSelector(kinds=("goal",)))], "no-choice"),
    ("another domain says nothing", [yes(of=PartSelector(domains=("housing",)))], "no-choice"),
    ("kind and domain must both fit", [yes(of=PartSelector(kinds=("worry",), domains=("housing",)))], "no-choice"),
    ("another part by name says nothing", [yes(of=PartSelector(part_ids=("ander",)))], "no-choice"),
    ("a name is held to its kinds", [yes(of=PartSelector(part_ids=("deel",), kinds=("goal",)))], "no-choice"),
    ("a name is held to its domains", [yes(of=PartSelector(part_ids=("deel",), domains=("housing",)))], "no-choice"),
    (
        "a name with the right kind and domain is as specific as a name",
        [yes(of=PartSelector(part_ids=("deel",), kinds=("worry",), domains=("finances",))), no(of="the part by name")],
        "objection",
    ),
    (
        "a name with a kind is more specific than kind and domain",
        [yes(of=PartSelector(part_ids=("deel",), kinds=("worry",))), no(of="its kind and domain")],
        "consent",
    ),
    ("one of several kinds fits", [yes(of=PartSelector(kinds=("goal", "worry")))], "consent"),
    ("one of several domains fits", [yes(of=PartSelector(domains=("housing", "finances")))], "consent"),
    ("one of several names fits", [yes(of=PartSelector(part_ids=("ander", "deel")))], "consent"),
    (
        "one of several selectors fits",
        [replace(yes(), parts=(PartSelector(kinds=("goal",)), PartSelector(domains=("finances",))))],
        "consent",
    ),
    (
        "another organisation says nothing",
        [replace(yes(), recipient=RecipientSelector(type="organisation", organisation="linde"))],
        "no-choice",
    ),
    (
        "another kind of organisation says nothing",
        [replace(yes(), recipient=RecipientSelector(type="kind", kind="gp"))],
        "no-choice",
    ),
    (
        "the same role elsewhere says nothing",
        [replace(yes(), recipient=RecipientSelector(type="role", organisation="linde", role="coach"))],
        "no-choice",
    ),
    (
        "another role here says nothing",
        [replace(yes(), recipient=RecipientSelector(type="role", organisation="kompas", role="planner"))],
        "no-choice",
    ),
    (
        "the same person elsewhere says nothing",
        [replace(yes(), recipient=RecipientSelector(type="person", organisation="linde", person="joost"))],
        "no-choice",
    ),
    (
        "another person here says nothing",
        [replace(yes(), recipient=RecipientSelector(type="person", organisation="kompas", person="anouk"))],
        "no-choice",
    ),
]


def rows(table: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    """Return a table for parametrize: the sentence in front is the id."""
    return {"argvalues": [row[1:] for row in table], "ids": [row[0] for row in table]}


@pytest.mark.parametrize(("said", "expected"), **rows(WHO_WINS))
def test_the_more_specific_wins_and_else_the_objection(said: list[Choice], expected: ReasonCode) -> None:
    """The order of the choices does not matter."""
    assert expected == code(worry(), *said)
    assert expected == code(worry(), *reversed(said))


def test_a_permit_wins_from_a_denial_only_when_it_is_nowhere_less_and_somewhere_more_specific() -> None:
    """All 2,500 pairs of one permit and one denial about the same part."""
    who, parts = (
        list(TO),
        {"everything": 0, "its kind": 1, "its domain": 1, "its kind and domain": 2, "the part by name": 3},
    )
    places = list(product(range(5), parts, (None, "support")))
    for high, low in product(places, places):
        said = [yes(who[high[0]], high[1], high[2]), no(who[low[0]], low[1], low[2])]
        permit, denial = ((place[0], parts[place[1]], place[2] is not None) for place in (high, low))
        wins = permit != denial and all(left >= right for left, right in zip(permit, denial, strict=True))
        assert code(worry(), *said) == ("consent" if wins else "objection"), (high, low)


def test_a_recipient_without_role_or_person_or_kind_is_reached_by_its_organisation_only() -> None:
    """A choice about a role or person says nothing about the organisation as such."""
    plain = Recipient(organisation="kompas")
    assert [code(worry(), yes(to), recipient=plain) for to in TO] == [
        "consent", "no-choice", "consent", "no-choice", "no-choice"]  # fmt: skip


def test_a_part_without_a_domain_is_reached_by_no_domain() -> None:
    """Absent is not any."""
    bare = worry(domain=None)
    assert [code(bare, yes(of=of)) for of in OF] == ["consent", "consent", "no-choice", "no-choice", "consent"]


def test_consent_names_the_choices_that_it_rests_on_and_the_days_between_which_it_holds() -> None:
    """The overruled choice is not among them; the narrowest period of those that count is told."""
    first, last = date(2026, 11, 20), date(2026, 12, 1)
    given_by = [yes("all", since=date(2026, 11, 22)), yes(since=first, until=date(2027, 1, 1)), yes(until=last)]
    decision = ask(worry(), *given_by)
    assert {choice.id for choice in decision.choices} == {"marloes-1", "marloes-2"}
    assert (decision.ground, decision.article) == ("consent", "AVG art. 6(1)(a)")
    assert (decision.starts_on, decision.ends_on) == (first, last)
    assert {choice.version for choice in decision.choices} == {1}


def test_an_objection_names_the_denials_and_nothing_else() -> None:
    """What was permitted is not told with it."""
    decision = ask(worry(), yes(), no(), no("kind"))
    assert [choice.id for choice in decision.choices] == ["marloes-1"]
    assert (decision.ground, decision.article, decision.entry) == (None, None, None)


# --- several people -------------------------------------------------------------------------------------------------------------

PARENT_YES, PARENT_NO = yes(by="parent"), no(by="parent")
SUBJECTS = [
    ("both say yes", [yes()], [PARENT_YES], "consent"),
    ("the other is silent", [yes()], [], "not-every-subject"),
    ("the first is silent", [], [PARENT_YES], "not-every-subject"),
    ("both are silent", [], [], "no-choice"),
    ("the other says no", [yes()], [PARENT_NO], "objection"),
    ("the first says no", [no()], [PARENT_YES], "objection"),
    ("one is silent and one says no", [], [PARENT_NO], "objection"),
    (
        "the other's yes is for another part",
        [yes()],
        [yes(of=PartSelector(kinds=("goal",)), by="parent")],
        "not-every-subject",
    ),
]


@pytest.mark.parametrize(("marloes", "finn", "expected"), **rows(SUBJECTS))
def test_every_subject_must_say_yes(marloes: list[Choice], finn: list[Choice], expected: ReasonCode) -> None:
    """A part about two people; the order of the subjects does not matter."""
    assert expected == code(worry(MARLOES, FINN), *marloes, finn=finn)
    assert expected == code(worry(FINN, MARLOES), *marloes, finn=finn)


def test_who_is_only_a_resident_of_the_plan_does_not_decide_about_a_part() -> None:
    """Finn's no is about what is about Finn."""
    assert code(worry(MARLOES), yes(), finn=[PARENT_NO]) == "consent"


def test_who_is_mentioned_does_not_gate() -> None:
    """A mention asks nobody."""
    assert code(worry(mentioned=("vader",)), yes()) == "consent"


def test_consent_of_two_holds_between_the_latest_start_and_the_earliest_end() -> None:
    """And rests on the choices of both."""
    decision = ask(
        worry(MARLOES, FINN),
        yes(since=date(2026, 10, 1), until=date(2027, 1, 1)),
        finn=[yes(by="parent", since=date(2026, 11, 1), until=date(2026, 12, 1))],
    )
    assert (decision.starts_on, decision.ends_on) == (date(2026, 11, 1), date(2026, 12, 1))
    assert [choice.id for choice in decision.choices] == ["finn-0", "marloes-0"]


# --- own data and authored ------------------------------------------------------------------------------------------------------

READERS = [
    ("a resident reads what is about them", worry(), MARLOES, "concept", [], "own-data"),
    ("a resident reads their own safety part", part_of("safety", label()), MARLOES, "decided", [], "own-data"),
    ("a resident reads against their own denial", worry(), MARLOES, "decided", [no("all")], "own-data"),
    ("a resident reads a revoked plan", worry(), MARLOES, "revoked", [], "own-data"),
    ("a resident reads what is about the household", worry(MARLOES, FINN), FINN, "decided", [], "own-data"),
    ("a resident does not read what is about another", worry(), FINN, "decided", [yes("all")], "no-choice"),
    ("a resident does not read another's part by their organisation", worry(recorded_by=RecordedBy(organisation="kompas")), FINN,
     "decided", [yes()], "no-choice"),
]  # fmt: skip


@pytest.mark.parametrize(("part", "reader", "status", "said", "expected"), **rows(READERS))
def test_a_resident_reads_what_is_about_them_and_only_that(
    part: AnyPart, reader: str, status: PlanStatus, said: list[Choice], expected: ReasonCode
) -> None:
    """In every phase; grounds and consent are for others."""
    recipient = replace(KOMPAS, resident=reader)
    decision = ask(part, *said, recipient=recipient, status=status, grounds=ALL_GROUNDS)
    assert (expected, expected == "own-data") == (decision.code, decision.permitted)
    assert decision.ground == ("own-data" if decision.permitted else None)


WROTE = RecordedBy(organisation="kompas", secrecy=True)
AUTHORED = [
    ("its recorder has it in a concept", worry(recorded_by=WROTE), KOMPAS, "concept", [], "authored"),
    ("its recorder has it against a denial", worry(recorded_by=WROTE), KOMPAS, "decided", [no()], "authored"),
    (
        "its recorder has a restricted part",
        worry(recorded_by=WROTE, sensitivity="restricted"),
        KOMPAS,
        "decided",
        [],
        "authored",
    ),
    ("its recorder has it after revocation", worry(recorded_by=WROTE), KOMPAS, "revoked", [], "authored"),
    ("another organisation does not", worry(recorded_by=WROTE), TEAM, "decided", [], "no-choice"),
    ("nobody wrote what has no recorder", worry(), TEAM, "decided", [], "no-choice"),
]


@pytest.mark.parametrize(("part", "recipient", "status", "said", "expected"), **rows(AUTHORED))
def test_who_recorded_a_part_has_it(
    part: AnyPart, recipient: Recipient, status: PlanStatus, said: list[Choice], expected: ReasonCode
) -> None:
    """Its own record; of the plan's other parts it has nothing by that."""
    assert expected == code(part, *said, recipient=recipient, status=status)


# --- phases ---------------------------------------------------------------------------------------------------------------------

GENERAL = provision(individual=False)
ELSEWHERE = provision(provider="linde")
TOWN_HALL = Recipient(organisation="kompas", kind="municipality")
OFFICE = Recipient(organisation="kompas", kind="backoffice")
PHASES = [
    ("a concept does not travel", "concept", KOMPAS, [], False, "plan-is-concept"),
    ("a concept does not travel to the backoffice", "concept", OFFICE, [], False, "plan-is-concept"),
    ("a concept does not travel where the signature decides", "concept", KOMPAS, [], True, "plan-is-concept"),
    ("a revoked plan does not travel", "revoked", KOMPAS, [], False, "plan-is-revoked"),
    ("a revoked plan does not travel to the backoffice", "revoked", OFFICE, [], True, "plan-is-revoked"),
    ("an agreed plan goes to who carries nothing", "agreed", KOMPAS, [], False, "consent"),
    ("an agreed plan goes to who carries a general provision", "agreed", KOMPAS, [GENERAL], False, "consent"),
    (
        "an agreed plan goes when another carries the individual provision",
        "agreed",
        KOMPAS,
        [ELSEWHERE],
        False,
        "consent",
    ),
    (
        "who carries an individual provision waits for the decision",
        "agreed",
        KOMPAS,
        [provision()],
        False,
        "plan-not-decided",
    ),
    (
        "who carries both kinds of provisions waits",
        "agreed",
        KOMPAS,
        [GENERAL, provision(id="v2")],
        False,
        "plan-not-decided",
    ),
    ("a carrier need not wait where the signature decides", "agreed", KOMPAS, [provision()], True, "consent"),
    ("the backoffice does not wait for its own decision", "agreed", OFFICE, [provision()], False, "consent"),
    ("the municipality does not wait for its own decision", "agreed", TOWN_HALL, [provision()], False, "consent"),
    ("a decided plan goes to carriers", "decided", KOMPAS, [provision()], False, "consent"),
    ("an ended plan still goes where it may", "ended", KOMPAS, [provision()], False, "consent"),
]


@pytest.mark.parametrize(("status", "recipient", "others", "signed", "expected"), **rows(PHASES))
def test_the_phase_of_a_plan_opens_and_closes_it(
    status: PlanStatus, recipient: Recipient, others: list[AnyPart], signed: bool, expected: ReasonCode
) -> None:
    """Everybody has said yes; only the phase differs."""
    assert expected == code(worry(), yes(), recipient=recipient, status=status, others=others, signed=signed)


@pytest.mark.parametrize(("status", "expected"), [("concept", "plan-is-concept"), ("agreed", "plan-not-decided")])
def test_a_ground_in_law_waits_for_the_phase_too(status: PlanStatus, expected: ReasonCode) -> None:
    """An assignment is carried out after the decision."""
    assert expected == code(provision(), status=status, grounds=ALL_GROUNDS)
    assert code(provision(), status="decided", grounds=ALL_GROUNDS) == "ground-in-law"


def test_a_carrier_by_an_action_does_not_wait() -> None:
    """Only an individual provision is decided upon."""
    action = Action(id="a", label=label(), text="t", owner=Actor(type="organisation", ref="kompas"))
    assert code(worry(), yes(), status="agreed", others=[action]) == "consent"


# --- grounds --------------------------------------------------------------------------------------------------------------------

ENTRIES = {entry.id: entry for entry in CATALOGUE}
FITTING = {
    "wmo-decision": (BACKOFFICE, "decision"),
    "jeugdwet-decision": (BACKOFFICE, "decision"),
    "wmo-assignment": (KOMPAS, "support"),
    "jeugdwet-assignment": (KOMPAS, "support"),
    "veilig-thuis-report": (VEILIG_THUIS, "support"),
}


def under(entry: CatalogueEntry, part: AnyPart, *said: Choice, **known: Any) -> Decision:
    """Decide with one entry enabled, for who it is meant for, in a plan with a provision of its law."""
    recipient, purpose = FITTING[entry.id]
    carried = provision(law=entry.law or "none")
    settled = {"recipient": recipient, "purpose": purpose, "others": [carried], "grounds": enabled(entry.id), **known}
    return ask(part, *said, **settled)


@cache
def enabled(*names: str) -> tuple[EnabledGround, ...]:
    """Enable entries as they ship."""
    return enable_grounds(GroundSetting(id=name) for name in names)


def fitting(entry: CatalogueEntry, kind: Kind | None = None, **known: Any) -> AnyPart:
    """Return a part that an entry carries."""
    return part_of(kind or entry.kinds[0], label(**{"law": entry.law or "none", **known}))


each_entry = pytest.mark.parametrize("entry", CATALOGUE, ids=list(ENTRIES))


def test_every_shipped_entry_has_a_fitting_case() -> None:
    """A new entry of the catalogue needs its own rows here."""
    assert set(FITTING) == set(ENTRIES)


@each_entry
class TestGround:
    """A ground carries exactly what its entry says."""

    def test_names_ground_article_and_entry(self, entry: CatalogueEntry) -> None:
        """A disclosure can be traced to the law."""
        found = under(entry, fitting(entry))
        assert (found.permitted, found.code, found.ground, found.article, found.entry, found.choices) == (
            True, "ground-in-law", entry.ground, entry.article, entry.id, ())  # fmt: skip

    def test_does_nothing_until_it_is_enabled(self, entry: CatalogueEntry) -> None:
        """Nothing is enabled by default."""
        assert under(entry, fitting(entry), grounds=()).code == "no-choice"

    def test_is_for_its_kinds_of_organisation(self, entry: CatalogueEntry) -> None:
        """Another kind with the same name gets nothing; nor does one of which the kind is not known."""
        recipient, _ = FITTING[entry.id]
        kinds = (*get_args(OrganisationKind), None)
        found = [
            kind for kind in kinds if under(entry, fitting(entry), recipient=replace(recipient, kind=kind)).permitted
        ]
        assert found == list(entry.organisation_kinds)

    def test_is_for_its_purposes(self, entry: CatalogueEntry) -> None:
        """A provider that evaluates has no assignment for it."""
        found = [purpose for purpose in get_args(Purpose) if under(entry, fitting(entry), purpose=purpose).permitted]
        assert found == list(entry.purposes)

    def test_carries_its_kinds_of_parts(self, entry: CatalogueEntry) -> None:
        """And no other."""
        found = {kind for kind in KINDS if under(entry, fitting(entry, kind)).permitted}
        assert found == set(entry.kinds)

    def test_carries_parts_under_its_law_or_none(self, entry: CatalogueEntry) -> None:
        """A ground without a law carries parts under any."""
        laws = [law for law in get_args(Law) if under(entry, fitting(entry, law=law)).permitted]
        assert laws == [law for law in get_args(Law) if entry.law in {None, law} or law == "none"]

    def test_carries_restricted_parts_only_when_it_says_so(self, entry: CatalogueEntry) -> None:
        """Restricted parts and safety parts alike."""
        assert entry.restricted == under(entry, fitting(entry, sensitivity="restricted")).permitted
        assert entry.restricted == under(entry, part_of("safety", label())).permitted

    def test_carries_what_was_recorded_under_secrecy_only_when_something_lifts_it(self, entry: CatalogueEntry) -> None:
        """A duty of secrecy stands unless the entry names what lifts it."""
        lifted = entry.secrecy_lifted_by is not None
        secret = RecordedBy(organisation="huisarts", secrecy=True)
        assert lifted == under(entry, fitting(entry, recorded_by=secret)).permitted
        assert under(entry, fitting(entry, recorded_by=replace(secret, secrecy=False))).permitted

    def test_is_suspended_by_an_objection_only_when_it_can_be_objected_to(self, entry: CatalogueEntry) -> None:
        """AVG 21: the others stand."""
        found = under(entry, fitting(entry), no("all"))
        assert (found.permitted, found.code) == (
            (False, "objection") if entry.objectable else (True, "ground-in-law"))  # fmt: skip

    def test_is_not_suspended_by_an_objection_that_a_more_specific_yes_overrules(self, entry: CatalogueEntry) -> None:
        """Such an objection is none."""
        named = PartSelector(part_ids=("deel",))
        to = replace(
            yes(), recipient=RecipientSelector(type="organisation", organisation=FITTING[entry.id][0].organisation)
        )
        assert under(entry, fitting(entry), no("all"), replace(to, parts=(named,))).code == "ground-in-law"

    def test_needs_nobodys_consent(self, entry: CatalogueEntry) -> None:
        """Silence and an unknown age do not stop it."""
        part = worry() if entry.reach == "plan" else provision(law=entry.law or "none")
        assert under(entry, part, others=[], born={MARLOES: None, FINN: None}).permitted

    def test_is_narrowed_by_the_municipality(self, entry: CatalogueEntry) -> None:
        """To kinds, domains, named parts."""
        kind = entry.kinds[0]
        fits = [
            (PartSelector(kinds=(kind,)), True),
            (PartSelector(kinds=entry.kinds[1:]), False),
            (PartSelector(kinds=(kind,), domains=("finances",)), True),
            (PartSelector(kinds=(kind,), domains=("housing",)), False),
            (PartSelector(kinds=(kind,), part_ids=("deel",)), True),
            (PartSelector(kinds=(kind,), part_ids=("ander",)), False),
        ]
        for selector, expected in fits:
            narrow = enable_grounds([GroundSetting(id=entry.id, parts=(selector,))])
            assert expected == under(entry, fitting(entry), grounds=narrow).permitted, selector

    def test_is_narrowed_by_any_of_several_selectors(self, entry: CatalogueEntry) -> None:
        """Each selector is one way in."""
        narrow = enable_grounds(
            [GroundSetting(id=entry.id, parts=tuple(PartSelector(kinds=(kind,)) for kind in reversed(entry.kinds)))]
        )
        assert under(entry, fitting(entry), grounds=narrow).permitted


QUESTION = part_of("support-question", label())
FINNS_QUESTION = part_of("support-question", label(FINN))
BOTHS_QUESTION = part_of("support-question", label(MARLOES, FINN))
HERS, HIS = identity(MARLOES, BORN[MARLOES]), identity(FINN, BORN[FINN])
REACH = [
    ("a decision needs an individual provision", "wmo-decision", QUESTION, [], False),
    ("a decision is not about a general provision", "wmo-decision", QUESTION, [GENERAL], False),
    ("a decision reaches who the individual provision is for", "wmo-decision", QUESTION, [provision()], True),
    ("a decision reaches whatever provider carries it", "wmo-decision", QUESTION, [ELSEWHERE], True),
    ("a decision does not reach another resident", "wmo-decision", FINNS_QUESTION, [provision()], False),
    ("a decision does not reach a part that is also about another", "wmo-decision", BOTHS_QUESTION, [provision()], False),
    ("a decision reaches both when both have a provision", "wmo-decision", BOTHS_QUESTION,
     [provision(), provision(FINN, id="v2")], True),
    ("a decision reaches both when the provision is for both", "wmo-decision", BOTHS_QUESTION, [provision(MARLOES, FINN)], True),
    ("a provision under another law does not count", "wmo-decision", QUESTION, [provision(law="jeugdwet")], False),
    ("a provision under no law does not count", "wmo-decision", QUESTION, [provision(law="none")], False),
    ("a general provision stays out of a decision", "wmo-decision", GENERAL, [provision(id="v2")], False),
    ("the individual provision is in the decision", "wmo-decision", provision(), [], True),
    ("a decision reaches the identity of who it is for", "wmo-decision", HERS, [provision()], True),
    ("a decision does not reach the identity of another", "wmo-decision", HIS, [provision()], False),
    ("an assignment reaches the provision that the provider carries", "wmo-assignment", provision(), [], True),
    ("an assignment does not reach another provider's provision", "wmo-assignment", ELSEWHERE, [provision(id="v2")], False),
    ("an assignment does not reach a provision that nobody carries", "wmo-assignment", provision(provider=None), [], False),
    ("an assignment reaches the identity of who it is for", "wmo-assignment", HERS, [provision()], True),
    ("an assignment does not reach the identity of another", "wmo-assignment", HIS, [provision()], False),
    ("an assignment reaches the identities of all it is for", "wmo-assignment", HIS, [provision(MARLOES, FINN)], True),
    ("no assignment, no identity", "wmo-assignment", HERS, [], False),
    ("another provider's assignment gives no identity", "wmo-assignment", HERS, [ELSEWHERE], False),
    ("an assignment under another law gives no identity", "wmo-assignment", HERS, [provision(law="jeugdwet")], False),
    ("an action is no assignment", "wmo-assignment", HERS,
     [Action(id="a", label=label(), text="t", owner=Actor(type="organisation", ref="kompas"))], False),
    ("a report reaches the whole plan", "veilig-thuis-report", worry(FINN), [], True),
]  # fmt: skip


@pytest.mark.parametrize(("entry", "part", "others", "expected"), **rows(REACH))
def test_a_ground_reaches_as_far_as_its_entry_says(
    entry: str, part: AnyPart, others: list[AnyPart], expected: bool
) -> None:
    """The whole plan, individual provisions and who they are for, or only what the recipient carries."""
    assert expected == under(ENTRIES[entry], part, others=others).permitted


def test_one_subjects_objection_suspends_an_objectable_ground_for_all() -> None:
    """The household's provision does not go by half."""
    part = provision(MARLOES, FINN)
    assert code(part, grounds=ALL_GROUNDS) == "ground-in-law"
    assert code(part, finn=[PARENT_NO], grounds=ALL_GROUNDS) == "objection"


def test_a_ground_is_named_before_consent() -> None:
    """Agreeing to help is not agreeing to share, and a statute does not borrow consent."""
    assert ask(provision(), yes(), grounds=ALL_GROUNDS).ground == "statutory-task"
    assert ask(provision(), yes()).ground == "consent"


def test_the_next_ground_serves_when_the_first_does_not() -> None:
    """Grounds are alternatives."""
    assert ask(provision(), grounds=enabled("jeugdwet-assignment", "wmo-assignment")).entry == "wmo-assignment"


def test_a_ground_never_carries_more_kinds_than_its_entry() -> None:
    """Also when somebody makes an enabled ground by hand that lets any part in."""
    (ground,) = enabled("wmo-decision")
    loose = (msgspec.structs.replace(ground, parts=(PartSelector(),)),)
    asked = {"recipient": OFFICE, "purpose": "decision", "others": [provision(provider="linde")], "grounds": loose}
    action = Action(id="a", label=label(), text="t", owner=Actor(type="organisation", ref="linde"))
    assert ask(QUESTION, **asked).permitted
    assert not ask(action, **asked).permitted


@pytest.mark.parametrize(
    ("status", "permitted"),
    [("requested", True), ("granted", True), ("refused", False), ("stopped", False), ("ended", False)],
)
def test_an_assignment_ends_with_its_provision(status: str, permitted: bool) -> None:
    """What was refused, stopped or ended gives nothing new to whoever was to carry it, the identity included."""
    part = msgspec.structs.replace(provision(), status=status)
    assert ask(part, grounds=ALL_GROUNDS).permitted is permitted
    assert ask(HERS, others=[part], grounds=ALL_GROUNDS).permitted is permitted


def test_a_general_provision_is_no_assignment() -> None:
    """What a provider offers to everybody gives it nobody's identity."""
    assert not under(ENTRIES["wmo-assignment"], HERS, others=[GENERAL]).permitted


def test_a_parents_objection_counts_while_the_child_is_silent() -> None:
    """At 14 both must say yes, so either may say no; an assignment under the Jeugdwet can be objected to."""
    part = provision(FINN, law="jeugdwet")
    born = {MARLOES: BORN[MARLOES], FINN: date(2012, 5, 2)}
    assert code(part, finn=[PARENT_NO], born=born, grounds=ALL_GROUNDS) == "objection"


def test_withdrawing_the_childs_permit_does_not_widen() -> None:
    """With the child's permit the parent's objection suspends the ground; without it the ground stands."""
    part, born = provision(FINN, law="jeugdwet"), {MARLOES: BORN[MARLOES], FINN: date(2012, 5, 2)}
    before = ask(part, finn=[yes(), PARENT_NO], born=born, grounds=ALL_GROUNDS)
    after = ask(part, finn=[PARENT_NO], born=born, grounds=ALL_GROUNDS)
    assert (before.permitted, after.permitted) == (False, False)


def test_with_an_unknown_age_nobodys_permit_overrules_anothers_objection() -> None:
    """An objection of anybody counts, a permit of nobody does."""
    said = [no("all"), yes(by="parent")]
    assert (
        code(provision(FINN), finn=said, born={MARLOES: BORN[MARLOES], FINN: None}, grounds=ALL_GROUNDS) == "objection"
    )


# --- guarded parts --------------------------------------------------------------------------------------------------------------

SAFETY, SECRET = part_of("safety", label()), worry(sensitivity="restricted")
NAMED = PartSelector(part_ids=("deel",))
GUARDED = [
    ("a safety part is not in everything", SAFETY, [yes()], "safety-not-named"),
    ("a safety part is not in its domain", SAFETY, [yes(of="its domain")], "safety-not-named"),
    ("a safety part is not in the domain of safety", part_of("safety", label(domain="safety")),
     [yes(of=PartSelector(domains=("safety",)))], "safety-not-named"),
    ("a safety part is named by its kind", SAFETY, [yes(of=PartSelector(kinds=("safety",)))], "consent"),
    ("a safety part is named by kind and domain", SAFETY,
     [yes(of=PartSelector(kinds=("safety",), domains=("finances",)))], "consent"),
    ("a safety part is named among kinds", SAFETY, [yes(of=PartSelector(kinds=("goal", "safety")))], "consent"),
    ("a safety part is named by its id", SAFETY, [yes(of=NAMED)], "consent"),
    ("another domain does not name it", SAFETY,
     [yes(of=PartSelector(kinds=("safety",), domains=("housing",)))], "safety-not-named"),
    ("a restricted part is not in everything", SECRET, [yes()], "safety-not-named"),
    ("a restricted part is not in its kind", SECRET, [yes(of="its kind")], "safety-not-named"),
    ("a restricted part is not in its kind and domain", SECRET, [yes(of="its kind and domain")], "safety-not-named"),
    ("a restricted part is named by its id", SECRET, [yes(of=NAMED)], "consent"),
    ("naming safety parts does not name a restricted part", SECRET, [yes(of=PartSelector(kinds=("safety",)))], "safety-not-named"),
    ("a restricted safety part is named by its kind", part_of("safety", label(sensitivity="restricted")),
     [yes(of=PartSelector(kinds=("safety",)))], "consent"),
    ("a denial of everything reaches a safety part", SAFETY, [no()], "objection"),
    ("a denial of everything reaches a restricted part", SECRET, [no()], "objection"),
    ("a denial of its kind reaches a restricted part", SECRET, [no(of="its kind")], "objection"),
    ("a permit that does not name it cannot overrule a denial", SECRET, [yes("person", "its kind and domain"), no()], "objection"),
    ("a permit that names it overrules a denial of everything", SECRET, [yes(of=NAMED), no()], "consent"),
    ("silence about a safety part asks to name it", SAFETY, [], "safety-not-named"),
]  # fmt: skip


@pytest.mark.parametrize(("part", "said", "expected"), **rows(GUARDED))
def test_a_guarded_part_goes_only_when_it_is_named(part: AnyPart, said: list[Choice], expected: ReasonCode) -> None:
    """Sharing the plan does not share it; a denial always reaches it."""
    assert expected == code(part, *said)


def test_naming_safety_beside_a_kind_does_not_name_restricted_parts_of_that_kind() -> None:
    """`[contact, safety]` says the same as `[contact]` and `[safety]`: a secret address stays secret."""
    secret = part_of("contact", label(sensitivity="restricted"))
    apart = replace(yes(), parts=(PartSelector(kinds=("contact",)), PartSelector(kinds=("safety",))))
    assert code(secret, apart) == "safety-not-named"
    assert code(secret, yes(of=PartSelector(kinds=("contact", "safety")))) == "safety-not-named"


# --- ages and who speaks --------------------------------------------------------------------------------------------------------

TODAY = date(2026, 11, 23)
BIRTHDAYS = {
    "born today": TODAY,
    "11 for the last day": date(2014, 11, 24),
    "12 since today": date(2014, 11, 23),
    "15 for the last day": date(2010, 11, 24),
    "16 since today": date(2010, 11, 23),
    "17": date(2009, 1, 1),
    "an adult": date(1989, 3, 14),
}
CHILD, BOTH, OWN = ("parent", "representative"), "child and parent", ("resident", "representative")
SPEAKS: list[tuple[str, Law, Any]] = [
    ("born today", "jeugdwet", CHILD),
    ("11 for the last day", "jeugdwet", CHILD),
    ("12 since today", "jeugdwet", BOTH),
    ("15 for the last day", "jeugdwet", BOTH),
    ("16 since today", "jeugdwet", OWN),
    ("17", "jeugdwet", OWN),
    ("an adult", "jeugdwet", OWN),
    *(
        (who, law, OWN if who in {"16 since today", "17", "an adult"} else CHILD)
        for law in ("wmo", "participatiewet", "wgs", "none")
        for who in BIRTHDAYS
    ),
]


@pytest.mark.parametrize(("who", "law", "voices"), SPEAKS, ids=[f"{who} under {law}" for who, law, _ in SPEAKS])
def test_who_speaks_follows_from_law_and_age_today(who: str, law: Law, voices: Any) -> None:
    """Under 16 who represents them; under the Jeugdwet from 12 the child too; from 16 they themselves."""
    part, born = worry(law=law), {MARLOES: BIRTHDAYS[who], FINN: BORN[FINN]}
    alone = {each for each in CAPACITIES if code(part, yes(by=each), born=born) == "consent"}
    objects = {each for each in CAPACITIES if code(part, yes(), PARENT_YES, no(by=each), born=born) == "objection"}
    together = {pair for pair in combinations(sorted(CAPACITIES), 2) if _all_say_yes(part, pair, born)}
    if voices == BOTH:
        assert (alone, objects) == (set(), set(CAPACITIES))
        assert together == {("parent", "resident"), ("representative", "resident")}
    else:
        assert (alone, objects) == (set(voices), set(voices))


def _all_say_yes(part: AnyPart, capacities: Sequence[Capacity], born: Mapping[str, date | None]) -> bool:
    return code(part, *(yes(by=each) for each in capacities), born=born) == "consent"


BIRTHDAY_CHANGES = [
    ("the day before a twelfth birthday the parent suffices", date(2014, 11, 24), "jeugdwet", [PARENT_YES], "consent"),
    ("on a twelfth birthday the child is asked", date(2014, 11, 23), "jeugdwet", [PARENT_YES], "no-choice"),
    ("the day before a sixteenth birthday the parent suffices", date(2010, 11, 24), "wmo", [PARENT_YES], "consent"),
    ("on a sixteenth birthday the parent's yes ends", date(2010, 11, 23), "wmo", [PARENT_YES], "no-choice"),
    ("on a sixteenth birthday the parent's no ends", date(2010, 11, 23), "wmo", [yes(), PARENT_NO], "consent"),
    ("a child's yes does not count before", date(2010, 11, 24), "wmo", [yes()], "no-choice"),
    ("a child's no does not count before", date(2010, 11, 24), "wmo", [no(), PARENT_YES], "consent"),
]


@pytest.mark.parametrize(("born", "law", "said", "expected"), **rows(BIRTHDAY_CHANGES))
def test_a_birthday_changes_the_answer(born: date, law: Law, said: list[Choice], expected: ReasonCode) -> None:
    """Judged on the day of access, not on the day of the choice."""
    assert expected == code(worry(law=law), *said, born={MARLOES: born, FINN: BORN[FINN]})


LEAP = [
    ("a day before the end of February they are 15", datetime(2024, 2, 28, 12, tzinfo=UTC), 15),
    ("in a leap year the birthday is 29 February", datetime(2024, 2, 29, 12, tzinfo=UTC), 16),
    ("in another year 28 February is the day before", datetime(2026, 2, 28, 12, tzinfo=UTC), 17),
    ("in another year the birthday is 1 March", datetime(2026, 3, 1, 12, tzinfo=UTC), 18),
]


@pytest.mark.parametrize(("now", "years"), **rows(LEAP))
def test_who_is_born_on_29_february_grows_older_on_1_march(now: datetime, years: int) -> None:
    """Except in leap years."""
    assert years == age_on(date(2008, 2, 29), now.date())
    expected = "consent" if years >= 16 else "no-choice"
    assert expected == code(worry(), yes(), now=now, born={MARLOES: date(2008, 2, 29), FINN: BORN[FINN]})


UNKNOWN = [
    ("nobody's yes counts", [yes(), PARENT_YES, yes(by="representative")], "age-unknown"),
    ("silence is not the reason", [], "age-unknown"),
    ("a resident's no counts", [no()], "objection"),
    ("a parent's no counts", [PARENT_NO], "objection"),
    ("a representative's no counts", [no(by="representative")], "objection"),
    ("a no counts beside an equal yes", [yes(), PARENT_NO], "objection"),
]


@pytest.mark.parametrize("identities", [True, False], ids=["without a birth date", "without an identity"])
@pytest.mark.parametrize(("said", "expected"), **rows(UNKNOWN))
def test_with_an_unknown_age_only_objections_count(said: list[Choice], expected: ReasonCode, identities: bool) -> None:
    """Nobody can say who decides."""
    born = {MARLOES: None, FINN: BORN[FINN]}
    assert expected == code(worry(), *said, born=born, identities=identities)


def test_an_unknown_age_of_one_subject_stops_a_part_about_two() -> None:
    """And an objection of the other is graver."""
    born, part = {MARLOES: BORN[MARLOES], FINN: None}, worry(MARLOES, FINN)
    assert code(part, yes(), finn=[PARENT_YES], born=born) == "age-unknown"
    assert code(part, no(), finn=[PARENT_YES], born=born) == "objection"
    assert code(part, finn=[], born=born) == "age-unknown"


# --- periods --------------------------------------------------------------------------------------------------------------------


def utc(*when: int) -> datetime:
    """Return a moment."""
    return datetime(*when, tzinfo=UTC)


EDGES = [
    ("the last second before the first day", date(2026, 1, 10), None, utc(2026, 1, 9, 22, 59, 59), False),
    ("the first second of the first day", date(2026, 1, 10), None, utc(2026, 1, 9, 23), True),
    ("the last second of the last day", None, date(2026, 1, 10), utc(2026, 1, 10, 22, 59, 59), True),
    ("the first second after the last day", None, date(2026, 1, 10), utc(2026, 1, 10, 23), False),
    ("a period of one day", date(2026, 1, 10), date(2026, 1, 10), utc(2026, 1, 10, 12), True),
    ("in summer a day begins two hours before UTC", date(2026, 7, 10), None, utc(2026, 7, 9, 22), True),
    ("in summer a second earlier is the day before", date(2026, 7, 10), None, utc(2026, 7, 9, 21, 59, 59), False),
    ("the day the clock goes forward begins in winter time", date(2026, 3, 29), None, utc(2026, 3, 28, 23), True),
    ("a second before it begins", date(2026, 3, 29), None, utc(2026, 3, 28, 22, 59, 59), False),
    ("the day the clock goes forward ends in summer time", None, date(2026, 3, 29), utc(2026, 3, 29, 21, 59, 59), True),
    ("a second after it ended", None, date(2026, 3, 29), utc(2026, 3, 29, 22), False),
    ("the day the clock goes back begins in summer time", date(2026, 10, 25), None, utc(2026, 10, 24, 22), True),
    ("a second before that begins", date(2026, 10, 25), None, utc(2026, 10, 24, 21, 59, 59), False),
    ("the day the clock goes back ends in winter time", None, date(2026, 10, 25), utc(2026, 10, 25, 22, 59, 59), True),
    ("a second after that ended", None, date(2026, 10, 25), utc(2026, 10, 25, 23), False),
]


@pytest.mark.parametrize(("since", "until", "now", "within"), **rows(EDGES))
def test_a_period_holds_from_its_first_to_its_last_day_in_the_netherlands(
    since: date | None, until: date | None, now: datetime, within: bool
) -> None:
    """Both inclusive, from midnight to midnight in Amsterdam; for a denial as for a permit."""
    assert code(worry(), yes(since=since, until=until), now=now) == ("consent" if within else "no-choice")
    assert code(worry(), yes("all"), no(since=since, until=until), now=now) == ("objection" if within else "consent")


def test_age_is_judged_on_the_day_in_the_netherlands() -> None:
    """Half an hour before midnight UTC somebody may be a year older."""
    born = {MARLOES: date(2010, 11, 24), FINN: BORN[FINN]}
    assert code(worry(), yes(), born=born, now=utc(2026, 11, 23, 22, 30)) == "no-choice"
    assert code(worry(), yes(), born=born, now=utc(2026, 11, 23, 23, 30)) == "consent"


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data(), now=moments)
def test_an_answer_changes_by_itself_only_on_a_day_of_change(data: st.DataObject, now: datetime) -> None:
    """Whoever wakes up on `days_of_change` misses nothing."""
    plan = data.draw(support_plans().filter(lambda each: each.parts))
    recipient = data.draw(recipients(plan, residents=False))
    choices = data.draw(choice_sets(plan, recipient, amsterdam_day(now), most=3))
    born = [part.birth_date for part in plan.parts if isinstance(part, Identity) and part.birth_date]
    everything = [choice for each in choices.values() for choice in each]
    today = amsterdam_day(now)
    announced = days_of_change(everything, born, today)
    assert list(announced) == sorted(set(announced))
    assert all(day > today for day in announced)
    for step in (1, 2, 39, 40, 41, 42):
        later = today.fromordinal(today.toordinal() + step)
        if not any(day <= later for day in announced):
            noon = datetime(later.year, later.month, later.day, 11, tzinfo=UTC)
            assert _codes(plan, recipient, choices, now) == _codes(plan, recipient, choices, noon)


CHANGES = [
    ("a period begins on its first day", [yes(since=date(2026, 12, 1))], [], [date(2026, 12, 1)]),
    ("a period ends on the day after its last", [yes(until=date(2026, 12, 31))], [], [date(2027, 1, 1)]),
    ("a period that ends today ends tomorrow", [yes(until=TODAY)], [], [date(2026, 11, 24)]),
    ("a period that began today began", [yes(since=TODAY)], [], []),
    ("what is past is past", [yes(since=date(2026, 1, 1), until=date(2026, 1, 2))], [date(1989, 3, 14)], []),
    ("a period to the end of time does not end", [yes(until=date.max)], [], []),
    ("a child becomes 12 and 16", [], [date(2017, 5, 2)], [date(2029, 5, 2), date(2033, 5, 2)]),
    ("who is 12 becomes 16", [], [date(2012, 2, 29)], [date(2028, 2, 29)]),
    ("a leap child becomes 12 and 16 in leap years", [], [date(2016, 2, 29)], [date(2028, 2, 29), date(2032, 2, 29)]),
    ("in 2096 a leap child is 12 on 29 February, in 2100 16 on 1 March", [], [date(2084, 2, 29)],
     [date(2096, 2, 29), date(2100, 3, 1)]),
    ("the same day is told once", [yes(since=date(2026, 12, 1)), no(until=date(2026, 11, 30))], [], [date(2026, 12, 1)]),
]  # fmt: skip


@pytest.mark.parametrize(("said", "born", "expected"), **rows(CHANGES))
def test_days_of_change_are_edges_and_birthdays(said: list[Choice], born: list[date], expected: list[date]) -> None:
    """Later than today, in order."""
    assert tuple(expected) == days_of_change(said, born, TODAY)


def _codes(
    plan: SupportPlan, recipient: Recipient, choices: Mapping[str, Sequence[Choice]], now: datetime
) -> dict[str, ReasonCode]:
    indexes = {who: ChoiceIndex(said) for who, said in choices.items()}
    found = decide_all(plan, open_case(plan, recipient, "support", indexes, ALL_GROUNDS, now))
    return {part_id: decision.code for part_id, decision in found.items()}


# --- against the simple implementation ------------------------------------------------------------------------------------------


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one set of decisions depends on."""

    plan: SupportPlan
    recipient: Recipient
    purpose: Purpose
    choices: dict[str, tuple[Choice, ...]]
    grounds: int
    now: datetime
    signed: bool

    def answers(self) -> dict[str, Decision]:
        """Ask the engine."""
        return decide_all(self.plan, self.case())

    def case(self) -> Case:
        """Gather what the engine looks at."""
        indexes = {who: ChoiceIndex(said) for who, said in self.choices.items()}
        grounds = GROUND_SETS[self.grounds]
        return open_case(
            self.plan, self.recipient, self.purpose, indexes, grounds, self.now, signed_is_decision=self.signed
        )

    def digest(self) -> str:
        """Name this question, for a bug report."""
        return sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:16]


def check(question: Question) -> Iterator[ReasonCode]:
    """Hold every answer against the simple rules; yield the codes that were compared."""
    answers = question.answers()
    for part in question.plan.parts:
        simple = verdict(
            part,
            question.plan,
            question.recipient,
            question.purpose,
            question.choices,
            GROUND_SETS[question.grounds],
            question.now,
            signed_is_decision=question.signed,
        )
        answer = answers[part.id]
        said = (answer.permitted, answer.code, answer.ground, answer.entry)
        ids = frozenset(choice.id for choice in answer.choices)
        about = f"question {question.digest()}, part {part.id}"
        assert simple[:4] == said, about
        # Of two voices that both object the engine names the first only.
        named = bool(ids) and ids <= simple.choices if answer.code == "objection" else ids == simple.choices
        assert named or (answer.code == "age-unknown" and not ids), about
        yield answer.code


@st.composite
def questions(draw: st.DrawFn) -> Question:
    """A generated plan with choices, a recipient, grounds and a moment."""
    plan, now = draw(support_plans()), draw(moments)
    recipient = draw(recipients(plan))
    return Question(
        plan=plan,
        recipient=recipient,
        purpose=draw(st.sampled_from(get_args(Purpose))),
        choices=draw(choice_sets(plan, recipient, amsterdam_day(now))),
        grounds=draw(st.integers(0, len(GROUND_SETS) - 1)),
        now=now,
        signed=draw(st.booleans()),
    )


busy = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@busy
@given(question=questions())
def test_decide_agrees_with_the_simple_rules_on_generated_plans(question: Question) -> None:
    """On any plan."""
    list(check(question))


class Deck:
    """Parts, people and choices made once, out of which thousands of small cases are dealt. Names are few, so that cases collide."""

    def __init__(self, seed: int) -> None:
        """Make the deck."""
        self.random = Random(seed)
        pick = self.random.choice
        born = (*BIRTHDAYS.values(), None, date(2008, 2, 29), date(2013, 1, 1), date(2013, 6, 1))
        self.identities = {who: [identity(who, day) for day in born] for who in (MARLOES, FINN)}
        kinds = (*KINDS[2:], "provision", "provision", "support-question", "safety", "signal")
        self.parts = [self._part(pick(kinds), f"deel-{number % 6}") for number in range(600)]
        self.choices = {who: [self._choice(f"{who}-{number}") for number in range(900)] for who in (MARLOES, FINN)}
        self.recipients = [
            Recipient(organisation=pick(("kompas", "linde")), kind=pick((*get_args(OrganisationKind), "care-provider",
                      "backoffice", "veilig-thuis", None)), role=pick((None, "coach", "planner")),
                      person=pick((None, "joost", "anouk")), resident=pick((None,) * 12 + (MARLOES, FINN)))
            for _ in range(150)
        ]  # fmt: skip

    def _part(self, kind: Kind, part_id: str) -> AnyPart:
        pick = self.random.choice
        about = Label(
            subjects=pick(((MARLOES,), (FINN,), (MARLOES, FINN))),
            domain=pick((None, "finances", "parenting")),
            law=pick(("wmo", "jeugdwet", "wgs", "none")),
            sensitivity=pick(("normal", "normal", "normal", "restricted")),
            recorded_by=pick(
                (None, None, None, RecordedBy(organisation="kompas"), RecordedBy(organisation="gp", secrecy=True))
            ),
        )
        part = part_of(kind, about, part_id)
        if isinstance(part, Provision):
            return replace(part, individual=pick((True, False)), provider=pick((None, "kompas", "linde")))
        return part

    def _choice(self, choice_id: str) -> Choice:
        pick = self.random.choice
        named = (
            *TO.values(),
            RecipientSelector(type="organisation", organisation="linde"),
            RecipientSelector(type="kind", kind="backoffice"),
        )
        kinds = ((), (), ("safety",), ("provision",), ("goal", "worry", "support-question"), KINDS[2:16])
        ids = ((), (), (), ("deel-1",), ("deel-2", "deel-3"))
        selector = PartSelector(
            kinds=pick(kinds), domains=pick(((), ("finances",), ("parenting", "finances"))), part_ids=pick(ids)
        )
        day = (None, None, None, *(TODAY.fromordinal(TODAY.toordinal() + step) for step in (-1, 0, 1)))
        return Choice(
            id=choice_id,
            recipient=pick(named),
            effect=pick(("permit", "permit", "deny")),
            given_by=GivenBy(capacity=pick(CAPACITIES), person=pick(("p", "q")), mandate="m"),
            parts=pick(((), (selector,), (selector,), (selector, PartSelector(kinds=("provision",))))),
            purpose=pick((None, None, "support", "decision")),
            starts_on=pick(day),
            ends_on=pick(day),
        )

    def question(self, number: int) -> Question:
        """Deal case `number`: the same for the same deck."""
        hand = Random(number)
        parts = {part.id: part for part in hand.sample(self.parts, 3)}
        people = [hand.choice(each) for each in self.identities.values()][: hand.choice((1, 2, 2, 2, 2))]
        return Question(
            plan=SupportPlan(
                id="plan",
                status=hand.choice(("decided", "decided", "decided", "agreed", "ended", "concept", "revoked")),
                residents=(MARLOES, FINN),
                parts=(*people, *parts.values()),
                instrument="plan-van-aanpak",
            ),
            recipient=hand.choice(self.recipients),
            purpose=hand.choice(("support", "support", "decision", "evaluation")),
            choices={who: tuple(hand.sample(deck, hand.randrange(9))) for who, deck in self.choices.items()},
            grounds=hand.randrange(len(GROUND_SETS)),
            now=NOON,
            signed=hand.random() < 0.3,
        )


def test_decide_agrees_with_the_simple_rules_on_ten_thousand_cases() -> None:
    """The same cases every time, and among them every reason many times over."""
    deck = Deck(seed=2026)
    counts: dict[str, int] = dict.fromkeys(get_args(ReasonCode), 0)
    for number in range(10_000):
        for found in check(deck.question(number)):
            counts[found] += 1
    assert min(counts.values()) > 100, counts


def test_parts_that_look_alike_are_decided_as_if_each_were_asked_about_alone() -> None:
    """Whether a choice or a ground names one of them, and whatever a provision or an identity is about."""
    deck = Deck(seed=11)
    both = Label(subjects=(MARLOES, FINN))
    for number in range(600):
        dealt = deck.question(number)
        people = [part for part in dealt.plan.parts if isinstance(part, Identity)]
        alike = [part for part in Random(number).sample(deck.parts, 6) for _ in range(3)]
        alike += [replace(part, label=both) for part in people]
        parts = tuple(replace(part, id=f"deel-{position}") for position, part in enumerate(alike))
        question = replace(dealt, plan=replace(dealt.plan, parts=parts))
        case = question.case()
        assert question.answers() == {part.id: decide(part, case) for part in parts}


# --- monotonicity ---------------------------------------------------------------------------------------------------------------


def permitted(question: Question) -> set[str]:
    """Return the ids of the parts that may go."""
    return {part_id for part_id, decision in question.answers().items() if decision.permitted}


def with_choices(question: Question, who: str, said: Sequence[Choice]) -> Question:
    """Return the question with other choices of one resident."""
    return msgspec.structs.replace(question, choices={**question.choices, who: tuple(said)})


def two_voiced(question: Question) -> bool:
    """Say whether a case asks two voices, of which the first silences the second: a defect with a claim of its own above."""
    today = amsterdam_day(question.now)
    ages = [
        age_on(part.birth_date, today) for part in question.plan.parts if isinstance(part, Identity) and part.birth_date
    ]
    return any(12 <= years < 16 for years in ages) and bool(question.grounds)


DECK = Deck(seed=7)


def test_adding_a_denial_never_widens() -> None:
    """Whatever the rest says."""
    for number in range(1_200):
        question = DECK.question(number)
        extra = [choice for who in (MARLOES, FINN) for choice in DECK.choices[who] if choice.effect == "deny"]
        denial = extra[number % len(extra)]
        who = (MARLOES, FINN)[number % 2]
        more = with_choices(question, who, (*question.choices[who], replace(denial, id="extra")))
        assert permitted(more) <= permitted(question), question.digest()


def test_removing_a_permit_never_widens() -> None:
    """Whatever the rest says. Where two voices are asked and an objection suspends a ground, see the claim marked as failing."""
    compared = 0
    for number in range(1_200):
        question = DECK.question(number)
        for who in (MARLOES, FINN):
            left = [choice for choice in question.choices[who] if choice.effect == "deny"]
            one = next((choice for choice in question.choices[who] if choice.effect == "permit"), None)
            fewer = [choice for choice in question.choices[who] if choice is not one]
            if one and not two_voiced(question):
                assert permitted(with_choices(question, who, fewer)) <= permitted(question), question.digest()
                assert permitted(with_choices(question, who, left)) <= permitted(question), question.digest()
                compared += 1
    assert compared > 300


def test_the_order_of_choices_selectors_and_parts_does_not_matter() -> None:
    """Decisions come by part id, and say the same to the letter."""
    for number in range(1_000):
        question, shuffle = DECK.question(number), Random(number).shuffle
        choices = {}
        for who, said in question.choices.items():
            turned = [replace(choice, parts=choice.parts[::-1]) for choice in said]
            shuffle(turned)
            choices[who] = tuple(turned)
        parts = list(question.plan.parts)
        shuffle(parts)
        other = msgspec.structs.replace(question, plan=replace(question.plan, parts=tuple(parts)), choices=choices)
        answers = question.answers()
        assert other.answers() == answers, question.digest()
        assert all(decision.part_id == part_id for part_id, decision in answers.items())
        assert set(answers) == {part.id for part in parts}


@busy
@given(question=questions(), data=st.data())
def test_on_generated_plans_a_denial_never_widens_and_order_does_not_matter(
    question: Question, data: st.DataObject
) -> None:
    """The same claims, on any plan."""
    who = data.draw(st.sampled_from(question.plan.residents))
    named = RecipientSelector(type="organisation", organisation=question.recipient.organisation)
    to = data.draw(st.sampled_from([*TO.values(), named]))
    by = GivenBy(capacity=data.draw(st.sampled_from(CAPACITIES)), person=data.draw(st.sampled_from(("p", "q"))))
    denial = Choice(id="extra", recipient=to, effect="deny", given_by=by)
    more = with_choices(question, who, (*question.choices[who], denial))
    assert permitted(more) <= permitted(question)
    turned = msgspec.structs.replace(question, plan=replace(question.plan, parts=question.plan.parts[::-1]))
    assert turned.answers() == question.answers()


def test_what_nobody_looked_up_is_an_error_and_not_a_silence() -> None:
    """Whoever asks must have looked at the choices of every resident."""
    with pytest.raises(KeyError):
        open_case(plan_of(worry()), KOMPAS, "support", {MARLOES: ChoiceIndex(())}, (), NOON)


def test_the_most_specific_of_nothing_is_nothing() -> None:
    """An empty answer is a silence."""
    assert most_specific(()) == ()


def test_the_narrow_grounds_of_these_tests_carry_something() -> None:
    """A table that never fires proves nothing."""
    assert (
        ask(HERS, others=[provision()], recipient=BACKOFFICE, purpose="decision", grounds=NARROW).entry
        == "wmo-decision"
    )
