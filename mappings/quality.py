"""The quality report of a plan: what a professional may want to look at again, before the plan is shared.

It never blocks: the plan is the resident's. A finding names a part and a rule; its sentences, in B1 Dutch and in English, hold
nothing of what the plan says. Rules: DOMAIN.md section 5, drawn from the instruments in the seeds; the safety rules from the
Veilig Verder Plan.
"""

import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import Literal

from msgspec import Struct

from mappings.plan import Action, Agreement, Evaluation, Goal, Provision, Safety, SupportPlan, TeamMember, Worry

Severity = Literal["warning", "information"]
Hit = tuple[str, str | None]
"""(code, part id or None for the plan as a whole)."""


class QualityFinding(Struct, frozen=True, kw_only=True):
    """One thing to look at; `part` is a part id, None for the plan as a whole."""

    code: str
    severity: Severity
    part: str | None
    nl: str
    en: str


CATALOGUE: dict[str, tuple[Severity, str, str]] = {
    "goal-not-positive": (
        "information",
        "Dit doel zegt wat er weg moet. Schrijf liever op wat iemand wil bereiken.",
        "This goal says what should go away. Rather write down what somebody wants to reach.",
    ),
    "goal-without-domain": (
        "warning",
        "Dit doel heeft nog geen leefgebied. Kies er een.",
        "This goal has no life domain yet. Choose one.",
    ),
    "goal-without-speaker": (
        "warning",
        "Bij dit doel staat niet wie het wil. Vul dat in.",
        "This goal does not say who wants it. Fill that in.",
    ),
    "goal-without-action": (
        "warning",
        "Bij dit doel hoort nog geen actie. Spreek af wie wat gaat doen.",
        "No action serves this goal yet. Agree on who does what.",
    ),
    "action-without-who": (
        "warning",
        "Bij deze actie staat niet wie het doet. Vul dat in.",
        "This action does not say who does it. Fill that in.",
    ),
    "action-without-when": (
        "warning",
        "Bij deze actie staat niet wanneer. Kies een datum of schrijf op hoe vaak.",
        "This action does not say when. Choose a date or write down how often.",
    ),
    "action-without-goal": (
        "warning",
        "Deze actie hoort nog niet bij een doel. Kies een doel.",
        "This action does not serve a goal yet. Choose one.",
    ),
    "actions-contradict": (
        "warning",
        "Deze actie staat twee keer in het plan, met een andere persoon of een andere datum. Kies wat klopt.",
        "This action stands in the plan twice, with another person or another date. Choose what is right.",
    ),
    "provision-without-goal": (
        "warning",
        "Deze maatwerkvoorziening hoort nog niet bij een doel. Kies een doel.",
        "This individual provision does not serve a goal yet. Choose one.",
    ),
    "no-coming-evaluation": (
        "warning",
        "Er is geen moment afgesproken om terug te kijken. Kies een datum.",
        "No moment to look back has been agreed. Choose a date.",
    ),
    "evaluation-due-coordinator": (
        "warning",
        "Het is tijd om terug te kijken op het plan. De coördinator is aan zet.",
        "It is time to look back on the plan. It is up to the coordinator.",
    ),
    "evaluation-due-team": (
        "warning",
        "Het is tijd om terug te kijken op het plan. Het wijkteam is aan zet, want er is geen coördinator.",
        "It is time to look back on the plan. It is up to the neighbourhood team, for there is no coordinator.",
    ),
    "no-coordinator": (
        "warning",
        "Er is nog niemand die de regie heeft. Kies één persoon.",
        "Nobody coordinates yet. Choose one person.",
    ),
    "several-coordinators": (
        "warning",
        "Meer dan één persoon heeft de regie. Kies één persoon.",
        "More than one person coordinates. Choose one person.",
    ),
    "no-fixed-contact": (
        "warning",
        "Er is nog geen vaste contactpersoon. Kies één persoon.",
        "There is no fixed contact yet. Choose one person.",
    ),
    "several-fixed-contacts": (
        "warning",
        "Er is meer dan één vaste contactpersoon. Kies één persoon.",
        "There is more than one fixed contact. Choose one person.",
    ),
    "no-safety-plan": (
        "warning",
        "Er is een zorg over veiligheid, maar er zijn geen afspraken over veiligheid. Maak die samen.",
        "There is a worry about safety, and no safety plan. Make one together.",
    ),
    "safety-goals-missing": (
        "warning",
        (
            "Er zijn afspraken over veiligheid, maar niet alle doelen daarvoor: de afspraken volgen, het gevaar stoppen, "
            "de oorzaak aanpakken en herstel na schade."
        ),
        (
            "There is a safety plan, but not every goal of the goals check: keep to the agreements, end the acute unsafety, "
            "treat the underlying problem, aftercare for harm."
        ),
    ),
    "safety-agreement-without-who": (
        "warning",
        "Bij deze veiligheidsafspraak staat niet wie het doet. Vul dat in.",
        "This safety agreement does not say who does it. Fill that in.",
    ),
    "safety-agreement-without-what": (
        "warning",
        "Bij deze veiligheidsafspraak staat niet wat er is afgesproken. Vul dat in.",
        "This safety agreement does not say what is agreed. Fill that in.",
    ),
    "safety-agreement-without-where": (
        "warning",
        "Bij deze veiligheidsafspraak staat niet waar. Vul dat in.",
        "This safety agreement does not say where. Fill that in.",
    ),
    "safety-agreement-without-when": (
        "warning",
        "Bij deze veiligheidsafspraak staat niet wanneer. Vul dat in.",
        "This safety agreement does not say when. Fill that in.",
    ),
    "safety-agreement-without-watcher": (
        "warning",
        "Bij deze veiligheidsafspraak staat niet wie erop let. Vul dat in.",
        "This safety agreement does not say who watches over it. Fill that in.",
    ),
    "safety-agreement-without-consequence": (
        "warning",
        "Bij deze veiligheidsafspraak staat niet wat er gebeurt als het niet lukt. Vul dat in.",
        "This safety agreement does not say what follows if it is broken. Fill that in.",
    ),
    "not-agreed": (
        "warning",
        "De inwoner heeft nog geen akkoord gegeven op dit plan.",
        "The resident has not agreed to this plan yet.",
    ),
    "refused": (
        "warning",
        "De inwoner is het niet eens met dit plan.",
        "The resident does not agree with this plan.",
    ),
    "agreed-earlier-version": (
        "information",
        "Het plan is veranderd nadat de inwoner akkoord gaf. Bespreek wat er anders is.",
        "The plan has changed since the resident agreed. Talk about what is different.",
    ),
}
"""Code → severity, Dutch, English."""

