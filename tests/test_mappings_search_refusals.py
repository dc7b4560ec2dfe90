"""What a search may not ask, and how it is told."""

import pytest
from searches import BSN, URL, hashed, parsed, refused, tokens

from mappings.identifiers import BSN_SYSTEM
from mappings.search.links import query_string
from mappings.search.parsing import parse_query
from mappings.search.query import Tokens

VALUE, MODIFIER, CHAIN, MANY = "value", "modifier", "chain", "too-many"

REFUSED: dict[str, tuple[str, str]] = {
    "Task?status=": (VALUE, "status"),
    "Task?status=a,": (VALUE, "status"),
    "Task?status=%7C": (VALUE, "status"),
    "Task?status=a%7Cb%7Cc": (VALUE, "status"),
    "Task?status=a%00": (VALUE, "status"),
    "Task?status:missing=maybe": (VALUE, "status:missing"),
    "Task?period=yesterday": (VALUE, "period"),
    "Task?period=2026-02-30": (VALUE, "period"),
    "Task?period=ap2026": (VALUE, "period"),
    "Task?period=xx2026": (VALUE, "period"),
    "Task?_id=a/b": (VALUE, "_id"),
    "Task?patient=Group/1": (VALUE, "patient"),
    "Task?patient=https://elders.voorbeeld.nl/fhir/Patient/1": (VALUE, "patient"),
    "Task?patient=a b": (VALUE, "patient"),
    "CarePlan?subject:Patient=Group/1": (VALUE, "subject:Patient"),
    "CarePlan?subject:Device=1": (MODIFIER, "subject:Device"),
    "Task?focus:Nonsense=1": (MODIFIER, "focus:Nonsense"),
    "Task?focus:identifier=1": (MODIFIER, "focus:identifier"),
    "Task?status:text=a": (MODIFIER, "status:text"),
    "Task?status:in=a": (MODIFIER, "status:in"),
    "Task?status:=a": (MODIFIER, "status:"),
    "Task?period:not=2026": (MODIFIER, "period:not"),
    "Task?_id:not=1": (MODIFIER, "_id:not"),
    "Task?_lastUpdated:missing=true": (MODIFIER, "_lastUpdated:missing"),
    "Task?subject.identifier=1": (CHAIN, "subject.identifier"),
    "Task?focus:Device.identifier=1": (CHAIN, "focus:Device.identifier"),
    "Task?status.identifier=1": (CHAIN, "status.identifier"),
    "Task?patient.organization.identifier=1": (CHAIN, "patient.organization.identifier"),
    "Task?patient._has:Task:patient:status=a": (CHAIN, "patient._has:Task:patient:status"),
    "Goal?_has=1": (CHAIN, "_has"),
    "Goal?_has:Task=1": (CHAIN, "_has:Task"),
    "Goal?_has:Task:focus=1": (CHAIN, "_has:Task:focus"),
    "Goal?_has:Task:patient:status=a": (CHAIN, "_has:Task:patient:status"),
    "Goal?_has:Task:focus:nonsense=a": (CHAIN, "_has:Task:focus:nonsense"),
    "Goal?_has:Task:focus:owner.identifier=a": (CHAIN, "_has:Task:focus:owner.identifier"),
    "Goal?_has:Task:focus:_has:Task:focus:status=a": (CHAIN, "_has:Task:focus:_has:Task:focus:status"),
    "Goal?_has:Nonsense:focus:status=a": (CHAIN, "_has:Nonsense:focus:status"),
    "Task?_count=-1": (VALUE, "_count"),
    "Task?_count=ten": (VALUE, "_count"),
    "Task?_count=": (VALUE, "_count"),
    "Task?_count=٣": (VALUE, "_count"),
    "Task?_count=1&_count=2": (VALUE, "_count"),
    "Task?_count:not=1": (MODIFIER, "_count:not"),
    "Task?_total=some": (VALUE, "_total"),
    "Task?_summary=all": (VALUE, "_summary"),
    "Task?_summary=text&_include=Task:focus": (VALUE, "_summary"),
    "Task?_elements=Task.status": (VALUE, "_elements"),
    "Task?_elements=": (VALUE, "_elements"),
    "Task?_sort=status": (VALUE, "_sort"),
    "Task?_sort=": (VALUE, "_sort"),
    "Task?_format=xml": (VALUE, "_format"),
    "Task?_include=*": (VALUE, "_include"),
    "Task?_include=Task:*": (VALUE, "_include"),
    "Task?_include=Task:status": (VALUE, "_include"),
    "Task?_include=Goal:subject": (VALUE, "_include"),
    "Task?_include=Task:patient:Goal": (VALUE, "_include"),
    "Task?_include=Task:patient:": (VALUE, "_include"),
    "Task?_include:iterate=Task:focus": (MODIFIER, "_include:iterate"),
    "Task?_revinclude=Task:patient": (VALUE, "_revinclude"),
    "Task?_revinclude=Provenance:target:Goal": (VALUE, "_revinclude"),
    "Task?_revinclude=*": (VALUE, "_revinclude"),
    "Patient?name=Anna": ("not-searchable", "name"),
    "Patient?family:exact=Anna": ("not-searchable", "family:exact"),
    "Patient?address-city=Utrecht": ("not-searchable", "address-city"),
    "Patient?phone=1": ("not-searchable", "phone"),
    "Task?_content=geld": ("not-searchable", "_content"),
    "Task?patient.name=Anna": ("not-searchable", "patient.name"),
    "Task?name.identifier=Anna": ("not-searchable", "name.identifier"),
    "Patient?_has:Task:patient:_text=geld": ("not-searchable", "_has:Task:patient:_text"),
    "Task?status=" + ",".join(map(str, range(101))): (MANY, "status"),
    "Task?_elements=" + ",".join(["a"] * 101): (MANY, "_elements"),
    f"Patient?identifier={BSN_SYSTEM}%7C{BSN}": ("bsn-by-get", "identifier"),
    f"Patient?identifier=urn:oid:2.16.840.1.113883.2.4.6.3%7C{BSN}": ("bsn-by-get", "identifier"),
    f"Patient?identifier={BSN}": ("bsn-by-get", "identifier"),
    f"Task?patient.identifier={BSN_SYSTEM}%7C{BSN}": ("bsn-by-get", "patient.identifier"),
    f"Group?_has:Task:subject:identifier={BSN_SYSTEM}%7C{BSN}": ("bsn-by-get", "_has:Task:subject:identifier"),
    f"Patient?identifier:not={BSN_SYSTEM}%7C{BSN}": ("bsn-by-get", "identifier:not"),
}


