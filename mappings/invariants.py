"""The invariants of R4 4.0.1, by the key that the specification gives them: one row each, with what to do about it.

They stand in the StructureDefinitions of the types (https://hl7.org/fhir/R4/conformance-rules.html#constraints): those of the
resources in `bindings.py` and of the datatypes in them. A row says on which type (by the name of its model) the rule is judged.

Left out: dom-6 and con-3, which R4 gives as advice only; txt-1 and txt-2, which are in `narrative.py`; ele-1, which is in
`fhirjson.py`; those of definitions (ElementDefinition, DataRequirement, TriggerDefinition), which no plan holds.
ppc-2 to ppc-5 compare in R4 with a code system named "something"; here they do what their sentence says.
"""

from collections.abc import Iterator

from msgspec import Struct

from mappings import predicates as ask
from mappings.errors import Finding
from mappings.predicates import Predicate
from mappings.structure import Place


class Invariant(Struct, frozen=True, kw_only=True):
    """A rule: its key, whether it holds at a place, and what to do when it does not."""

    key: str
    holds: Predicate
    remedy: str


def findings(place: Place) -> Iterator[Finding]:
    """Yield the invariants that do not hold at this place."""
    for rule in (*INVARIANTS.get(place.type, ()), *(CONTAINED if place.is_contained else ())):
        if not rule.holds(place):
            yield Finding(pointer=place.pointer, code=rule.key, remedy=f"{rule.remedy} ({rule.key})")


def _rules(*rows: tuple[str, Predicate, str]) -> tuple[Invariant, ...]:
    return tuple(Invariant(key=key, holds=holds, remedy=remedy) for key, holds, remedy in rows)


_UNIT_WITH_SYSTEM = ("qty-3", ask.implied(("system",), by="code"), "give the system of the unit's code")

CONTAINED = _rules(
    ("dom-2", lambda place: "contained" not in place.value, "contain nothing in a contained resource"),
    ("dom-3", ask.is_referred_to, "refer to each contained resource from the one that contains it, or leave it out"),
    ("dom-4", ask.unversioned, "give a contained resource no version and no moment of change"),
    ("dom-5", ask.unlabelled, "give a contained resource no security label"),
)
"""What R4 asks of a resource inside another."""