_NEGATIVE = re.compile(r"\b(?:niet|geen|nooit|niemand|stopt? met|stoppen met)\b")
_NEGATIVE_STEMS = ("niet", "geen", "nooit", "niemand", "stop")
_OPEN_GOALS = frozenset({"proposed", "active", "on-hold"})
_OPEN_ACTIONS = frozenset({"requested", "accepted", "in-progress", "on-hold"})
_RUNNING_PLANS = frozenset({"agreed", "decided"})
_SAFETY_GOALS = 4
"""The goals check of the Veilig Verder Plan names four."""


def check_quality(plan: SupportPlan, today: date) -> tuple[QualityFinding, ...]:
    """Return what deserves another look, rule by rule in the order of the plan."""
    return tuple(_finding(code, part) for rule in _RULES for code, part in rule(plan, today))


def _finding(code: str, part: str | None) -> QualityFinding:
    severity, nl, en = CATALOGUE[code]
    return QualityFinding(code=code, severity=severity, part=part, nl=nl, en=en)


def _goals(plan: SupportPlan, _: date) -> Iterator[Hit]:
    served = {goal for part in plan.parts if isinstance(part, Action) for goal in part.goals}
    for goal in plan.parts:
        if not isinstance(goal, Goal) or goal.status not in _OPEN_GOALS:
            continue
        if _says_no(goal.text):
            yield "goal-not-positive", goal.id
        if goal.label.domain is None:
            yield "goal-without-domain", goal.id
        if goal.label.speaker is None:
            yield "goal-without-speaker", goal.id
        if goal.id not in served:
            yield "goal-without-action", goal.id


def _says_no(text: str) -> bool:
    """Say whether a goal is worded as something that should go away; most texts hold not even a stem of such a word."""
    words = text.casefold()
    return any(stem in words for stem in _NEGATIVE_STEMS) and _NEGATIVE.search(words) is not None


