"""Plan documents of three sizes in the format plan-van-aanpak, and what each recipient must find in its view.

Every part carries a mark such as `mark-g1-x`, so that a view can be judged by its bytes alone, whoever rendered it.
Deterministic: the same household and number give the same bytes.
"""

import json
import random
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from scene import Part, permitted_for

DOMAINS = {
    "financien": "finances",
    "wonen": "housing",
    "werk": "work",
    "dagelijks-leven": "daily-living",
    "opvoeden": "parenting",
    "psychische-gezondheid": "mental-health",
    "lichamelijke-gezondheid": "physical-health",
    "sociaal-netwerk": "social-network",
}
SENTENCES = (
    "Zij wil overzicht krijgen over de maandelijkse uitgaven en samen met de begeleider een regeling treffen. ",
    "De post wordt elke week samen doorgenomen en er komt een plan voor de vaste lasten. ",
    "Er is afgesproken dat de woningcorporatie wordt gebeld voordat de achterstand verder oploopt. ",
)
BSN_TEST_RANGE = range(999900006, 999999991)
MARK = re.compile(rb"mark-([a-z]+\d+)-x")
VERSION = re.compile(rb"mark-id1-x-v(\d+)")
NUMBER = "@@PLANNUMMER@@"
EDITION = "@@VERSIE@@"
BSN = "@@BSN{}@@"
HOUSEHOLDS = 3_000
"""How many households of three the test range has numbers for; a further plan is one more of the same household."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much stands in a plan; texts in characters."""

    name: str
    residents: int
    goals: int
    actions: int
    text: int


SMALL = Size(name="small", residents=1, goals=3, actions=6, text=120)
STANDARD = Size(name="standard", residents=3, goals=5, actions=10, text=400)
LARGE = Size(name="large", residents=4, goals=8, actions=20, text=460)
ASKED = Size(name="asked", residents=3, goals=5, actions=9, text=400)
"""The standard plan without its tenth action, so that exactly one action is about the first goal."""
SIZES = {size.name: size for size in (SMALL, STANDARD, LARGE)}


