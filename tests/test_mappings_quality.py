"""The quality report names what DOMAIN.md section 5 asks for, and nothing of what the plan says."""

from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest

from mappings.plan import (
    Action,
    Actor,
    Agreement,
    Evaluation,
    Goal,
    Label,
    Provision,
    Safety,
    SupportPlan,
    TeamMember,
    Worry,
)
from mappings.quality import CATALOGUE, check_quality

TODAY = date(2027, 3, 1)
RESIDENT = Actor(type="resident", ref="r")
LABEL = Label(subjects=("r",), domain="finances", speaker=RESIDENT)
SAFE = Label(subjects=("r",), domain="safety", speaker=RESIDENT)
GOOD: dict[str, Any] = {
    "team": TeamMember(id="team", label=LABEL, role="coordinator", coordinator=True, fixed_contact=True),
    "goal": Goal(id="goal", label=LABEL, text="Marloes betaalt elke maand de huur."),
    "action": Action(id="action", label=LABEL, text="De post openen.", owner=RESIDENT, goals=("goal",), due_on=TODAY),
    "provision": Provision(id="provision", label=LABEL, text="Budgetcoaching", individual=True, goals=("goal",)),
    "evaluation": Evaluation(id="evaluation", label=LABEL, planned_on=date(2027, 3, 2)),
    "agreement": Agreement(id="agreement", label=LABEL, by=RESIDENT, on=date(2026, 9, 1)),
}
AGREED = Safety(
    id="safe",
    label=SAFE,
    aspect="agreement",
    text="Bij ruzie gaat een van ons weg.",
    owner=RESIDENT,
    place="thuis",
    starts_on=TODAY,
    watched_by=RESIDENT,
    consequence="Wij bellen het wijkteam.",
)
SAFETY_GOALS = tuple(Goal(id=f"safe-{n}", label=SAFE, text="Wij zijn veilig.") for n in range(4))
SAFETY_ACTION = Action(
    id="safe-action", label=SAFE, text="Oefenen.", owner=RESIDENT, due_on=TODAY, goals=tuple(g.id for g in SAFETY_GOALS)
)
SAFE_PLAN = (*SAFETY_GOALS, SAFETY_ACTION)


def plan(*more: Any, status: str = "agreed", changed_at: datetime | None = None, **changed: Any) -> SupportPlan:
    """Return the good plan; a part is changed by its name, left out with None, and `more` are added."""
    parts = (changed.get(name, part) for name, part in GOOD.items())
    return SupportPlan(
        id="p",
        status=status,
        residents=("r",),
        instrument="plan-van-aanpak",
        changed_at=changed_at,
        parts=(*(part for part in parts if part is not None), *more),
    )


def alter(name: str, **values: Any) -> dict[str, Any]:
    """Return the good part with other values."""
    return {name: msgspec.structs.replace(GOOD[name], **values)}


NO_SPEAKER = Label(subjects=("r",), domain="finances")
NO_DOMAIN = Label(subjects=("r",), speaker=RESIDENT)
WORRY = Worry(id="worry", label=SAFE, text="Hij stond voor de deur.")
TWIN = msgspec.structs.replace(GOOD["action"], id="twin", text="de post  openen", due_on=date(2027, 4, 1))
SECOND = msgspec.structs.replace(GOOD["team"], id="second")
OTHER = Actor(type="resident", ref="other")