def _actions(plan: SupportPlan, _: date) -> Iterator[Hit]:
    for action in _open_actions(plan):
        if action.owner.ref is None:
            yield "action-without-who", action.id
        if not (action.due_on or action.starts_on or action.frequency):
            yield "action-without-when", action.id
        if not action.goals:
            yield "action-without-goal", action.id


def _contradictions(plan: SupportPlan, _: date) -> Iterator[Hit]:
    """The same words for the same resident, by another owner or another day (family plan and person plan)."""
    seen: dict[tuple[str, str], Action] = {}
    for action in _open_actions(plan):
        words = " ".join(action.text.casefold().split()).rstrip(".")
        first = [seen.setdefault((words, subject), action) for subject in action.label.subjects]
        if any((other.owner, other.due_on) != (action.owner, action.due_on) for other in first):
            yield "actions-contradict", action.id


def _provisions(plan: SupportPlan, _: date) -> Iterator[Hit]:
    for part in plan.parts:
        if isinstance(part, Provision) and part.individual and part.status != "refused" and not part.goals:
            yield "provision-without-goal", part.id


def _evaluations(plan: SupportPlan, today: date) -> Iterator[Hit]:
    if plan.status not in _RUNNING_PLANS:
        return
    waiting = [part for part in plan.parts if isinstance(part, Evaluation) and part.held_on is None]
    if not any(part.planned_on > today for part in waiting):
        yield "no-coming-evaluation", None
    whom = "coordinator" if any(member.coordinator for member in _team(plan, today)) else "team"
    yield from ((f"evaluation-due-{whom}", part.id) for part in waiting if part.planned_on <= today)


def _coordination(plan: SupportPlan, today: date) -> Iterator[Hit]:
    team = _team(plan, today)
    for name, count in (
        ("coordinator", sum(member.coordinator for member in team)),
        ("fixed-contact", sum(member.fixed_contact for member in team)),
    ):
        if count != 1:
            yield (f"several-{name}s" if count else f"no-{name}"), None


def _safety(plan: SupportPlan, _: date) -> Iterator[Hit]:
    safety = [part for part in plan.parts if isinstance(part, Safety)]
    if not safety:
        worries = (part for part in plan.parts if isinstance(part, Worry) and part.label.domain == "safety")
        yield from (("no-safety-plan", worry.id) for worry in worries)
        return
    goals = sum(isinstance(part, Goal) and part.label.domain == "safety" for part in plan.parts)
    if goals < _SAFETY_GOALS:
        yield "safety-goals-missing", None
    for agreement in safety:
        if agreement.aspect == "agreement":
            yield from ((f"safety-agreement-without-{name}", agreement.id) for name in _lacking(agreement))


def _lacking(agreement: Safety) -> Iterator[str]:
    named = {
        "who": agreement.owner and agreement.owner.ref,
        "what": agreement.text,
        "where": agreement.place,
        "when": agreement.starts_on or agreement.due_on,
        "watcher": agreement.watched_by and agreement.watched_by.ref,
        "consequence": agreement.consequence,
    }
    yield from (name for name, value in named.items() if not value)


def _agreement(plan: SupportPlan, _: date) -> Iterator[Hit]:
    given = [part for part in plan.parts if isinstance(part, Agreement) and part.by.type == "resident"]
    latest = {part.by.ref: part for part in sorted(given, key=lambda part: part.on)}.values()
    yield from (("refused", part.id) for part in latest if not part.agreed)
    agreed = [part for part in latest if part.agreed]
    if not agreed:
        yield "not-agreed", None
    if plan.changed_at is not None:
        changed_on = plan.changed_at.date()
        yield from (("agreed-earlier-version", part.id) for part in agreed if part.on < changed_on)


_RULES: tuple[Callable[[SupportPlan, date], Iterator[Hit]], ...] = (
    _goals,
    _actions,
    _contradictions,
    _provisions,
    _evaluations,
    _coordination,
    _safety,
    _agreement,
)


def _open_actions(plan: SupportPlan) -> list[Action]:
    return [part for part in plan.parts if isinstance(part, Action) and part.status in _OPEN_ACTIONS]


def _team(plan: SupportPlan, today: date) -> list[TeamMember]:
    members = (part for part in plan.parts if isinstance(part, TeamMember))
    return [member for member in members if member.ends_on is None or member.ends_on >= today]
