"""A SupportPlan, or one reader's view of it, as a FHIR R4 transaction Bundle, and back.

The Bundle is built up from the plan it is given and knows nothing else, so what a view leaves out is in no reference, count or id.
Reading resolves references by Type/id and by fullUrl (https://hl7.org/fhir/R4/bundle.html#references) and answers with the plan and
its loss: the RFC 6901 pointers of every leaf that the plan does not carry. Loss is found by rendering the plan again and comparing,
so nothing is lost in silence. What could turn a meaning around is refused: modifier extensions, `implicitRules`, `doNotPerform`,
entries in error (https://hl7.org/fhir/R4/conformance-rules.html#isModifier).

Order: parts stand by kind, and within a kind as the CarePlan and its CareTeam list them, so it survives a FHIR server.
`in_order` makes that order; for a plan in it `bundle_to_plan(plan_to_bundle(plan, url)) == (plan, ())`.
Ids of plan, parts, residents and organisations must be FHIR ids: 1 to 64 of A-Z a-z 0-9 - . (https://hl7.org/fhir/R4/datatypes.html#id).

R4 or R4B: `fhir.resources` has no 4.0.1. R4B changed SubscriptionStatus, Citation, Evidence and medication definition resources
(https://hl7.org/fhir/R4B/diff.html), and widened whom Observation.subject and Group.member refer to; tests hold our elements
against a list out of 4.0.1.
"""

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from mappings import careplan, edge, findings, goal, patient, people, provision, task
from mappings.codes import KINDS
from mappings.elements import RESOURCE_TYPE, Resource, group_id, subject_reference
from mappings.errors import Finding, MappingError
from mappings.inbound import index_of, loss_of, refuse_modifiers
from mappings.node import Index, Node
from mappings.plan import (
    Action,
    AnyPart,
    Contact,
    Evaluation,
    Goal,
    Identity,
    Organisation,
    Provision,
    Relative,
    SupportPlan,
    TeamMember,
)

check_bundle = edge.check_bundle
"""The check at the edge, where a Bundle comes in, of everything that R4 and our profiles ask."""

_ENCODER = msgspec.json.Encoder(order="deterministic")
_RANK = {kind: rank for rank, kind in enumerate(KINDS)}


def plan_to_bundle(plan: SupportPlan, base_url: str) -> Resource:
    """Render a plan as a transaction of PUTs; references are relative, `base_url` is where the resources live."""
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [_entry(resource, base_url) for resource in plan_to_resources(plan)],
    }


def encode_bundle(bundle: Resource) -> bytes:
    """Return the bytes of a Bundle: the same for the same Bundle, so that a receipt can name their hash."""
    return _ENCODER.encode(bundle)


def plan_to_resources(plan: SupportPlan, only: Collection[str] | None = None) -> list[Resource]:
    """Render a plan as its resources: the CarePlan, the people, the parts. With `only` those that have one of these ids."""
    stamp = stamp_of(plan)
    if only is None:
        resources = [careplan.plan_to_careplan(plan, stamp), *_groups(plan, stamp), *_patients(plan, stamp)]
        parts, organisations = plan.parts, plan.organisations
    else:
        header = [careplan.plan_to_careplan(plan, stamp)] if plan.id in only else []
        resources = [*header, *_groups(plan, stamp), *_patients(plan, stamp, only)]
        resources = [each for each in resources if each["id"] in only]
        parts = tuple(part for part in plan.parts if part.id in only)
        organisations = tuple(each for each in plan.organisations if each.id in only)
    resources += [people.organisation_to_resource(organisation, stamp) for organisation in organisations]
    for part in parts:
        resources += _part_to_resources(part, stamp)
    members = [part for part in plan.parts if isinstance(part, TeamMember)] if only is None or plan.id in only else []
    if members:
        resources.append(people.team_to_resource(plan.id, subject_reference(plan.residents), members, stamp))
    return resources


def stamp_of(plan: SupportPlan) -> Resource:
    """Return the version that every resource of this view shares; empty when the view has none yet."""
    stamp: Resource = {"versionId": str(plan.version)} if plan.version else {}
    if plan.changed_at:
        stamp["lastUpdated"] = plan.changed_at.isoformat()
    return stamp


def in_order(plan: SupportPlan) -> SupportPlan:
    """Return the plan as a Bundle gives it back: parts by kind, subjects (and the parts about a resident) in the residents' order."""
    place = {resident: position for position, resident in enumerate(plan.residents)}
    parts = [_subjects_in_order(part, place) for part in plan.parts]
    parts.sort(key=lambda part: (_RANK[part.kind], _resident_place(part, place)))
    return msgspec.structs.replace(plan, parts=tuple(parts))


def as_listed(plan: SupportPlan) -> SupportPlan:
    """Return a plan in order, with relatives and organisations, which a Bundle lists nowhere, by id: entries may come in any order."""
    ordered = in_order(plan)
    parts = sorted(
        enumerate(ordered.parts),
        key=lambda item: (_RANK[item[1].kind], item[1].id if isinstance(item[1], Relative) else "", item[0]),
    )
    organisations = sorted(plan.organisations, key=lambda each: each.id)
    return msgspec.structs.replace(ordered, parts=tuple(part for _, part in parts), organisations=tuple(organisations))


