"""The rules of sharing said as plainly as a program can, to hold `consent.decide` against: a second opinion, not a second engine.

One loop per sentence of DOMAIN.md section 6: no index, nothing shared between parts, nothing precomputed. It imports the records of
`consent` and none of its functions. At the end: choices, recipients and grounds to try both on.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import NamedTuple, get_args

from hypothesis import strategies as st

from consent.catalogue import CATALOGUE, EnabledGround, Ground, GroundSetting, enable_grounds
from consent.choice import Capacity, Choice, GivenBy, PartSelector, RecipientSelector
from consent.index import Recipient
from mappings.codes import DOMAINS, KINDS, OrganisationKind, Purpose
from mappings.plan import AnyPart, Identity, Provision, SupportPlan

WHO = ("all", "kind", "organisation", "role", "person")
CAPACITIES: tuple[Capacity, ...] = get_args(Capacity)


class Verdict(NamedTuple):
    """Whether, why, on which ground and entry, by whose choices."""

    permitted: bool
    code: str
    ground: Ground | None = None
    entry: str | None = None
    choices: frozenset[str] = frozenset()


def verdict(
    part: AnyPart,
    plan: SupportPlan,
    recipient: Recipient,
    purpose: Purpose,
    choices: Mapping[str, Sequence[Choice]],
    grounds: Sequence[EnabledGround],
    now: datetime,
    *,
    signed_is_decision: bool = False,
) -> Verdict:
    """Answer for one part, from nothing but the rules."""
    if recipient.resident:
        mine = recipient.resident in part.label.subjects
        return Verdict(mine, "own-data", "own-data") if mine else Verdict(False, "no-choice")
    if part.label.recorded_by and part.label.recorded_by.organisation == recipient.organisation:
        return Verdict(True, "authored", "authored")
    closed = closed_by_phase(plan, recipient, signed_is_decision)
    if closed:
        return Verdict(False, closed)
    today = dutch_day(now)
    said = [subject_says(part, who, plan, recipient, purpose, choices[who], today) for who in part.label.subjects]
    objected = any(each.code == "objection" for each in said)
    for ground in grounds:
        if objected and ground.entry.objectable:
            continue
        if ground_reaches(ground, part, plan, recipient, purpose):
            return Verdict(True, "ground-in-law", ground.entry.ground, ground.entry.id)
    permitted, code = together([each.code for each in said])
    counted = frozenset().union(*(each.choices for each in said if each.code == code))
    return Verdict(permitted, code, "consent" if permitted else None, choices=counted)


def closed_by_phase(plan: SupportPlan, recipient: Recipient, signed_is_decision: bool) -> str | None:
    """Concepts and revoked plans do not travel; who carries maatwerk waits for the decision, or for the signature that is it."""
    if plan.status in ("concept", "revoked"):
        return "plan-is-" + plan.status
    if plan.status != "agreed" or signed_is_decision or recipient.kind in ("backoffice", "municipality"):
        return None
    for part in plan.parts:
        if isinstance(part, Provision) and part.individual and part.provider == recipient.organisation:
            return "plan-not-decided"
    return None


def together(codes: Sequence[str]) -> tuple[bool, str]:
    """A part goes only when every subject's answer is yes; otherwise the gravest reason is told."""
    if codes and all(code == "consent" for code in codes):
        return True, "consent"
    for code in ("objection", "age-unknown", "safety-not-named"):
        if code in codes:
            return False, code
    return False, "not-every-subject" if "consent" in codes else "no-choice"


class Said(NamedTuple):
    """What one subject says."""

    code: str
    choices: frozenset[str] = frozenset()


def subject_says(
    part: AnyPart,
    subject: str,
    plan: SupportPlan,
    recipient: Recipient,
    purpose: Purpose,
    choices: Sequence[Choice],
    today: date,
) -> Said:
    """Let everybody who must speak for one subject speak: a no of any of them is a no, a silence of any is a silence."""
    born = None
    for each in plan.parts:
        if isinstance(each, Identity) and each.resident == subject:
            born = each.birth_date
    people = sorted({(choice.given_by.capacity, choice.given_by.person) for choice in choices})
    needed = voices(part.label.law, born, today) if born else [list(CAPACITIES)]
    spoken = [
        (capacity, heard(part, [c for c in choices if (c.given_by.capacity, c.given_by.person) == (capacity, person)],
                         recipient, purpose, today))
        for capacity, person in people
        if any(capacity in voice for voice in needed)
    ]  # fmt: skip
    denied = frozenset(choice.id for _, found in spoken for choice in found if choice.effect == "deny")
    if denied:
        return Said("objection", denied)
    if born is None:
        return Said("age-unknown")
    if not all(any(found and capacity in voice for capacity, found in spoken) for voice in needed):
        return Said("safety-not-named" if is_guarded(part) else "no-choice")
    return Said("consent", frozenset(choice.id for _, found in spoken for choice in found))


