"""A view holds what its reader may see, and nothing that tells of the rest: in the plan, in FHIR, and in the plan van aanpak.

Every text of a plan is a canary of its own. Whatever a reader may not see must not sing in any of the three.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from plans import moments, support_plans
from simple_consent import GROUND_SETS, choice_sets, recipients

import mappings
from consent.decide import Decision, decide_all, open_case
from consent.index import ChoiceIndex, Recipient
from consent.redact import redact
from consent.voices import amsterdam_day
from mappings.bundle import bundle_to_plan, encode_bundle, in_order, plan_to_bundle
from mappings.format import Format, compile_format
from mappings.plan import (
    JSON_TO_PLAN,
    PLAN_TO_JSON,
    Action,
    Actor,
    Agreement,
    AnyPart,
    Contact,
    EarlierHelp,
    Goal,
    Identity,
    Label,
    Organisation,
    Provision,
    RecordedBy,
    Relative,
    Safety,
    SupportPlan,
    TeamMember,
    Worry,
)
from mappings.references import broken_references

BASE_URL = "https://poort.voorbeeld.nl/fhir"
PLAIN = {"kind", "id", "label", "resident", "goals", "provider", "organisation", "owner", "watched_by", "bsn"}
"""Fields of a part that hold no free text."""


@cache
def plan_van_aanpak() -> Format:
    """Compile the shipped format."""
    folder = Path(next(iter(mappings.__path__))) / "formats" / "plan-van-aanpak"
    return compile_format(
        "plan-van-aanpak", (folder / "mapping.yaml").read_bytes(), (folder / "schema.json").read_bytes()
    )


def exits(view: SupportPlan) -> dict[str, bytes]:
    """Return a view in every form in which it leaves."""
    return {
        "plan": PLAN_TO_JSON.encode(view),
        "fhir": encode_bundle(plan_to_bundle(view, BASE_URL)),
        "plan-van-aanpak": plan_van_aanpak().write(view),
    }


def canary(part_id: str, field: str) -> str:
    """Return the text of one field of one part; letters and figures only, so that no exit writes it otherwise."""
    return "Kanarie" + "".join(each for each in f"{part_id}Q{field}" if each.isalnum()) + "X"


def singing(plan: SupportPlan) -> SupportPlan:
    """Return the plan with a canary in every text field, and an id that nothing else holds for all that has one."""
    return replace(
        plan,
        number="KanariePlannummer",
        parts=tuple(_singing(part, number) for number, part in enumerate(plan.parts)),
        organisations=tuple(replace(each, name=canary(each.id, "name"), identifiers=()) for each in plan.organisations),
    )


def _singing(part: AnyPart, number: int) -> AnyPart:
    changed: dict[str, Any] = {}
    for field in _text_fields(type(part)):
        changed[field] = canary(part.id, field)
    if isinstance(part, Identity):
        changed |= {"bsn": f"9{number:02}999990"}
    return replace(part, **changed)


@cache
def _text_fields(kind: type) -> tuple[str, ...]:
    return tuple(name for name, hint in get_type_hints(kind).items() if hint in {str, str | None} and name not in PLAIN)


def canaries(part: AnyPart) -> Iterator[str]:
    """Yield the texts of a part."""
    for field in part.__struct_fields__:
        value = getattr(part, field)
        if isinstance(value, str) and value.startswith("Kanarie"):
            yield value


def texts_of(body: bytes) -> Iterator[str]:
    """Yield every string of a JSON body, keys left out."""
    yield from _strings(msgspec.json.decode(body))


def _strings(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for inner in value.values():
                yield from _strings(inner)
        case list():
            for inner in value:
                yield from _strings(inner)
        case str():
            yield value
        case _:
            pass


def holds_id(body: bytes, name: str) -> bool:
    """Say whether an id occurs in a body: by itself, in a reference, or in a URL."""
    return any(name in text.split("/") or f"urn:{name}" == text for text in texts_of(body))


def pseudonym_for(recipient: Recipient, resident: str) -> str:
    """Make the number that one recipient knows somebody by."""
    return f"ps.{recipient.organisation}.{resident}"


def view_of(
    plan: SupportPlan, recipient: Recipient, permitted: frozenset[str], ground: Any = "consent"
) -> SupportPlan | None:
    """Redact to the parts that are permitted."""
    decisions = {
        part.id: Decision(
            part_id=part.id,
            permitted=part.id in permitted,
            code="consent" if part.id in permitted else "no-choice",
            ground=ground if part.id in permitted else None,
        )
        for part in plan.parts
    }
    return redact(plan, decisions, recipient, lambda who: pseudonym_for(recipient, who))


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A plan full of canaries, the decisions about it, and the view that follows."""

    plan: SupportPlan
    recipient: Recipient
    decisions: dict[str, Decision]
    view: SupportPlan | None

    def withheld(self) -> list[AnyPart]:
        """Return the parts that are not in the view."""
        return [part for part in self.plan.parts if not self.decisions[part.id].permitted]

    def visible(self) -> list[AnyPart]:
        """Return the parts of the plan that are in the view, as they are in the plan."""
        return [part for part in self.plan.parts if self.decisions[part.id].permitted]