def bundle_to_plan(bundle: Resource) -> tuple[SupportPlan, tuple[str, ...]]:
    """Read a Bundle with exactly one CarePlan; return the plan, and pointers to what it did not carry.

    Raises MappingError with every refusal found, each with its pointer into the Bundle.
    """
    refuse_modifiers(bundle)
    index = index_of(bundle)
    header = careplan.careplan_to_header(_only_careplan(index))
    parts, organisations = _read(index)
    plan = SupportPlan(**header, parts=tuple(_listed(parts, index)), organisations=tuple(organisations))
    return in_order(plan), loss_of(bundle, index, plan_to_resources(plan))


def _entry(resource: Resource, base_url: str) -> Resource:
    url = f"{resource['resourceType']}/{resource['id']}"
    return {"fullUrl": f"{base_url}/{url}", "resource": resource, "request": {"method": "PUT", "url": url}}


def _groups(plan: SupportPlan, stamp: Resource) -> list[Resource]:
    place = {resident: position for position, resident in enumerate(plan.residents)}
    named = dict.fromkeys((plan.residents, *(part.label.subjects for part in plan.parts)))
    groups = {group_id(subjects): subjects for subjects in named if len(subjects) != 1}
    ordered = (tuple(sorted(subjects, key=lambda each: place.get(each, len(place)))) for subjects in groups.values())
    return [people.residents_to_group(subjects, stamp) for subjects in ordered]


def _patients(plan: SupportPlan, stamp: Resource, only: Collection[str] | None = None) -> list[Resource]:
    subjects = (*plan.residents, *(subject for part in plan.parts for subject in part.label.subjects))
    named = [each for each in dict.fromkeys(subjects) if only is None or each in only]
    identities = {part.resident: part for part in plan.parts if isinstance(part, Identity)}
    contacts = {part.resident: part for part in plan.parts if isinstance(part, Contact)}
    return [patient.resident_to_patient(each, identities.get(each), contacts.get(each), stamp) for each in named]


_IN_PATIENT = (Identity, Contact)
_RENDERED_AS: dict[type[AnyPart], Callable[[Any, Resource], Resource]] = {
    Relative: people.relative_to_resource,
    Goal: goal.goal_to_resource,
    Action: task.action_to_resource,
    Evaluation: task.evaluation_to_resource,
    Provision: provision.provision_to_resource,
}
"""How a part becomes its one resource; what is not here is a finding."""


def _part_to_resources(part: AnyPart, stamp: Resource) -> list[Resource]:
    if isinstance(part, _IN_PATIENT):
        return []
    if isinstance(part, TeamMember):
        return people.member_to_resources(part, stamp)
    return [_RENDERED_AS.get(type(part), findings.finding_to_resource)(part, stamp)]


def _only_careplan(index: Index) -> Node:
    plans = [node for node in index.resources.values() if node.value["resourceType"] == "CarePlan"]
    if len(plans) == 1:
        return plans[0]
    refusal = Finding(pointer="/entry", code="one-careplan", remedy="send exactly one CarePlan in a Bundle")
    raise plans[1].fail("one-careplan", refusal.remedy) if plans else MappingError(refusal)


def _read(index: Index) -> tuple[list[AnyPart], list[Organisation]]:
    """Read every resource, gathering all refusals before raising."""
    parts: list[AnyPart] = []
    organisations: list[Organisation] = []
    refusals: list[Finding] = []
    for node in index.resources.values():
        try:
            if node.value["resourceType"] == "Organization":
                organisations.append(people.resource_to_organisation(node))
            else:
                parts += _resource_to_parts(node)
        except MappingError as error:
            refusals += error.findings
    if refusals:
        raise MappingError(*refusals)
    return parts, organisations


def _resource_to_parts(node: Node) -> list[AnyPart]:
    match node.value["resourceType"]:
        case "Patient":
            return [*patient.patient_to_parts(node)]
        case "RelatedPerson":
            return [people.resource_to_relative(node)]
        case "PractitionerRole":
            return [people.resource_to_member(node)]
        case "Practitioner" if f"Practitioner/{node.value['id']}" not in node.index.roles:
            return [people.resource_to_member(node)]
        case "Goal":
            return [goal.resource_to_goal(node)]
        case "Task":
            return [task.resource_to_task(node)]
        case "ServiceRequest":
            return [provision.resource_to_provision(node)]
        case "Observation" | "Condition" | "ClinicalImpression":
            found = findings.resource_to_finding(node)
            return [found] if found else []
        case _:
            return []


def _listed(parts: list[AnyPart], index: Index) -> list[AnyPart]:
    """Return the parts as the CarePlan and the CareTeam list them, those not listed last."""
    return sorted(parts, key=lambda part: index.listed.get(f"{RESOURCE_TYPE[part.kind]}/{part.id}", len(index.listed)))


def _subjects_in_order(part: AnyPart, place: dict[str, int]) -> AnyPart:
    subjects = tuple(sorted(part.label.subjects, key=lambda each: place.get(each, len(place))))
    if subjects == part.label.subjects:
        return part
    return msgspec.structs.replace(part, label=msgspec.structs.replace(part.label, subjects=subjects))


def _resident_place(part: AnyPart, place: dict[str, int]) -> int:
    return place.get(part.resident, len(place)) if isinstance(part, _IN_PATIENT) else 0
