"""One question, one function: may this recipient have this part, now, for this purpose? Every exit asks it here.

The order is fixed: own data, authored, the phase of the plan, a ground in law, consent of every subject; otherwise no.
A decision is a value with its reasons and the id of the part that it is about; it is never matched by position.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Literal

from msgspec.structs import replace

from consent.catalogue import CatalogueEntry, EnabledGround, Ground
from consent.choice import Capacity, Choice
from consent.index import (
    ChoiceIndex,
    PartKey,
    Parts,
    Recipient,
    Speaker,
    guarded,
    keys_of_part,
    matches,
    most_specific,
)
from consent.voices import UNKNOWN, age_on, amsterdam_day, voices_needed
from mappings.codes import Law, OrganisationKind, PlanStatus, Purpose
from mappings.plan import AnyPart, Identity, Label, Provision, Record, SupportPlan

ReasonCode = Literal[
    "own-data",
    "authored",
    "ground-in-law",
    "consent",
    "plan-is-concept",
    "plan-not-decided",
    "plan-is-revoked",
    "objection",
    "no-choice",
    "not-every-subject",
    "safety-not-named",
    "age-unknown",
]
"""The published reasons; the first four permit."""


class ChoiceRef(Record, frozen=True):
    """Which version of which choice."""

    id: str
    version: int


class Decision(Record, frozen=True):
    """The answer about one part, with its reasons. `starts_on` and `ends_on`: the days between which the answer rests on a period."""

    part_id: str
    permitted: bool
    code: ReasonCode
    ground: Ground | None = None
    article: str | None = None
    entry: str | None = None
    choices: tuple[ChoiceRef, ...] = ()
    starts_on: date | None = None
    ends_on: date | None = None


class Case(Record, frozen=True):
    """Everything beside the part that a decision looks at, gathered once for a plan, a recipient, a purpose and a moment."""

    recipient: Recipient
    today: date
    closed: ReasonCode | None
    grounds: tuple[EnabledGround, ...]
    named: frozenset[str]
    carried_parts: frozenset[str]
    carried_for: Mapping[Law, frozenset[str]]
    individual_for: Mapping[Law, frozenset[str]]
    ages: Mapping[str, int | None]
    heard: Mapping[str, Mapping[Speaker, tuple[Parts, ...]]]


class _Answer(Record, frozen=True):
    """What one subject says: yes, no, or nothing, with why."""

    code: ReasonCode
    choices: Sequence[Choice] = ()


def open_case(
    plan: SupportPlan,
    recipient: Recipient,
    purpose: Purpose,
    choices: Mapping[str, ChoiceIndex],
    grounds: tuple[EnabledGround, ...],
    now: datetime,
    *,
    signed_is_decision: bool = False,
) -> Case:
    """Gather what every decision of this plan for this recipient needs.

    `choices` maps resident id to that resident's compiled choices; `now` is aware. Raises KeyError when a resident's choices are missing:
    whoever asks must have looked.
    """
    individual = [part for part in plan.parts if isinstance(part, Provision) and part.individual]
    carried = [part for part in individual if part.provider == recipient.organisation]
    assigned = [part for part in carried if part.status in _ASSIGNED]
    today = amsterdam_day(now)
    enabled = tuple(
        ground
        for ground in grounds
        if recipient.kind in ground.organisation_kinds and purpose in ground.purposes
        if assigned or ground.entry.reach != "carried"
    )
    by_grounds = (selector.part_ids for ground in enabled for selector in ground.parts)
    return Case(
        recipient=recipient,
        today=today,
        closed=_closed_by_phase(
            plan.status, recipient, carries_individual=bool(carried), signed_is_decision=signed_is_decision
        ),
        grounds=enabled,
        named=frozenset().union(*by_grounds, *(choices[resident].named for resident in plan.residents)),
        carried_parts=frozenset(part.id for part in assigned),
        carried_for=_residents_by_law(assigned),
        individual_for=_residents_by_law(individual),
        ages={
            part.resident: age_on(part.birth_date, today) if part.birth_date else None
            for part in plan.parts
            if isinstance(part, Identity)
        },
        heard={resident: choices[resident].heard(recipient, purpose) for resident in plan.residents},
    )


_ASSIGNED = frozenset({"requested", "granted"})
"""An assignment ends with the provision: what was refused, stopped or ended is a ground for nothing new."""


def _residents_by_law(provisions: list[Provision]) -> dict[Law, frozenset[str]]:
    found: dict[Law, frozenset[str]] = {}
    for part in provisions:
        found[part.label.law] = found.get(part.label.law, frozenset()) | frozenset(part.label.subjects)
    return found


def decide(part: AnyPart, case: Case) -> Decision:
    """Say whether `case.recipient` may have `part`, and why."""
    recorder = part.label.recorded_by
    if case.recipient.resident is not None:
        own = case.recipient.resident in part.label.subjects
        return _by_ground(part, "own-data") if own else _withheld(part, "no-choice")
    if recorder and recorder.organisation == case.recipient.organisation:
        return _by_ground(part, "authored")
    if case.closed:
        return _withheld(part, case.closed)
    keys = keys_of_part(part)
    answers = [_answer(part, keys, subject, case) for subject in part.label.subjects]
    for ground in case.grounds:
        if _carries(ground, part, case) and not (ground.entry.objectable and _objected(answers)):
            return _by_law(part, ground)
    return _by_consent(part, answers)


def decide_all(plan: SupportPlan, case: Case) -> dict[str, Decision]:
    """Return the decision about every part of the plan, by part id; parts that `decide` cannot tell apart are decided once."""
    alike: dict[tuple[type[AnyPart], Label], Decision] = {}
    decisions: dict[str, Decision] = {}
    for part in plan.parts:
        if isinstance(part, _JUDGED_ALONE) or part.id in case.named:
            decisions[part.id] = decide(part, case)
        elif first := alike.get((type(part), part.label)):
            decisions[part.id] = replace(first, part_id=part.id)
        else:
            decisions[part.id] = alike[type(part), part.label] = decide(part, case)
    return decisions


# INVARIANT: of any other part `decide` looks at its kind and its label, and at its id only when a choice or a ground names it.
_JUDGED_ALONE = (Identity, Provision)


_OPEN_TO_BACKOFFICE: frozenset[OrganisationKind] = frozenset({"backoffice", "municipality"})


def _closed_by_phase(
    status: PlanStatus, recipient: Recipient, *, carries_individual: bool, signed_is_decision: bool
) -> ReasonCode | None:
    """Concepts do not travel; who carries individual provisions waits for the decision, or for the signature that is it."""
    match status:
        case "concept":
            return "plan-is-concept"
        case "revoked":
            return "plan-is-revoked"
        case "agreed" if carries_individual and recipient.kind not in _OPEN_TO_BACKOFFICE:
            return None if signed_is_decision else "plan-not-decided"
        case _:
            return None


def _objected(answers: list[_Answer]) -> bool:
    return any(answer.code == "objection" for answer in answers)


def _carries(ground: EnabledGround, part: AnyPart, case: Case) -> bool:
    entry, label = ground.entry, part.label
    if part.kind not in entry.kinds or (entry.law and label.law not in {entry.law, "none"}):
        return False
    if not any(_listed(selector.kinds, part.kind) and _listed(selector.domains, label.domain) and
               _listed(selector.part_ids, part.id) for selector in ground.parts):  # fmt: skip
        return False
    if guarded(part) and not entry.restricted:
        return False
    if label.recorded_by and label.recorded_by.secrecy and not entry.secrecy_lifted_by:
        return False
    return _reaches(entry, part, case)


def _reaches(entry: CatalogueEntry, part: AnyPart, case: Case) -> bool:
    law = entry.law or "none"
    match entry.reach:
        case "plan":
            return True
        case "individual":
            general = isinstance(part, Provision) and not part.individual
            return not general and case.individual_for.get(law, frozenset()).issuperset(part.label.subjects)
        case "carried":
            is_person = isinstance(part, Identity) and part.resident in case.carried_for.get(law, frozenset())
            return is_person or part.id in case.carried_parts


def _listed(names: tuple[str, ...], name: str | None) -> bool:
    return not names or name in names


def _answer(part: AnyPart, keys: tuple[PartKey, ...], subject: str, case: Case) -> _Answer:
    """Say what one subject says about `part`: every voice must say yes, and a no of anybody who may speak is a no.

    Without a birth date nobody can say who may speak: then an objection of anybody counts, and a permit of nobody does.
    """
    age = case.ages.get(subject)
    voices = voices_needed(part.label.law, age) if age is not None else UNKNOWN
    choices: list[Choice] = []
    spoken: set[Capacity] = set()
    for (capacity, _), said in case.heard[subject].items():
        if capacity in voices.may_speak and (found := matches(said, part, keys, case.today)):
            choices += [match.choice for match in most_specific(found)]
            spoken.add(capacity)
    denials = [choice for choice in choices if choice.effect == "deny"]
    if denials:
        return _Answer(code="objection", choices=denials)
    if age is None:
        return _AGE_UNKNOWN
    for voice in voices.needed:
        if voice.isdisjoint(spoken):
            return _NOT_NAMED if guarded(part) else _SILENCE
    return _Answer(code="consent", choices=choices)


_AGE_UNKNOWN = _Answer(code="age-unknown")
_NOT_NAMED = _Answer(code="safety-not-named")
_SILENCE = _Answer(code="no-choice")


def _by_consent(part: AnyPart, answers: list[_Answer]) -> Decision:
    codes = {answer.code for answer in answers}
    if codes != {"consent"}:
        objections = [choice for answer in answers if answer.code == "objection" for choice in answer.choices]
        return _withheld(part, _worst(codes), objections)
    given = [choice for answer in answers for choice in answer.choices]
    return Decision(
        part_id=part.id,
        permitted=True,
        code="consent",
        ground="consent",
        article="AVG art. 6(1)(a)",
        choices=_refs(given),
        starts_on=max([choice.starts_on for choice in given if choice.starts_on], default=None),
        ends_on=min([choice.ends_on for choice in given if choice.ends_on], default=None),
    )


_GRAVEST_FIRST: tuple[ReasonCode, ...] = ("objection", "age-unknown", "safety-not-named")


def _worst(codes: set[ReasonCode]) -> ReasonCode:
    for code in _GRAVEST_FIRST:
        if code in codes:
            return code
    return "not-every-subject" if "consent" in codes else "no-choice"


def _refs(choices: Sequence[Choice]) -> tuple[ChoiceRef, ...]:
    if len(choices) == 1:
        return (ChoiceRef(id=choices[0].id, version=choices[0].version),)
    versions = {choice.id: choice.version for choice in choices}
    return tuple([ChoiceRef(id=choice_id, version=versions[choice_id]) for choice_id in sorted(versions)])


def _withheld(part: AnyPart, code: ReasonCode, choices: Sequence[Choice] = ()) -> Decision:
    return Decision(part_id=part.id, permitted=False, code=code, choices=_refs(choices) if choices else ())


def _by_ground(part: AnyPart, ground: Literal["own-data", "authored"]) -> Decision:
    article = {"own-data": "AVG art. 15", "authored": "own record"}[ground]
    return Decision(part_id=part.id, permitted=True, code=ground, ground=ground, article=article)


def _by_law(part: AnyPart, ground: EnabledGround) -> Decision:
    entry = ground.entry
    return Decision(
        part_id=part.id,
        permitted=True,
        code="ground-in-law",
        ground=entry.ground,
        article=entry.article,
        entry=entry.id,
    )