@st.composite
def sights(draw: st.DrawFn) -> Seen:
    """What comes of generated choices, or of any set of permitted parts whatever."""
    plan, now = singing(draw(support_plans())), draw(moments)
    recipient = draw(recipients(plan))
    if draw(st.booleans()):
        choices = draw(choice_sets(plan, recipient, amsterdam_day(now)))
        indexes = {who: ChoiceIndex(said) for who, said in choices.items()}
        grounds = GROUND_SETS[draw(st.integers(0, len(GROUND_SETS) - 1))]
        decisions = decide_all(plan, open_case(plan, recipient, "support", indexes, grounds, now))
    else:
        decisions = {
            part.id: Decision(part_id=part.id, permitted=yes, code="consent" if yes else "no-choice", ground="consent")
            for part in plan.parts
            for yes in [draw(st.booleans())]
        }
    view = redact(plan, decisions, recipient, lambda who: pseudonym_for(recipient, who))
    return Seen(plan=plan, recipient=recipient, decisions=decisions, view=view)


busy = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@busy
@given(seen=sights())
def test_no_exit_tells_of_what_is_withheld(seen: Seen) -> None:
    """No text, no part, no resident, no organisation, no number."""
    view = seen.view
    assert (view is None) == (not seen.visible())
    if view is None:
        return
    visible = seen.visible()
    heard = {text for part in visible for text in canaries(part)}
    songs = {text for part in seen.withheld() for text in canaries(part)} - heard
    ids = {part.id for part in seen.withheld()}
    strangers = set(seen.plan.residents) - {who for part in visible for who in part.label.subjects}
    named = {each for part in visible for each in _organisations(part)} | {
        seen.plan.source,
        seen.recipient.organisation,
    }
    hidden = {each.id for each in seen.plan.organisations} - named
    for exit_name, body in exits(view).items():
        texts = set(texts_of(body))
        sung = {text for text in texts if text in songs}
        assert not sung, exit_name
        assert not [text for text in songs if text.encode() in body], exit_name
        assert not [each for each in ids | strangers | hidden if holds_id(body, each)], exit_name
        assert not [each for each in hidden if canary(each, "name").encode() in body], exit_name
        assert (b"KanariePlannummer" in body) <= (seen.recipient.organisation == seen.plan.source), exit_name


def _organisations(part: AnyPart) -> Iterator[str]:
    """Yield what a visible part names: where a member works, who provides, who speaks or acts; never who recorded it."""
    if isinstance(part, TeamMember) and part.organisation:
        yield part.organisation
    if isinstance(part, Provision) and part.provider:
        yield part.provider
    actors = [part.label.speaker, *(getattr(part, name, None) for name in ("by", "owner", "watched_by"))]
    yield from (each.ref for each in actors if isinstance(each, Actor) and each.type == "organisation" and each.ref)


