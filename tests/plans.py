"""Plans that could exist, made by hypothesis: `from plans import support_plans`.

Every reference inside a plan holds, ids are FHIR ids, texts are what a person can type, BSNs come from the test range, and parts
stand in the order of `mappings.bundle.in_order`.
"""

from datetime import UTC, date, datetime
from functools import cache
from string import ascii_letters, digits
from typing import Any, get_args

import msgspec
from hypothesis import strategies as st

from mappings import codes
from mappings.bundle import in_order
from mappings.identifiers import AGB_SYSTEM, BSN_TEST_RANGE, OIN_SYSTEM, Bsn, IdentifierError
from mappings.plan import (
    Action,
    Actor,
    Agreement,
    Analysis,
    AnyPart,
    Contact,
    DesiredResult,
    EarlierHelp,
    Evaluation,
    FormalDecision,
    Goal,
    Identifier,
    Identity,
    Label,
    Occasion,
    Organisation,
    Provision,
    RecordedBy,
    Relative,
    Safety,
    Score,
    Signal,
    Strength,
    SupportPlan,
    SupportQuestion,
    TeamMember,
    Volume,
    Worry,
    contact_id,
    identity_id,
)


def _is_bsn(number: int) -> bool:
    try:
        Bsn(str(number))
    except IdentifierError:
        return False
    return True


TEST_BSNS = tuple(str(number) for number in BSN_TEST_RANGE if _is_bsn(number))
STATEMENTS = (Occasion, SupportQuestion, Strength, Worry, Analysis, DesiredResult, Signal)

texts = st.text(alphabet=ascii_letters + digits + " .,;:?!-'()/’éëïöü€\n", min_size=1, max_size=40).filter(
    lambda text: text == text.strip()
)
words = st.text(alphabet=ascii_letters + "éëï-", min_size=1, max_size=12)
days = st.dates(min_value=date(1930, 1, 1), max_value=date(2040, 12, 31))
moments = st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
maybe_texts, maybe_days = st.none() | texts, st.none() | days