CASES = [
    pytest.param(plan(), [], id="a complete plan has no findings"),
    pytest.param(
        plan(**alter("goal", text="Ik wil geen schulden.")), [("goal-not-positive", "goal")], id="negative goal"
    ),
    pytest.param(
        plan(**alter("goal", text="STOPPEN MET roken")), [("goal-not-positive", "goal")], id="negative goal in capitals"
    ),
    pytest.param(plan(**alter("goal", text="Genieten, niettemin, non-stop")), [], id="no part of a word is negative"),
    pytest.param(plan(**alter("goal", label=NO_DOMAIN)), [("goal-without-domain", "goal")], id="goal without domain"),
    pytest.param(plan(**alter("goal", label=NO_SPEAKER)), [("goal-without-speaker", "goal")], id="goal nobody wants"),
    pytest.param(plan(action=None), [("goal-without-action", "goal")], id="goal without action"),
    pytest.param(plan(action=None, **alter("goal", status="reached")), [], id="a reached goal needs no action"),
    pytest.param(
        plan(**alter("action", owner=Actor(type="professional"))),
        [("action-without-who", "action")],
        id="action without who",
    ),
    pytest.param(plan(**alter("action", due_on=None)), [("action-without-when", "action")], id="action without when"),
    pytest.param(plan(**alter("action", due_on=None, frequency="elke week")), [], id="how often is a when"),
    pytest.param(
        plan(**alter("action", goals=())),
        [("goal-without-action", "goal"), ("action-without-goal", "action")],
        id="action without goal",
    ),
    pytest.param(plan(TWIN), [("actions-contradict", "twin")], id="same action on another day"),
    pytest.param(plan(msgspec.structs.replace(TWIN, due_on=TODAY)), [], id="the same action twice is no contradiction"),
    pytest.param(
        plan(msgspec.structs.replace(TWIN, label=Label(subjects=("x",)))),
        [],
        id="another resident's action is another action",
    ),
    pytest.param(
        plan(**alter("provision", goals=())), [("provision-without-goal", "provision")], id="maatwerk without goal"
    ),
    pytest.param(plan(**alter("provision", goals=(), individual=False)), [], id="a general provision needs no goal"),
    pytest.param(plan(evaluation=None), [("no-coming-evaluation", None)], id="no evaluation ahead"),
    pytest.param(plan(evaluation=None, status="concept"), [], id="a concept needs no evaluation"),
    pytest.param(
        plan(**alter("evaluation", planned_on=TODAY)),
        [("no-coming-evaluation", None), ("evaluation-due-coordinator", "evaluation")],
        id="an evaluation is due today",
    ),
    pytest.param(
        plan(team=None, **alter("evaluation", planned_on=date(2027, 1, 1))),
        [
            ("no-coming-evaluation", None),
            ("evaluation-due-team", "evaluation"),
            ("no-coordinator", None),
            ("no-fixed-contact", None),
        ],
        id="overdue without coordinator",
    ),
    pytest.param(
        plan(SECOND),
        [("several-coordinators", None), ("several-fixed-contacts", None)],
        id="two coordinators and contacts",
    ),
    pytest.param(
        plan(msgspec.structs.replace(SECOND, ends_on=date(2027, 2, 28))), [], id="a former coordinator does not count"
    ),
    pytest.param(plan(WORRY), [("no-safety-plan", "worry")], id="safety worry without safety plan"),
    pytest.param(plan(WORRY, AGREED, *SAFE_PLAN), [], id="a safety plan with its goals"),
    pytest.param(plan(AGREED), [("safety-goals-missing", None)], id="safety plan without the goals check"),
    pytest.param(
        plan(Safety(id="safe", label=SAFE, aspect="agreement"), *SAFE_PLAN),
        [
            (f"safety-agreement-without-{what}", "safe")
            for what in ("who", "what", "where", "when", "watcher", "consequence")
        ],
        id="an empty safety agreement",
    ),
    pytest.param(plan(agreement=None), [("not-agreed", None)], id="nobody agreed"),
    pytest.param(
        plan(**alter("agreement", agreed=False)),
        [("refused", "agreement"), ("not-agreed", None)],
        id="the resident refuses",
    ),
    pytest.param(
        plan(msgspec.structs.replace(GOOD["agreement"], id="later", agreed=False, on=date(2026, 10, 1))),
        [("refused", "later"), ("not-agreed", None)],
        id="the latest answer counts",
    ),
    pytest.param(
        plan(Agreement(id="other", label=LABEL, by=OTHER, on=TODAY, agreed=False)),
        [("refused", "other")],
        id="one resident agrees and another does not",
    ),
    pytest.param(
        plan(changed_at=datetime(2026, 9, 2, tzinfo=UTC)),
        [("agreed-earlier-version", "agreement")],
        id="changed after the agreement",
    ),
]


@pytest.mark.parametrize(("subject", "expected"), CASES)
def test_rule(subject: SupportPlan, expected: list[tuple[str, str | None]]) -> None:
    """Each rule of the report names its part."""
    assert expected == [(finding.code, finding.part) for finding in check_quality(subject, TODAY)]


def test_every_code_of_the_catalogue_has_a_case() -> None:
    """No rule stands untested."""
    tested = {code for case in CASES for code, _ in case.values[1]}

    assert set(CATALOGUE) == tested


def test_findings_hold_nothing_of_the_plan() -> None:
    """The sentences come from the catalogue alone."""
    findings = [finding for case in CASES for finding in check_quality(case.values[0], TODAY)]

    assert {CATALOGUE[finding.code] for finding in findings} == {(f.severity, f.nl, f.en) for f in findings}