@busy
@given(seen=sights())
def test_no_exit_tells_a_bsn_without_an_article_or_more_of_a_relative_than_agreed(seen: Seen) -> None:
    """Consent cannot make a BSN lawful, and a relative did not choose this recipient."""
    if seen.view is None:
        return
    for exit_name, body in exits(seen.view).items():
        for part in seen.visible():
            if isinstance(part, Identity):
                may = bool(seen.recipient.bsn_article) or seen.recipient.resident == part.resident
                assert (str(part.bsn).encode() in body) == may, exit_name
                mine = pseudonym_for(seen.recipient, part.resident).encode()
                assert (mine in body) == (not may), exit_name
                assert str(part.pseudonym).encode() not in body or may, exit_name
            if isinstance(part, Relative) and seen.decisions[part.id].ground not in {"authored", "own-data"}:
                assert canary(part.id, "phone").encode() not in body, exit_name
                assert canary(part.id, "email").encode() not in body, exit_name
                assert (canary(part.id, "name").encode() in body) <= part.agreed, exit_name


@busy
@given(seen=sights())
def test_a_view_is_a_plan_that_answers_its_own_references(seen: Seen) -> None:
    """It can be sent on, read back, and rendered like any plan; parts keep their order and their ids."""
    if seen.view is None:
        return
    assert list(broken_references(seen.view)) == []
    assert [part.id for part in seen.view.parts] == [part.id for part in seen.visible()]
    assert JSON_TO_PLAN.decode(PLAN_TO_JSON.encode(seen.view)) == seen.view
    assert bundle_to_plan(plan_to_bundle(seen.view, BASE_URL)) == (in_order(seen.view), ())
    assert (seen.view.version, seen.view.changed_at) == (0, None)
    for part in seen.view.parts:
        recorder = part.label.recorded_by
        assert recorder is None or recorder.organisation == seen.recipient.organisation


@busy
@given(seen=sights())
def test_a_view_keeps_what_its_reader_may_see(seen: Seen) -> None:
    """Withholding everything would pass every other claim: the texts of a visible part are all there."""
    if seen.view is None:
        return
    body = PLAN_TO_JSON.encode(seen.view)
    for part in seen.visible():
        if not isinstance(part, Relative | Identity):
            assert not [text for text in canaries(part) if text.encode() not in body]
    assert {who for part in seen.visible() for who in part.label.subjects} == set(seen.view.residents)
    rebuilt = {part.id: part for part in seen.view.parts}
    for part in seen.visible():
        other = rebuilt[part.id].label
        kept = (part.label.subjects, part.label.domain, part.label.law, part.label.sensitivity)
        assert kept == (other.subjects, other.domain, other.law, other.sensitivity)
        assert (part.label.recorded_by == other.recorded_by) == (
            part.label.recorded_by is None or part.label.recorded_by.organisation == seen.recipient.organisation
        )


@busy
@given(plan=support_plans())
def test_seeing_nothing_is_no_view_and_a_view_of_a_view_is_itself(plan: SupportPlan) -> None:
    """Redacting twice changes nothing: nothing that a second look would leave out got in."""
    kompas = Recipient(organisation="vreemd", kind="care-provider")
    assert view_of(plan, kompas, frozenset()) is None
    everything = frozenset(part.id for part in plan.parts)
    once = view_of(plan, kompas, everything)
    if once is not None:
        assert view_of(once, kompas, everything) == once


# --- one reference at a time ----------------------------------------------------------------------------------------------------