INVARIANTS: dict[str, tuple[Invariant, ...]] = {
    "Extension": _rules(
        (
            "ext-1",
            lambda place: ("extension" in place.value) != ask.chosen(place.value, "value"),
            "give an extension or a value, not both",
        )
    ),
    "Reference": _rules(("ref-1", ask.resolves, "contain the resource that # refers to")),
    "Period": _rules(
        (
            "per-1",
            lambda place: ask.not_after(place.value.get("start"), place.value.get("end")),
            "end a period no sooner than it starts",
        )
    ),
    "Quantity": _rules(_UNIT_WITH_SYSTEM),
    "Count": _rules(
        _UNIT_WITH_SYSTEM, ("cnt-3", ask.counted, "give a count as a whole number with the code 1 of UCUM")
    ),
    "Distance": _rules(_UNIT_WITH_SYSTEM, ("dis-1", ask.in_ucum, "give a code of UCUM with the value of a distance")),
    "Age": _rules(_UNIT_WITH_SYSTEM, ("age-1", ask.aged, "give an age above zero with a code of UCUM")),
    "Duration": _rules(
        _UNIT_WITH_SYSTEM, ("drt-1", ask.lasting, "give a duration a value with its code, which is of UCUM")
    ),
    "Expression": _rules(("exp-1", ask.any_of("expression", "reference"), "give an expression or where it is")),
    "Range": _rules(
        ("rng-2", ask.ordered_range, "give a low end that is not above the high end"),
        ("sqt-1", ask.simple("low", "high"), "leave the comparator out of a simple quantity"),
    ),
    "Ratio": _rules(
        ("rat-1", ask.both_or_extended, "give numerator and denominator both, or neither and an extension")
    ),
    "SampledData": _rules(("sqt-1", ask.simple("origin"), "leave the comparator out of a simple quantity")),
    "Attachment": _rules(("att-1", ask.implied(("contentType",), by="data"), "give the content type of the data")),
    "ContactPoint": _rules(
        ("cpt-2", ask.implied(("system",), by="value"), "say what kind of contact point this is in `system`")
    ),
    "TimingRepeat": _rules(
        ("tim-1", ask.implied(("durationUnit",), by="duration"), "give the unit of the duration"),
        ("tim-2", ask.implied(("periodUnit",), by="period"), "give the unit of the period"),
        ("tim-4", ask.at_least_zero("duration"), "give a duration that is not negative"),
        ("tim-5", ask.at_least_zero("period"), "give a period that is not negative"),
        ("tim-6", ask.implied(("period",), by="periodMax"), "give the period to which the maximum belongs"),
        ("tim-7", ask.implied(("duration",), by="durationMax"), "give the duration to which the maximum belongs"),
        ("tim-8", ask.implied(("count",), by="countMax"), "give the count to which the maximum belongs"),
        ("tim-9", ask.offset_with_when, "give an offset only with a `when` that is not a meal itself"),
        ("tim-10", ask.not_both("timeOfDay", "when"), "give a time of day or a `when`, not both"),
    ),
    "CarePlanActivity": _rules(
        ("cpl-3", ask.not_both("detail", "reference"), "give a reference or a detail, not both")
    ),
    "CarePlanActivityDetail": _rules(
        ("sqt-1", ask.simple("dailyAmount", "quantity"), "leave the comparator out of a simple quantity")
    ),
    "GoalTarget": _rules(
        (
            "gol-1",
            lambda place: not ask.chosen(place.value, "detail") or "measure" in place.value,
            "say in `measure` what the detail is of",
        )
    ),
    "Task": _rules(
        (
            "inv-1",
            lambda place: ask.not_after(place.value.get("authoredOn"), place.value.get("lastModified")),
            "give a last change that is no sooner than the task was written",
        )
    ),
    "Consent": _rules(
        ("ppc-1", ask.any_of("policy", "policyRule"), "give a policy or a policy rule"),
        ("ppc-2", ask.patient_for("patient-privacy"), "name the patient whose privacy it is"),
        ("ppc-3", ask.patient_for("research"), "name the patient who takes part in the research"),
        ("ppc-4", ask.patient_for("adr"), "name the patient whose directive it is"),
        ("ppc-5", ask.patient_for("treatment"), "name the patient who is treated"),
    ),
    "Condition": _rules(
        ("con-4", ask.abated_is_over, "give an abated condition the clinical status inactive, resolved or remission"),
        ("con-5", ask.error_has_no_status, "give a condition that was entered in error no clinical status"),
    ),
    "ConditionStage": _rules(
        ("con-1", ask.any_of("summary", "assessment"), "give a summary or an assessment of the stage")
    ),
    "ConditionEvidence": _rules(("con-2", ask.any_of("code", "detail"), "give a code or a detail of the evidence")),
    "PatientContact": _rules(
        (
            "pat-1",
            ask.any_of("name", "telecom", "address", "organization"),
            "give a name, telecom, address or organization",
        )
    ),
    "Organization": _rules(
        ("org-1", ask.any_of("identifier", "name"), "give an identifier or a name"),
        ("org-2", ask.never_home("address"), "give an organization no home address"),
        ("org-3", ask.never_home("telecom"), "give an organization no home telecom"),
    ),
    "CareTeamParticipant": _rules(("ctm-1", ask.on_behalf_of, "say on whose behalf only for a Practitioner")),
    "Observation": _rules(
        ("obs-6", ask.no_reason_beside_value, "say why data is absent only when there is no value"),
        ("obs-7", ask.valued_once, "give a value once: here, or in the component with the same code"),
    ),
    "ObservationReferenceRange": _rules(
        ("obs-3", ask.any_of("low", "high", "text"), "give a low end, a high end or a text"),
        ("sqt-1", ask.simple("low", "high"), "leave the comparator out of a simple quantity"),
    ),
    "ServiceRequest": _rules(
        ("prr-1", ask.implied(("code",), by="orderDetail"), "give a code with the details of an order")
    ),
    "Group": _rules(("grp-1", ask.actual_with_members, "list members only of a group that is actual")),
    "AuditEventEntity": _rules(("sev-1", ask.not_both("name", "query"), "give a name or a query, not both")),
    "Bundle": _rules(
        ("bdl-1", ask.only_in("total", "searchset", "history"), "give a total only in search results or a history"),
        ("bdl-7", ask.distinct_urls, "give every entry a fullUrl of its own"),
        ("bdl-9", ask.document_has(ask.identified), "identify a document with a system and a value"),
        ("bdl-10", ask.document_has(lambda bundle: "timestamp" in bundle), "give a document its timestamp"),
        ("bdl-11", ask.begins_with("document", "Composition"), "begin a document with a Composition"),
        ("bdl-12", ask.begins_with("message", "MessageHeader"), "begin a message with a MessageHeader"),
    ),
    "BundleEntry": _rules(
        ("bdl-2", ask.only_in("search", "searchset"), "give `search` in search results only"),
        (
            "bdl-3",
            ask.exactly_in("request", ask.REQUEST),
            "give `request` in a batch, transaction or history, and only there",
        ),
        ("bdl-4", ask.exactly_in("response", ask.RESPONSE), "give `response` in a response or history, and only there"),
        ("bdl-5", ask.any_of("resource", "request", "response"), "give a resource, a request or a response"),
        ("bdl-8", ask.no_history_in_url, "give a fullUrl without a version"),
    ),
}
"""By type, in the order of the specification."""
