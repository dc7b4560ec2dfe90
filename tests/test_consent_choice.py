"""A choice that could mean something else than it says is refused, with a pointer and what to do; the wire form is that of the sheet."""

from datetime import date
from typing import Any, get_args

import msgspec
import pytest
from msgspec.structs import replace

from consent.choice import (
    NEEDED_BY_TYPE,
    Capacity,
    Choice,
    GivenBy,
    PartSelector,
    RecipientSelector,
    RecipientType,
    check_choices,
)
from consent.errors import ConsentError
from mappings.errors import Finding

KNOWN = frozenset({"kompas"})
FIELDS: dict[str, Any] = {"organisation": "kompas", "role": "coach", "person": "joost", "kind": "school"}
GOOD = Choice(
    recipient=RecipientSelector(type="organisation", organisation="kompas"),
    effect="permit",
    given_by=GivenBy(capacity="resident", person="marloes"),
)


def refused(*choices: Choice) -> list[tuple[str, str]]:
    """Return (pointer, code) of what is wrong."""
    found: tuple[Finding, ...] = ()
    try:
        check_choices(choices, KNOWN)
    except ConsentError as error:
        found = error.findings
    assert all(finding.remedy for finding in found)
    return [(finding.pointer, finding.code) for finding in found]


def to(type_: RecipientType, *fields: str) -> Choice:
    """Return a choice for a recipient with these fields."""
    return replace(GOOD, recipient=RecipientSelector(type=type_, **{name: FIELDS[name] for name in fields}))


def by(capacity: Capacity, person: str = "marloes", mandate: str | None = None) -> Choice:
    """Return a choice given by somebody."""
    return replace(GOOD, given_by=GivenBy(capacity=capacity, person=person, mandate=mandate))


KEPT = [
    ("an organisation of the directory", GOOD),
    ("a role in it", to("role", "organisation", "role")),
    ("a person in it", to("person", "organisation", "person")),
    ("a kind of organisation", to("kind", "kind")),
    ("everybody", to("all")),
    ("a period of one day", replace(GOOD, starts_on=date(2026, 1, 1), ends_on=date(2026, 1, 1))),
    ("a period without an end", replace(GOOD, starts_on=date(2026, 1, 1))),
    ("a period without a beginning", replace(GOOD, ends_on=date(2026, 1, 1))),
    ("a parent", by("parent")),
    ("a representative with a mandate", by("representative", mandate="rechtbank 2026-1")),
    ("a denial", replace(GOOD, effect="deny")),
]


@pytest.mark.parametrize("choice", [row[1] for row in KEPT], ids=[row[0] for row in KEPT])
def test_a_choice_that_says_one_thing_is_kept(choice: Choice) -> None:
    """Alone and among others."""
    assert refused(choice) == []
    assert refused(GOOD, choice) == []


@pytest.mark.parametrize("type_", get_args(RecipientType))
@pytest.mark.parametrize("field", FIELDS)
def test_a_recipient_has_the_fields_of_its_type_and_no_other(type_: RecipientType, field: str) -> None:
    """A field too many would make a choice seem narrower than it is, a field too few makes it nobody's."""
    needed = set(NEEDED_BY_TYPE[type_])
    flipped = needed ^ {field}
    pointer = f"/choices/0/recipient/{field}"
    assert refused(to(type_, *needed)) == []
    assert refused(to(type_, *flipped)) == [(pointer, "recipient")]


REFUSED = [
    ("an organisation that nobody knows",
     replace(GOOD, recipient=RecipientSelector(type="organisation", organisation="komaps")),
     [("recipient/organisation", "unknown-recipient")]),
    ("a role in an organisation that nobody knows",
     replace(GOOD, recipient=RecipientSelector(type="role", organisation="komaps", role="coach")),
     [("recipient/organisation", "unknown-recipient")]),
    ("an empty organisation", replace(GOOD, recipient=RecipientSelector(type="organisation", organisation="")),
     [("recipient/organisation", "unknown-recipient")]),
    ("a period that ends before it begins", replace(GOOD, starts_on=date(2026, 1, 2), ends_on=date(2026, 1, 1)),
     [("until", "period")]),
    ("nobody who gave it", by("resident", person=""), [("givenBy/person", "person")]),
    ("blanks who gave it", by("resident", person=" \t"), [("givenBy/person", "person")]),
    ("a representative without a mandate", by("representative"), [("givenBy/mandate", "mandate")]),
    ("a representative with an empty mandate", by("representative", mandate=""), [("givenBy/mandate", "mandate")]),
    ("a mandate of blanks that nobody needs", by("parent", mandate=" "), [("givenBy/mandate", "text")]),
    ("blank evidence", replace(GOOD, evidence="\t"), [("evidence", "text")]),
    ("a recorder without a name", replace(GOOD, recorded_by=""), [("recordedBy", "text")]),
    ("a part without an id", replace(GOOD, parts=(PartSelector(), PartSelector(part_ids=("d1", " ")))),
     [("parts/1/partIds/1", "text")]),
    ("a role with NUL in it",
     replace(GOOD, recipient=RecipientSelector(type="role", organisation="kompas", role="coach\x00")),
     [("recipient/role", "text")]),
    ("everything at once",
     Choice(recipient=RecipientSelector(type="all", organisation="komaps", kind="gp"), effect="permit",
            starts_on=date(2026, 1, 2), ends_on=date(2026, 1, 1), given_by=GivenBy(capacity="representative", person="")),
     [("recipient/organisation", "recipient"), ("recipient/kind", "recipient"), ("recipient/organisation", "unknown-recipient"),
      ("until", "period"), ("givenBy/person", "person"), ("givenBy/mandate", "mandate")]),
]  # fmt: skip