KOMPAS = Recipient(organisation="kompas", kind="care-provider")
HERS = Label(subjects=("marloes",))
FAMILY = SupportPlan(
    id="plan",
    status="decided",
    residents=("marloes", "finn"),
    instrument="plan-van-aanpak",
    source="wijkteam",
    number="2026-1",
    starts_on=date(2026, 1, 1),
    version=4,
    changed_at=datetime(2026, 1, 1, tzinfo=UTC),
    organisations=tuple(Organisation(id=each, name=each) for each in ("kompas", "linde", "wijkteam", "huisarts")),
    parts=(
        Identity(id="marloes.identity", label=HERS, resident="marloes", bsn="999900006", pseudonym="van-een-ander"),
        Contact(id="finn.contact", label=Label(subjects=("finn",)), resident="finn", phone="06"),
        Relative(id="oma", label=HERS, relation="family", name="Ria", agreed=True, phone="1", email="r@x"),
        Relative(id="vader", label=HERS, relation="ex-partner", name="Dennis", phone="2", email="d@x", carer=True),
        TeamMember(id="joost", label=HERS, role="care-provider", name="Joost", organisation="linde"),
        Goal(id="doel", label=HERS, text="doel"),
        Goal(id="doel-2", label=HERS, text="doel 2"),
        Action(id="actie", label=HERS, text="t", owner=Actor(type="professional", ref="joost"), goals=("doel", "doel-2")),
        Provision(id="voorziening", label=HERS, text="t", provider="kompas", goals=("doel", "doel-2")),
        Safety(id="veilig", label=HERS, aspect="agreement", owner=Actor(type="relative", ref="oma"),
               watched_by=Actor(type="professional", ref="joost")),
        Agreement(id="akkoord", label=HERS, by=Actor(type="resident", ref="finn"), on=date(2026, 1, 1)),
        EarlierHelp(id="eerder", label=HERS, text="t", by="een tekst"),
        Worry(id="zorg", text="t", label=Label(subjects=("marloes",), mentioned=("oma", "vader"),
              speaker=Actor(type="relative", ref="vader"), recorded_by=RecordedBy(organisation="huisarts", secrecy=True))),
    ),
)  # fmt: skip


def part_in_view(part_id: str, *also: str, recipient: Recipient = KOMPAS, ground: str = "consent") -> Any:
    """Return one part as `recipient` sees it when it sees these others too."""
    view = view_of(FAMILY, recipient, frozenset({part_id, *also}), ground)
    assert view is not None
    return next(part for part in view.parts if part.id == part_id)