def template(household: int, size: Size) -> bytes:
    """Return a household's plan with placeholders for the plan's number and edition."""
    chance = random.Random(household)
    residents = [f"h{household}-{size.name}-{number}" for number in range(1, size.residents + 1)]
    document: dict[str, Any] = {
        "planNummer": NUMBER,
        "status": "besloten",
        "begindatum": "2026-01-01",
        "einddatum": "2027-12-31",
        "bewoners": [_resident(ref, _bsn(4 * household + number), number) for number, ref in enumerate(residents, 1)],
        "organisaties": [
            {"ref": "wijkteam", "naam": "Wijkteam Noord", "soort": "wijkteam", "oin": "00000099000000001000"}
        ],
        "betrokkenen": [
            {
                "ref": f"b{number}",
                "naam": f"mark-team{number}-x",
                "functie": "consulent",
                "rol": "teamlid",
                "organisatie": "wijkteam",
            }
            for number in (1, 2)
        ],
        "ondersteuningsvragen": [
            {"ref": "vraag-1", "tekst": f"mark-question1-x {_text(chance, size.text)}", "vastgelegdDoor": "wijkteam"}
        ],
        "doelen": [_goal(number, residents, chance, size) for number in range(1, size.goals + 1)],
        "acties": [_action(number, residents, chance, size) for number in range(1, size.actions + 1)],
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def filled(form: bytes, number: str, edition: int = 1) -> bytes:
    """Return a plan document out of a template."""
    return form.replace(NUMBER.encode(), number.encode()).replace(EDITION.encode(), str(edition).encode())


def renumbered(form: str) -> str:
    """Return a form with a placeholder for each BSN in it."""
    found = dict.fromkeys(re.findall(r'"(9999\d{5})"', form))
    for position, bsn in enumerate(found):
        form = form.replace(f'"{bsn}"', f'"{BSN.format(position)}"')
    return form


def of_household(form: str, number: int) -> bytes:
    """Return plan `number` out of a renumbered form: a household of its own, until there are no more."""
    form = form.replace(NUMBER, f"plan-{number}")
    for position in range(form.count("@@BSN")):
        form = form.replace(BSN.format(position), _bsn(3 * (number % HOUSEHOLDS) + position))
    return form.encode()


def parts_of(document: dict[str, Any]) -> list[Part]:
    """Return the parts of a plan as the choices speak of them: mark, kind, domain, whom it is about."""
    everybody = [row["ref"] for row in document["bewoners"]]
    parts = []
    for number, row in enumerate(document["bewoners"], 1):
        parts.append(Part(mark=f"id{number}", kind="identity", domain=None, subjects=[row["ref"]]))
        parts.append(Part(mark=f"contact{number}", kind="contact", domain=None, subjects=[row["ref"]]))
    for name, mark, kind in (
        ("betrokkenen", "team", "team"),
        ("ondersteuningsvragen", "question", "support-question"),
        ("doelen", "goal", "goal"),
        ("acties", "action", "action"),
    ):
        parts += [
            Part(
                mark=f"{mark}{number}",
                kind=kind,
                domain=DOMAINS[row["leefgebied"]] if "leefgebied" in row else None,
                subjects=row.get("over", everybody),
            )
            for number, row in enumerate(document[name], 1)
        ]
    return parts


def expected_marks(form: bytes, recipient: str) -> set[str]:
    """Return the marks that a recipient must find in its view, and no other."""
    return {part.mark for part in parts_of(json.loads(form)) if permitted_for(recipient, part)}


def marks_in(body: bytes) -> set[str]:
    """Return the marks in a view."""
    return {found.decode() for found in MARK.findall(body)}


def _resident(ref: str, bsn: str, number: int) -> dict[str, Any]:
    return {
        "ref": ref,
        "bsn": bsn,
        "voornaam": "Marloes",
        "achternaam": f"mark-id{number}-x-v{EDITION}",
        "geboortedatum": f"19{60 + number}-03-14",
        "geslacht": "vrouw",
        "adres": {
            "straat": f"mark-contact{number}-x",
            "huisnummer": "12",
            "postcode": "9999 XA",
            "plaats": "Vlinderstad",
            "gemeentecode": "9901",
        },
        "telefoon": "0900-1234567",
    }


def _goal(number: int, residents: list[str], chance: random.Random, size: Size) -> dict[str, Any]:
    return {
        "nummer": number,
        "omschrijving": f"mark-goal{number}-x {_text(chance, size.text)}",
        "termijn": chance.choice(("kort", "lang")),
        "status": chance.choice(("actief", "voorgesteld", "behaald")),
        "van": "2026-02-01",
        "uiterlijk": "2027-02-01",
        "leefgebied": list(DOMAINS)[number % len(DOMAINS)],
        "wet": "wmo",
        "over": [residents[number % len(residents)]],
        "vastgelegdDoor": "wijkteam",
    }


def _action(number: int, residents: list[str], chance: random.Random, size: Size) -> dict[str, Any]:
    goal = 1 + number % size.goals
    return {
        "nummer": number,
        "wat": f"mark-action{number}-x {_text(chance, size.text)}",
        "wie": {"soort": "bewoner", "ref": residents[goal % len(residents)]},
        "doelen": [goal],
        "status": chance.choice(("gevraagd", "bezig", "klaar")),
        "van": "2026-02-01",
        "uiterlijk": "2027-02-01",
        "leefgebied": list(DOMAINS)[goal % len(DOMAINS)],
        "wet": "wmo",
        "over": [residents[goal % len(residents)]],
        "vastgelegdDoor": "wijkteam",
    }


@cache
def _bsns() -> tuple[str, ...]:
    weights = (9, 8, 7, 6, 5, 4, 3, 2, -1)
    return tuple(
        str(number)
        for number in BSN_TEST_RANGE
        if sum(weight * int(digit) for weight, digit in zip(weights, str(number), strict=True)) % 11 == 0
    )


def _bsn(position: int) -> str:
    """Return a number of the test range: a household keeps its residents, and so its choices, over all its plans."""
    return _bsns()[position]


def _text(chance: random.Random, length: int) -> str:
    sentences = SENTENCES * (2 + length // 200)
    return "".join(chance.sample(sentences, len(sentences)))[:length].strip()