@pytest.mark.parametrize(("choice", "expected"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_choice_that_could_mean_something_else_is_refused(choice: Choice, expected: list[tuple[str, str]]) -> None:
    """With a pointer into the set as it was sent."""
    assert refused(choice) == [(f"/choices/0/{place}", code) for place, code in expected]
    assert refused(GOOD, choice) == [(f"/choices/1/{place}", code) for place, code in expected]


def test_every_wrong_choice_of_a_set_is_told() -> None:
    """Not the first only."""
    assert [pointer for pointer, _ in refused(by("representative"), GOOD, by("parent", person=""))] == [
        "/choices/0/givenBy/mandate", "/choices/2/givenBy/person"]  # fmt: skip


def test_a_refusal_holds_codes_and_no_values() -> None:
    """Neither the message nor a remedy quotes the choice."""
    choice = replace(
        by("representative", person="Kanarie"), recipient=RecipientSelector(type="all", organisation="Kanarie")
    )
    with pytest.raises(ConsentError) as caught:
        check_choices([choice], KNOWN)
    assert str(caught.value) == "mandate, recipient, unknown-recipient"
    assert "Kanarie" not in str(caught.value.findings)


def test_no_choices_are_a_set_too() -> None:
    """It withdraws everything."""
    assert refused() == []


WIRE = {
    "recipient": {"type": "person", "organisation": "kompas", "person": "joost"},
    "effect": "deny",
    "givenBy": {"capacity": "representative", "person": "p", "mandate": "m"},
    "id": "c1",
    "parts": [{"kinds": ["goal"], "domains": ["finances"], "partIds": ["d1"]}],
    "purpose": "hand-over",
    "from": "2026-01-01",
    "until": "2026-12-31",
    "evidence": "formulier",
    "recordedBy": "wijkteam-team",
    "version": 3,
}


def test_the_wire_form_is_that_of_the_interface_sheet() -> None:
    """Read and written without losing anything."""
    choice = msgspec.convert(WIRE, Choice)
    assert msgspec.json.decode(msgspec.json.encode(choice)) == WIRE
    assert choice.parts == (PartSelector(kinds=("goal",), domains=("finances",), part_ids=("d1",)),)
    assert (choice.starts_on, choice.ends_on) == (date(2026, 1, 1), date(2026, 12, 31))


@pytest.mark.parametrize(
    "changed",
    [
        {"effect": "allow"},
        {"purpose": "marketing"},
        {"parts": [{"kinds": ["goals"]}]},
        {"parts": [{"domains": ["money"]}]},
        {"parts": [{"ids": ["d1"]}]},
        {"recipient": {"type": "everybody"}},
        {"givenBy": {"capacity": "neighbour", "person": "p"}},
        {"until": "2026-02-30"},
        {"starts_on": "2026-01-01"},
    ],
    ids=lambda changed: str(next(iter(changed))),
)
def test_a_word_that_is_not_in_a_list_is_refused(changed: dict[str, Any]) -> None:
    """A misspelt list would be an absent one, which means any."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**WIRE, **changed}, Choice)


def test_blanks_are_no_mandate() -> None:
    """As they are no person."""
    assert refused(by("representative", mandate="  ")) == [("/choices/0/givenBy/mandate", "mandate")]


@pytest.mark.parametrize("field", ["role", "person"])
def test_a_recipient_that_can_never_match_is_refused(field: str) -> None:
    """A denial must not silently do nothing."""
    denial = RecipientSelector(type=field, organisation="kompas", **{field: ""})  # type: ignore[arg-type]
    assert refused(replace(GOOD, effect="deny", recipient=denial)) == [(f"/choices/0/recipient/{field}", "recipient")]