REFERENCES = [
    ("an owner of whom nothing is seen is of a kind only", "actie", (), "owner", Actor(type="professional")),
    ("an owner who is seen is named", "actie", ("joost",), "owner", Actor(type="professional", ref="joost")),
    ("a goal that is not seen is not served", "actie", ("doel",), "goals", ("doel",)),
    ("an action without seen goals serves none", "actie", (), "goals", ()),
    ("a provision serves seen goals only", "voorziening", ("doel-2",), "goals", ("doel-2",)),
    ("a provision names who provides it", "voorziening", (), "provider", "kompas"),
    ("a safety agreement's owner is of a kind only", "veilig", (), "owner", Actor(type="relative")),
    ("a safety agreement's seen owner is named", "veilig", ("oma",), "owner", Actor(type="relative", ref="oma")),
    ("who watches is of a kind only", "veilig", (), "watched_by", Actor(type="professional")),
    ("a resident of whom nothing is seen is of a kind only", "akkoord", (), "by", Actor(type="resident")),
    ("a resident of whom something is seen is named", "akkoord", ("finn.contact",), "by", Actor(type="resident", ref="finn")),
    ("a text in a field called by stays", "eerder", (), "by", "een tekst"),
    ("a relative who agreed has a name", "oma", (), "name", "Ria"),
    ("a relative who agreed has no phone", "oma", (), "phone", None),
    ("a relative who agreed has no e-mail", "oma", (), "email", None),
    ("a relative who did not agree has no name", "vader", (), "name", None),
    ("a relative who did not agree has no phone", "vader", (), "phone", None),
    ("a relative keeps the relation", "vader", (), "relation", "ex-partner"),
    ("a relative keeps being a carer", "vader", (), "carer", True),
    ("a BSN becomes a number of one's own", "marloes.identity", (), "bsn", None),
    ("a number of another is replaced", "marloes.identity", (), "pseudonym", "ps.kompas.marloes"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("part_id", "also", "field", "expected"), [row[1:] for row in REFERENCES], ids=[row[0] for row in REFERENCES]
)
def test_a_part_refers_only_to_what_is_seen(part_id: str, also: tuple[str, ...], field: str, expected: Any) -> None:
    """Field by field."""
    assert expected == getattr(part_in_view(part_id, *also), field)


def test_a_label_names_nobody_who_is_not_seen() -> None:
    """Mentioned people, the speaker, the recorder."""
    assert part_in_view("zorg").label == Label(subjects=("marloes",), speaker=Actor(type="relative"))
    seen = part_in_view("zorg", "vader").label
    assert (seen.mentioned, seen.speaker) == (("vader",), Actor(type="relative", ref="vader"))
    own = part_in_view("zorg", recipient=Recipient(organisation="huisarts"), ground="authored").label
    assert own.recorded_by == RecordedBy(organisation="huisarts", secrecy=True)


def test_the_author_of_a_part_keeps_what_it_wrote_of_a_relative() -> None:
    """Its own record is not redacted."""
    assert part_in_view("vader", ground="authored").phone == "2"


def test_a_law_does_not_open_a_relatives_name() -> None:
    """Only the relative's own agreement does."""
    assert part_in_view("vader", ground="statutory-task").name is None


def test_a_bsn_goes_to_an_article_and_to_the_resident_and_to_nobody_else() -> None:
    """And then without a number made up for it."""
    article = part_in_view("marloes.identity", recipient=replace(KOMPAS, bsn_article="art. 5.2.9"))
    own = part_in_view("marloes.identity", recipient=replace(KOMPAS, resident="marloes"), ground="own-data")
    other = part_in_view("marloes.identity", recipient=replace(KOMPAS, resident="finn"))
    assert (article.bsn, article.pseudonym) == (own.bsn, own.pseudonym) == ("999900006", None)
    assert (other.bsn, other.pseudonym) == (None, "ps.kompas.marloes")


def test_two_recipients_know_a_resident_by_different_numbers() -> None:
    """They cannot put their files together by it; each gets the same one every time."""
    linde = Recipient(organisation="linde", kind="care-provider")
    first, second = (part_in_view("marloes.identity", recipient=who).pseudonym for who in (KOMPAS, linde))
    assert first != second
    assert first == part_in_view("marloes.identity", "doel").pseudonym


def test_a_view_names_the_organisations_of_its_parts_and_the_source() -> None:
    """In the order of the plan; who recorded a part is named to itself only."""

    def named(recipient: Recipient, *parts: str) -> list[str]:
        view = view_of(FAMILY, recipient, frozenset(parts))
        return [each.id for each in view.organisations] if view else []

    assert named(KOMPAS, "doel") == ["wijkteam"]
    assert named(KOMPAS, "voorziening", "joost") == ["kompas", "linde", "wijkteam"]
    assert named(KOMPAS, "zorg") == ["wijkteam"]
    assert named(Recipient(organisation="huisarts"), "zorg") == ["wijkteam", "huisarts"]


def test_the_header_holds_the_plan_number_for_its_author_only() -> None:
    """A number of a dossier is the source's own; version and date are counted per recipient."""
    view, own = (view_of(FAMILY, who, frozenset({"doel"})) for who in (KOMPAS, Recipient(organisation="wijkteam")))
    assert view is not None
    assert own is not None
    assert (view.number, own.number) == (None, "2026-1")
    assert (view.version, view.changed_at) == (0, None)
    assert (view.id, view.status, view.source, view.starts_on) == ("plan", "decided", "wijkteam", date(2026, 1, 1))
    assert view.residents == ("marloes",)


def test_a_plan_without_a_source_has_no_author() -> None:
    """No source is not everybody."""
    view = view_of(replace(FAMILY, source=None), KOMPAS, frozenset({"doel"}))
    assert view is not None
    assert (view.number, view.organisations) == (None, ())


def test_a_part_without_a_decision_is_an_error_and_not_a_part() -> None:
    """Whoever redacts must have decided about everything."""
    with pytest.raises(KeyError):
        redact(FAMILY, {}, KOMPAS, str)


def test_a_resident_does_not_read_a_relatives_contact_details() -> None:
    """Mentioned people appear by role unless they agreed, their contact details never; AVG 15(4)."""
    reader = replace(KOMPAS, resident="marloes")
    seen = part_in_view("vader", recipient=reader, ground="own-data")
    assert (seen.name, seen.phone, seen.email) == (None, None, None)