def voices(law: str, born: date, today: date) -> list[list[Capacity]]:
    """Say who must speak: under 16 the parent or representative; under the Jeugdwet from 12 the child too; from 16 oneself."""
    years = age(born, today)
    if years >= 16:
        return [["resident", "representative"]]
    if law == "jeugdwet" and years >= 12:
        return [["resident"], ["parent", "representative"]]
    return [["parent", "representative"]]


@cache
def age(born: date, today: date) -> int:
    """Count the birthdays that have been."""
    return sum(birthday(born, year) <= today for year in range(born.year + 1, today.year + 1))


def birthday(born: date, year: int) -> date:
    """Return the birthday in a year; 1 March for who was born on a day that this year lacks."""
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return date(year, 3, 1) if (born.month, born.day) == (2, 29) and not leap else date(year, born.month, born.day)


def dutch_day(now: datetime) -> date:
    """Return the day in the Netherlands: an hour ahead of UTC, two between the last Sundays of March and October at 01:00 UTC."""
    now = now.astimezone(UTC)
    summer = last_sunday(now.year, 3) <= now < last_sunday(now.year, 10)
    return (now + timedelta(hours=2 if summer else 1)).date()


@cache
def last_sunday(year: int, month: int) -> datetime:
    """Return 01:00 UTC on the last Sunday of a month of 31 days."""
    return next(
        datetime(year, month, day, 1, tzinfo=UTC) for day in range(31, 24, -1) if date(year, month, day).weekday() == 6
    )


def heard(
    part: AnyPart,
    choices: Sequence[Choice],
    recipient: Recipient,
    purpose: Purpose,
    today: date,
) -> list[Choice]:
    """Return the choices of one person that count: those that no more specific one of the same person overrules."""
    found = []
    for choice in choices:
        if not is_meant(choice.recipient, recipient):
            continue
        if choice.purpose is not None and choice.purpose != purpose:
            continue
        if (choice.starts_on and today < choice.starts_on) or (choice.ends_on and today > choice.ends_on):
            continue
        for selector in choice.parts or [PartSelector()]:
            if is_selected(selector, part) and (choice.effect == "deny" or may_permit(selector, part)):
                place = (WHO.index(choice.recipient.type), how_specific(selector), choice.purpose is not None)
                found.append((place, choice))
    return [
        choice
        for place, choice in found
        if not any(other != place and all(a >= b for a, b in zip(other, place, strict=True)) for other, _ in found)
    ]


def is_meant(named: RecipientSelector, recipient: Recipient) -> bool:
    """Say whether a choice is about this recipient."""
    if named.type == "all":
        return True
    if named.type == "kind":
        return named.kind == recipient.kind
    if named.organisation != recipient.organisation:
        return False
    if named.type == "role":
        return named.role == recipient.role
    if named.type == "person":
        return named.person == recipient.person
    return True


def is_selected(selector: PartSelector, part: AnyPart) -> bool:
    """Say whether a part is of these kinds, in these domains, with these ids; an absent list means any."""
    if selector.part_ids and part.id not in selector.part_ids:
        return False
    if selector.kinds and part.kind not in selector.kinds:
        return False
    return not selector.domains or part.label.domain in selector.domains


def how_specific(selector: PartSelector) -> int:
    """Named part > kind and domain > either > all."""
    if selector.part_ids:
        return 3
    return bool(selector.kinds) + bool(selector.domains)


def is_guarded(part: AnyPart) -> bool:
    """Say whether sharing the plan leaves this part out."""
    return part.kind == "safety" or part.label.sensitivity == "restricted"


def may_permit(selector: PartSelector, part: AnyPart) -> bool:
    """A guarded part is permitted only by name: its id, or for a safety part the kind."""
    return (
        not is_guarded(part) or part.id in selector.part_ids or (part.kind == "safety" and "safety" in selector.kinds)
    )


def ground_reaches(
    ground: EnabledGround,
    part: AnyPart,
    plan: SupportPlan,
    recipient: Recipient,
    purpose: Purpose,
) -> bool:
    """Say whether a ground in law carries a part."""
    entry, label = ground.entry, part.label
    if recipient.kind not in ground.organisation_kinds or purpose not in ground.purposes:
        return False
    if recipient.kind not in entry.organisation_kinds or purpose not in entry.purposes or part.kind not in entry.kinds:
        return False
    if not any(is_selected(selector, part) for selector in ground.parts):
        return False
    if entry.law is not None and label.law not in (entry.law, "none"):
        return False
    if is_guarded(part) and not entry.restricted:
        return False
    if label.recorded_by and label.recorded_by.secrecy and entry.secrecy_lifted_by is None:
        return False
    if entry.reach == "individual":
        if isinstance(part, Provision) and not part.individual:
            return False
        return all(
            any(
                isinstance(each, Provision)
                and each.individual
                and each.label.law == entry.law
                and who in each.label.subjects
                for each in plan.parts
            )
            for who in label.subjects
        )
    if entry.reach == "carried":
        carried = [
            each
            for each in plan.parts
            if isinstance(each, Provision)
            and each.provider == recipient.organisation
            and each.individual
            and each.status in ("requested", "granted")
        ]
        if isinstance(part, Identity):
            return any(each.label.law == entry.law and part.resident in each.label.subjects for each in carried)
        return any(each.id == part.id for each in carried)
    return True


