"""Who takes part: one neighbourhood team that sends, four care providers that receive, and what every resident chose.

The rule `permitted_for` is written from the choices alone, apart from the gateway and from the other contestants: all must agree with it.
"""

from dataclasses import dataclass
from typing import Any

SOURCE = "wijkteam-noord"
BYSTANDER = "buurthuis"
"""An organisation of the directory that receives nothing; the further choices are about it."""

RECIPIENTS = ("kompas", "de-linde", "noorderlicht", "het-anker")
MIDDLING, MANY = 10, 1_000
"""Choices per resident, at first and grown."""

_PERMITS: dict[str, list[dict[str, list[str]]]] = {
    "kompas": [
        {"domains": ["finances", "housing", "work", "daily-living"]},
        {"kinds": ["identity", "contact", "team", "support-question"]},
    ],
    "de-linde": [{"domains": ["parenting", "social-network", "housing"]}, {"kinds": ["identity", "team"]}],
    "noorderlicht": [{"domains": ["mental-health", "physical-health", "finances"]}, {"kinds": ["identity", "contact"]}],
    "het-anker": [{"kinds": ["identity", "contact", "team", "support-question", "goal"]}],
}
_DENIES: dict[str, list[dict[str, list[str]]]] = {"kompas": [{"kinds": ["action"], "domains": ["work"]}]}


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a choice can be about."""

    mark: str
    kind: str
    domain: str | None
    subjects: list[str]


def permitted_for(recipient: str, part: Part) -> bool:
    """Say whether a recipient may have a part. Everybody in the scene chose the same, so every subject agrees or none does."""
    if any(_matches(selector, part) for selector in _DENIES.get(recipient, [])):
        return False
    return any(_matches(selector, part) for selector in _PERMITS[recipient])


def choices(count: int = MIDDLING) -> list[dict[str, Any]]:
    """Return a resident's choices as the gateway takes them: eight that matter, the others about a bystander or long past."""
    made = [_choice(who, [selector], "permit") for who, selectors in _PERMITS.items() for selector in selectors]
    made += [_choice(who, [selector], "deny") for who, selectors in _DENIES.items() for selector in selectors]
    made += [_further(number) for number in range(count - len(made))]
    return made


def _further(number: int) -> dict[str, Any]:
    if number % 2:
        past = {"from": "2020-01-01", "until": f"2021-01-{1 + number % 28:02}"}
        return _choice(RECIPIENTS[number // 2 % len(RECIPIENTS)], [{"domains": ["justice"]}], "permit") | past
    return _choice(BYSTANDER, [{"domains": ["meaning"], "kinds": ["goal"]}], "permit")


def _choice(who: str, parts: list[dict[str, list[str]]], effect: str) -> dict[str, Any]:
    return {
        "recipient": {"type": "organisation", "organisation": who},
        "parts": parts,
        "effect": effect,
        "givenBy": {"capacity": "resident", "person": "bewoner"},
        "evidence": "gesprek aan huis",
    }


def _matches(selector: dict[str, list[str]], part: Part) -> bool:
    return all(
        name not in selector or value in selector[name]
        for name, value in (("domains", part.domain), ("kinds", part.kind))
    )
