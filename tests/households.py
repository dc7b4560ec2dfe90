"""Households of a steady load: plan documents with marked goals, choices that change, and what each recipient must see.

Every goal says its edition, so that a view can be judged by its bytes alone. Deterministic by the seed of the random numbers.
"""

import json
import random
import re
from functools import cache
from typing import Any

from msgspec import Struct

DOMAINS = {"g1": "finances", "g2": "housing", "g3": "parenting", "g4": "work"}
DUTCH = {"finances": "financien", "housing": "wonen", "parenting": "opvoeden", "work": "werk"}
SEES = {
    "kompas": ("finances", "housing"),
    "de-linde": ("parenting", "housing"),
    "noorderlicht": ("finances", "work"),
    "het-anker": ("parenting", "work"),
}
"""Recipient → the life domains that a household may choose to show it."""

MARK = re.compile(rb"mark-(g\d)-e(\d+)-x")
BSN_TEST_RANGE = range(999900006, 999999991)
WEIGHTS = (9, 8, 7, 6, 5, 4, 3, 2, -1)


class Plan:
    """A plan of a household as it was last accepted: the edition of each goal."""

    def __init__(self, number: str) -> None:
        self.number = number
        self.id = ""
        self.editions = dict.fromkeys(DOMAINS, 1)


class Household:
    """One resident with some plans, and what the resident chose last."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.reference = f"h{number}"
        self.resident = ""
        self.plans: list[Plan] = []
        self.shown: dict[str, tuple[str, ...]] = {}
        self.hidden: list[tuple[str, tuple[float, float]]] = []
        self.choices_kept = 0

    def choose(self, shown: dict[str, tuple[str, ...]], since: float, until: float) -> None:
        """Note what the resident chose, and when it was told."""
        self.shown = shown
        self.hidden += [(recipient, (since, until)) for recipient, domains in shown.items() if not domains]

    def hidden_from(self, recipient: str) -> tuple[tuple[float, float], ...]:
        """Return when a recipient was told that it may see nothing."""
        return tuple(when for who, when in self.hidden if who == recipient)

    def wanted(self, plan: Plan) -> dict[str, dict[str, int]]:
        """Return, per recipient, the goals of a plan that it must see."""
        return {
            recipient: {goal: plan.editions[goal] for goal, domain in DOMAINS.items() if domain in domains}
            for recipient, domains in self.shown.items()
        }


def document(household: Household, plan: Plan, editions: dict[str, int]) -> bytes:
    """Return a plan with these editions of its goals, in the format plan-van-aanpak."""
    person = {"ref": household.reference, "bsn": bsns()[household.number], "voornaam": "Marloes"}
    person |= {"achternaam": "Vlinder", "geboortedatum": "1984-03-14", "geslacht": "vrouw"}
    goals = [
        {
            "nummer": int(goal[1:]),
            "omschrijving": f"mark-{goal}-e{editions[goal]}-x Overzicht krijgen, samen met de begeleider.",
            "termijn": "kort",
            "status": "actief",
            "leefgebied": DUTCH[domain],
            "wet": "wmo",
            "over": [household.reference],
            "vastgelegdDoor": "wijkteam",
        }
        for goal, domain in DOMAINS.items()
    ]
    team = {"ref": "wijkteam", "naam": "Wijkteam Noord", "soort": "wijkteam", "oin": "00000099000000001000"}
    whole: dict[str, Any] = {"planNummer": plan.number, "status": "besloten", "begindatum": "2026-01-01"}
    whole |= {"bewoners": [person], "organisaties": [team], "doelen": goals}
    whole["ondersteuningsvragen"] = [{"tekst": "Ik wil hulp bij de post.", "vastgelegdDoor": "wijkteam"}]
    return json.dumps(whole).encode()


def changed(chance: random.Random, editions: dict[str, int]) -> dict[str, int]:
    """Return the editions of a next version: some goals are edited, so some recipients see no change."""
    edited = chance.sample(list(editions), chance.randint(1, len(editions)))
    return {goal: edition + (goal in edited) for goal, edition in editions.items()}


def chosen(chance: random.Random, recipients: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return what each recipient may see from now on: all that it could, a part, or now and then nothing."""
    return {name: SEES[name][: chance.choices((2, 1, 0), (6, 3, 1))[0]] for name in recipients}


def choices(shown: dict[str, tuple[str, ...]], evidence: str) -> list[dict[str, Any]]:
    """Return the choices that say so; `evidence` tells this set from every other."""
    return [
        {
            "recipient": {"type": "organisation", "organisation": recipient},
            "parts": [{"domains": list(domains or ("meaning",))}],
            "effect": "permit",
            "givenBy": {"capacity": "resident", "person": "marloes"},
            "evidence": evidence,
        }
        for recipient, domains in shown.items()
    ]


def marks_in(body: bytes) -> dict[str, int]:
    """Return goal → edition of a view."""
    return {goal.decode(): int(edition) for goal, edition in MARK.findall(body)}


@cache
def bsns() -> tuple[str, ...]:
    """Return the valid numbers of the test range."""
    return tuple(
        str(number)
        for number in BSN_TEST_RANGE
        if sum(weight * int(digit) for weight, digit in zip(WEIGHTS, str(number), strict=True)) % 11 == 0
    )


class Wish(Struct, frozen=True, kw_only=True):
    """How hard a load pushes. `rate`: plans a second at most, 0 for as fast as answers come; `pause_seconds` between two asks."""

    households: int = 8
    plans_each: int = 2
    rate: float = 0
    pause_seconds: float = 0.02