def _one_of(literal: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(get_args(literal))


@st.composite
def organisations(draw: st.DrawFn, organisation: str) -> Organisation:
    """An organisation with at most two identifiers."""
    numbers = st.sampled_from(
        (
            Identifier(system=AGB_SYSTEM, value="12345678"),
            Identifier(system=OIN_SYSTEM, value="00000099000000001000"),
            Identifier(system="https://voorbeeld.nl/nummers", value="A-1"),
        )
    )
    return Organisation(
        id=organisation,
        name=draw(texts),
        kind=draw(st.none() | _one_of(codes.OrganisationKind)),
        identifiers=tuple(draw(st.lists(numbers, max_size=2, unique_by=lambda each: each.system))),
    )


class People:
    """Who can be named in one plan. Strategies are made once: making one costs more than drawing from it."""

    def __init__(self, residents: int, relatives: int, members: int, organisations: int) -> None:
        self.residents = tuple(f"bewoner-{number}" for number in range(residents))
        self.relatives = tuple(f"naaste-{number}" for number in range(relatives))
        self.members = tuple(f"lid-{number}" for number in range(members))
        self.organisations = tuple(f"org.{number}" for number in range(organisations))

    @cache  # noqa: B019
    def actors(self) -> st.SearchStrategy[Actor]:
        """Anybody, or somebody of whom only the kind is known."""
        named = (
            *(Actor(type="resident", ref=ref) for ref in self.residents),
            *(Actor(type="relative", ref=ref) for ref in self.relatives),
            *(Actor(type="professional", ref=ref) for ref in self.members),
            *(Actor(type="organisation", ref=ref) for ref in self.organisations),
        )
        return st.sampled_from(named) | st.builds(Actor, type=_one_of(codes.ActorType))

    @cache  # noqa: B019
    def some(self, ids: tuple[str, ...], *, least: int = 0) -> st.SearchStrategy[tuple[str, ...]]:
        """Some of these ids, in their own order."""
        chosen = st.lists(st.sampled_from(ids), min_size=least, max_size=3, unique=True) if ids else st.just([])
        return chosen.map(lambda found: tuple(sorted(found, key=ids.index)))

    @cache  # noqa: B019
    def recorders(self) -> st.SearchStrategy[RecordedBy | None]:
        """An organisation of the plan, or nobody."""
        if not self.organisations:
            return st.none()
        return st.none() | st.builds(
            RecordedBy, organisation=st.sampled_from(self.organisations), secrecy=st.booleans()
        )

    @cache  # noqa: B019
    def labels(self, subjects: tuple[str, ...] | None = None) -> st.SearchStrategy[Label]:
        """A label about some residents, or about exactly these."""
        return st.builds(
            Label,
            subjects=st.just(subjects) if subjects else self.some(self.residents, least=1),
            domain=st.none() | _one_of(codes.Domain),
            law=_one_of(codes.Law),
            mentioned=self.some(self.relatives),
            sensitivity=_one_of(codes.Sensitivity),
            speaker=st.none() | self.actors(),
            recorded_by=self.recorders(),
        )

    @cache  # noqa: B019
    def identities(self, resident: str) -> st.SearchStrategy[Identity]:
        """The identity of one resident."""
        return st.builds(
            Identity,
            id=st.just(identity_id(resident)),
            label=self.labels((resident,)),
            resident=st.just(resident),
            bsn=st.none() | st.sampled_from(TEST_BSNS),
            pseudonym=st.none() | words,
            given=maybe_texts,
            prefix=st.none() | st.sampled_from(("de", "van der", "'t")),
            family=maybe_texts,
            birth_date=maybe_days,
            gender=st.none() | _one_of(codes.Gender),
        )

    @cache  # noqa: B019
    def contacts(self, resident: str) -> st.SearchStrategy[Contact]:
        """The contact details of one resident."""
        return st.builds(
            Contact,
            id=st.just(contact_id(resident)),
            label=self.labels((resident,)),
            resident=st.just(resident),
            street=maybe_texts,
            house_number=st.none() | st.sampled_from(("1", "12a", "3 bis")),
            postal_code=st.none() | st.just("1234 AB"),
            city=maybe_texts,
            municipality=st.none() | st.sampled_from(("0363", "0518")),
            phone=st.none() | st.just("0612345678"),
            email=st.none() | st.just("iemand@voorbeeld.nl"),
        )

    @cache  # noqa: B019
    def household(self, relative: str) -> st.SearchStrategy[Relative]:
        """One relative."""
        return st.builds(
            Relative,
            id=st.just(relative),
            label=self.labels(),
            relation=_one_of(codes.Relation),
            name=maybe_texts,
            carer=st.booleans(),
            agreed=st.booleans(),
            phone=st.none() | st.just("0201234567"),
            email=st.none() | st.just("naaste@voorbeeld.nl"),
        )

    @cache  # noqa: B019
    def team(self, member: str) -> st.SearchStrategy[TeamMember]:
        """One team member."""
        return st.builds(
            TeamMember,
            id=st.just(member),
            label=self.labels(),
            role=_one_of(codes.TeamRole),
            name=maybe_texts,
            function=maybe_texts,
            organisation=(st.none() | st.sampled_from(self.organisations)) if self.organisations else st.none(),
            coordinator=st.booleans(),
            fixed_contact=st.booleans(),
            starts_on=maybe_days,
            ends_on=maybe_days,
        )

    @cache  # noqa: B019
    def content(self, goals: tuple[str, ...]) -> st.SearchStrategy[AnyPart]:
        """One part about something else than people; `goals` are the goals that it can serve."""
        known = {"id": st.just("deel"), "label": self.labels()}
        served, actor, maybe_actor = self.some(goals), self.actors(), st.none() | self.actors()
        providers = (st.none() | st.sampled_from(self.organisations)) if self.organisations else st.none()
        volume = st.builds(Volume, value=st.integers(0, 40), unit=words, per=st.none() | words)
        period = {"starts_on": maybe_days, "ends_on": maybe_days}
        term = {"starts_on": maybe_days, "due_on": maybe_days}
        return st.one_of(
            *(st.builds(kind, **known, text=texts, since=maybe_days, consequence=maybe_texts) for kind in STATEMENTS),
            st.builds(EarlierHelp, **known, **period, text=texts, by=maybe_texts, result=maybe_texts),
            st.builds(
                Action,
                **known,
                **term,
                text=texts,
                owner=actor,
                goals=served,
                status=_one_of(codes.ActionStatus),
                status_reason=maybe_texts,
                frequency=maybe_texts,
            ),
            st.builds(
                Provision,
                **known,
                **period,
                text=texts,
                individual=st.booleans(),
                status=_one_of(codes.ProvisionStatus),
                delivery=st.none() | _one_of(codes.Delivery),
                provider=providers,
                goals=served,
                volume=st.none() | volume,
            ),
            st.builds(Evaluation, **known, planned_on=days, held_on=maybe_days, outcome=maybe_texts),
            st.builds(Score, **known, scale=words, value=st.integers(0, 10), measured_on=maybe_days),
            st.builds(
                Safety,
                **known,
                **term,
                aspect=_one_of(codes.SafetyAspect),
                text=maybe_texts,
                value=st.none() | st.integers(0, 10),
                owner=maybe_actor,
                place=maybe_texts,
                watched_by=maybe_actor,
                consequence=maybe_texts,
            ),
            st.builds(Agreement, **known, by=actor, on=days, agreed=st.booleans(), view=maybe_texts),
            st.builds(FormalDecision, **known, **period, reference=words, text=maybe_texts, decided_on=maybe_days),
        )

    @cache  # noqa: B019
    def goal(self, part: str) -> st.SearchStrategy[Goal]:
        """One goal."""
        return st.builds(
            Goal,
            id=st.just(part),
            label=self.labels(),
            text=texts,
            status=_one_of(codes.GoalStatus),
            term=st.none() | _one_of(codes.Term),
            starts_on=maybe_days,
            due_on=maybe_days,
        )


@cache
def _people(residents: int, relatives: int, members: int, organisations: int) -> People:
    return People(residents, relatives, members, organisations)


@st.composite
def support_plans(draw: st.DrawFn) -> SupportPlan:
    """A valid plan of one to three residents, with up to twelve parts beside its people."""
    people = _people(*(draw(st.integers(least, 3)) for least in (1, 0, 0, 0)))
    parts: list[AnyPart] = []
    for resident in people.residents:
        parts += draw(st.lists(people.identities(resident), max_size=1))
        parts += draw(st.lists(people.contacts(resident), max_size=1))
    parts += [draw(people.household(relative)) for relative in people.relatives]
    parts += [draw(people.team(member)) for member in people.members]
    goals = tuple(f"doel-{number}" for number in range(draw(st.integers(0, 3))))
    parts += [draw(people.goal(goal)) for goal in goals]
    content = draw(st.lists(people.content(goals), max_size=8))
    parts += [msgspec.structs.replace(part, id=f"deel-{number}") for number, part in enumerate(content)]
    version = draw(st.integers(0, 9))
    plan = SupportPlan(
        id="plan-1",
        status=draw(_one_of(codes.PlanStatus)),
        residents=people.residents,
        parts=tuple(parts),
        instrument=draw(st.sampled_from(("plan-van-aanpak", "wat-telt"))),
        version=version,
        changed_at=draw(moments) if version else None,
        source=draw(st.sampled_from(people.organisations)) if people.organisations else None,
        number=draw(st.none() | words),
        starts_on=draw(maybe_days),
        ends_on=draw(maybe_days),
        organisations=tuple(draw(organisations(each)) for each in people.organisations),
    )
    return in_order(plan)