ALL_GROUNDS = enable_grounds(GroundSetting(id=entry.id) for entry in CATALOGUE)
ROLES, PERSONS = ("coach", "planner"), ("joost", "anouk")
NARROW = enable_grounds(
    [
        GroundSetting(id="wmo-decision", parts=(PartSelector(kinds=("identity",)), PartSelector(kinds=("provision",)))),
        GroundSetting(
            id="jeugdwet-decision", parts=(PartSelector(kinds=("support-question",), domains=("parenting",)),)
        ),
        GroundSetting(id="veilig-thuis-report", parts=(PartSelector(kinds=("safety",)),)),
    ]
)
GROUND_SETS = ((), ALL_GROUNDS, ALL_GROUNDS[2:4], NARROW)


@st.composite
def recipients(draw: st.DrawFn, plan: SupportPlan, *, residents: bool = True) -> Recipient:
    """An organisation of the plan or a stranger, with or without a role and a person; or a resident of the plan."""
    known = tuple(organisation.id for organisation in plan.organisations)
    return Recipient(
        organisation=draw(st.sampled_from((*known, "vreemd"))),
        kind=draw(st.none() | st.sampled_from(get_args(OrganisationKind))),
        role=draw(st.sampled_from((None, *ROLES))),
        person=draw(st.sampled_from((None, *PERSONS))),
        bsn_article=draw(st.sampled_from((None, None, "Wmo 2015 art. 5.2.9"))),
        resident=draw(st.sampled_from((None, None, *plan.residents))) if residents else None,
    )


def selectors(plan: SupportPlan) -> st.SearchStrategy[PartSelector]:
    """Kinds, domains and ids, mostly of this plan."""
    kinds = tuple({part.kind for part in plan.parts} | {"safety"})
    kinds = tuple(sorted(kinds, key=KINDS.index))
    domains = tuple(sorted({part.label.domain for part in plan.parts if part.label.domain}, key=DOMAINS.index))
    ids = tuple(part.id for part in plan.parts) or ("deel",)
    some_kinds = st.just(("safety",)) | st.lists(st.sampled_from(kinds), max_size=3, unique=True).map(tuple)
    some_domains = st.lists(st.sampled_from(domains or DOMAINS), max_size=3, unique=True).map(tuple)
    some_ids = st.just(()) | st.lists(st.sampled_from(ids), max_size=3, unique=True).map(tuple)
    return st.builds(PartSelector, kinds=some_kinds, domains=some_domains, part_ids=some_ids)


@st.composite
def choice_sets(
    draw: st.DrawFn, plan: SupportPlan, recipient: Recipient, today: date, *, most: int = 5
) -> dict[str, tuple[Choice, ...]]:
    """Choices of every resident, most of them about this recipient."""
    named = [
        RecipientSelector(type="all"),
        RecipientSelector(type="organisation", organisation=recipient.organisation),
        RecipientSelector(type="organisation", organisation="ander"),
        RecipientSelector(type="role", organisation=recipient.organisation, role=recipient.role or "coach"),
        RecipientSelector(type="person", organisation=recipient.organisation, person=recipient.person or "joost"),
        RecipientSelector(type="kind", kind=recipient.kind or "school"),
    ]
    days = st.sampled_from((None, None, *(today + timedelta(days=step) for step in (-40, -1, 0, 1, 40))))
    one = st.builds(
        Choice,
        recipient=st.sampled_from(named),
        effect=st.sampled_from(("permit", "permit", "deny")),
        given_by=st.builds(
            GivenBy, capacity=st.sampled_from(CAPACITIES), person=st.sampled_from(("p", "q")), mandate=st.just("m")
        ),
        parts=st.lists(selectors(plan), max_size=2).map(tuple),
        purpose=st.sampled_from((None, None, *get_args(Purpose))),
        starts_on=days,
        ends_on=days,
    )
    return {who: numbered(who, draw(st.lists(one, max_size=most))) for who in plan.residents}


def numbered(who: str, choices: Sequence[Choice]) -> tuple[Choice, ...]:
    """Return the choices with an id each."""
    return tuple(_numbered(who, choices))


def _numbered(who: str, choices: Sequence[Choice]) -> Iterator[Choice]:
    for number, choice in enumerate(choices):
        yield Choice(
            **{name: getattr(choice, name) for name in choice.__struct_fields__}
            | {"id": f"{who}-{number}", "version": 1}
        )