@pytest.mark.parametrize(("url", "expected"), REFUSED.items(), ids=[url[:70] for url in REFUSED])
def test_what_cannot_be_done_is_refused_by_name(url: str, expected: tuple[str, str]) -> None:
    """One finding, at the name of the parameter, lenient or not, with what to do and without the value."""
    resource_type, _, text = url.partition("?")
    (finding,) = refused(resource_type, text)
    assert expected == (finding.code, finding.pointer.removeprefix("/"))
    assert finding.remedy
    assert refused(resource_type, text, is_strict=True) == (finding,)


def test_an_unknown_parameter_is_left_out_or_refused() -> None:
    """A lenient client is told what was ignored and gets the rest; a strict one is refused."""
    text = "status=requested&colour=red&focus:Goal.colour=red&Anna%20de%20Vries=1&colour=blue"
    query = parsed("Task", text)
    assert (tokens("status", (None, "requested")),) == query.conditions
    assert query.ignored == ("colour", "focus:Goal.colour", "unreadable")
    assert query.said == (("status", "requested"),)
    found = [(finding.code, finding.pointer) for finding in refused("Task", text, is_strict=True)]
    assert found == [("unknown-parameter", f"/{name}") for name in (*query.ignored, "colour")]


def test_every_refusal_is_told_at_once() -> None:
    """In the order that they were sent."""
    assert [each.pointer for each in refused("Task", "period=x&status=a&status=&_count=x")] == [
        "/period",
        "/status",
        "/_count",
    ]


def test_too_many_parameters_are_refused() -> None:
    """A hundred are read."""
    assert len(parsed("Task", "&".join(f"status={at}" for at in range(100))).conditions) == 100
    (finding,) = refused("Task", "&".join(f"status={at}" for at in range(101)))
    assert (finding.pointer, finding.code) == ("", MANY)


def test_a_hundred_values_are_read() -> None:
    """Of a parameter, an order and a list of elements."""
    values = ",".join(f"a{at}" for at in range(100))
    (condition,) = parsed("Task", f"status={values}").conditions
    assert isinstance(condition, Tokens)
    assert len(condition.any_of) == 100
    names = ",".join("a" * at for at in range(1, 65))
    assert len(parsed("Task", f"_elements={names},{','.join(['b'] * 36)}").elements) == 65


def test_a_type_without_a_table_is_refused() -> None:
    """And told which have one."""
    (finding,) = refused("Encounter", "")
    assert finding.code == "not-supported"
    assert "CarePlan" in finding.remedy


BY_POST: dict[str, tuple[tuple[str | None, str | None], ...]] = {
    f"{BSN_SYSTEM}|{BSN}": ((BSN_SYSTEM, hashed(BSN)),),
    f"urn:oid:2.16.840.1.113883.2.4.6.3|{BSN}": ((BSN_SYSTEM, hashed(BSN)),),
    BSN: ((None, BSN), (BSN_SYSTEM, hashed(BSN))),
    f"{BSN_SYSTEM}|": ((BSN_SYSTEM, None),),
    "999900007": ((None, "999900007"),),
}


@pytest.mark.parametrize(
    ("value", "expected"), BY_POST.items(), ids=["named", "by oid", "bare", "anybody with one", "no BSN"]
)
def test_a_bsn_is_found_by_post_and_by_its_hash(
    value: str, expected: tuple[tuple[str | None, str | None], ...]
) -> None:
    """And never gets into a link."""
    pairs = [("identifier", value)]
    query = parse_query("Patient", pairs, base_url=URL, is_strict=True, is_post=True, hashed=hashed)
    assert (tokens("identifier", *expected),) == query.conditions
    assert BSN not in query_string(query)


def test_what_is_no_bsn_is_refused_as_one() -> None:
    """Under the system of the BSN only."""
    (finding,) = refused("Patient", f"identifier={BSN_SYSTEM}%7C999900007", is_post=True)
    assert finding.code == VALUE
    assert "11-test" in finding.remedy


def test_a_number_of_an_organisation_is_no_bsn() -> None:
    """A chamber of commerce number may pass the test by chance."""
    assert parsed("Organization", f"identifier={BSN}").conditions == (tokens("identifier", (None, BSN)),)
