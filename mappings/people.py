"""The people and organisations around the residents of a plan, in FHIR R4 and back; `patient.py` does the residents.

| plan | R4 | profile |
|---|---|---|
| relative | RelatedPerson | nl-core-ContactPerson |
| team member | PractitionerRole, and a Practitioner when there is a name | nl-core-HealthProfessional-… |
| who coordinates | CareTeam.participant.role | none: nl-core-CareTeam demands its own role codes, one participant per kind |
| organisation | Organization | nl-core-HealthcareProvider-Organization for care provider and GP only |
| several residents | Group | |
"""

from typing import Any, get_args

from mappings.codes import OrganisationKind, Relation, TeamRole
from mappings.elements import (
    NL_CORE,
    Resource,
    concept,
    extension,
    filled,
    group_id,
    part_to_element,
    period,
    reference,
    security,
)
from mappings.node import Node
from mappings.patient import current, telecom_of
from mappings.plan import (
    Identifier,
    Organisation,
    Relative,
    TeamMember,
)

_RELATIONS: tuple[Relation, ...] = get_args(Relation)
_ROLES: tuple[TeamRole, ...] = get_args(TeamRole)
_ORGANISATION_KINDS: tuple[OrganisationKind, ...] = get_args(OrganisationKind)
_HEALTHCARE = frozenset({"care-provider", "gp"})


def relative_to_resource(relative: Relative, stamp: Resource) -> Resource:
    """Render a relative (https://hl7.org/fhir/R4/relatedperson.html) of the first resident; more of them by extension."""
    resource = part_to_element("RelatedPerson", relative, stamp, f"{NL_CORE}ContactPerson")
    if relative.agreed:
        resource.setdefault("extension", []).append(extension("agreed", valueBoolean=True))
    duties = [concept("duty", "carer")] if relative.carer else []
    telecom = (("phone", relative.phone), ("email", relative.email))
    return resource | filled(
        {
            "patient": reference("Patient", relative.label.subjects[0]),
            "relationship": [concept("relation", relative.relation), *duties],
            "name": [{"text": relative.name}] if relative.name else None,
            "telecom": [{"system": system, "value": value} for system, value in telecom if value],
        }
    )


def resource_to_relative(node: Node) -> Relative:
    """Read a relative. Raises MappingError."""
    agreed = node.extension("agreed")
    relations = node.each("relationship")
    return Relative(
        id=node.value["id"],
        label=node.label(),
        relation=next(filter(None, (each.coded("relation", _RELATIONS) for each in relations)), "other"),
        carer=any(each.coded("duty", ("carer",)) for each in relations),
        name=node.text("name", 0, "text"),
        agreed=bool(agreed and agreed.flag("valueBoolean")),
        phone=telecom_of(node, "phone"),
        email=telecom_of(node, "email"),
    )


def member_to_resources(member: TeamMember, stamp: Resource) -> list[Resource]:
    """Render a team member (https://hl7.org/fhir/R4/practitionerrole.html); the name needs a Practitioner of its own."""
    role = part_to_element("PractitionerRole", member, stamp, f"{NL_CORE}HealthProfessional-PractitionerRole") | filled(
        {
            "practitioner": reference("Practitioner", member.id) if member.name else None,
            "organization": reference("Organization", member.organisation) if member.organisation else None,
            "code": [concept("team-role", member.role, member.function)],
            "period": period(member.starts_on, member.ends_on),
        }
    )
    if not member.name:
        return [role]
    meta = stamp | {"security": [security(member.label)], "profile": [f"{NL_CORE}HealthProfessional-Practitioner"]}
    named = {"resourceType": "Practitioner", "id": member.id, "meta": meta, "name": [{"text": member.name}]}
    return [role, named]


def resource_to_member(node: Node) -> TeamMember:
    """Read a PractitionerRole with its Practitioner, or a Practitioner who has no role here. Raises MappingError."""
    own = node.value["resourceType"] == "PractitionerRole"
    person = node.index.resources.get(node.target("practitioner") or "") if own else node
    duties = _duties(node)
    role, function = ("code", 0), ("code", 0, "text")
    return TeamMember(
        id=node.value["id"],
        label=node.label(),
        role=node.coded("team-role", _ROLES, *role) or "other" if own else "other",
        name=_full_name(person) if person else None,
        function=node.text(*function) if own else None,
        organisation=node.target_id("Organization", "organization"),
        coordinator="coordinator" in duties,
        fixed_contact="fixed-contact" in duties,
        starts_on=node.day("period", "start"),
        ends_on=node.day("period", "end"),
    )


def _full_name(person: Node) -> str | None:
    names = current(person, "name")
    if not names or names[0].text("text"):
        return names[0].text("text") if names else None
    written = (*(each.text() for each in names[0].each("given")), names[0].text("family"))
    return " ".join(filter(None, written)) or None


def team_to_resource(team_id: str, subject: Resource, members: list[TeamMember], stamp: Resource) -> Resource:
    """Render the team (https://hl7.org/fhir/R4/careteam.html): who coordinates and who is the fixed contact."""
    return {
        "resourceType": "CareTeam",
        "id": team_id,
        "subject": subject,
        "participant": [_participant(member) for member in members],
    } | ({"meta": stamp} if stamp else {})


def _participant(member: TeamMember) -> Resource:
    duties = {"coordinator": member.coordinator, "fixed-contact": member.fixed_contact}
    roles = [concept("duty", duty) for duty, held in duties.items() if held]
    return filled({"role": roles, "member": reference("PractitionerRole", member.id)})


def _duties(node: Node) -> set[Any]:
    """Return the duties that any CareTeam gives to this member."""
    me = f"{node.value['resourceType']}/{node.value['id']}"
    teams = (team for team in node.index.resources.values() if team.value["resourceType"] == "CareTeam")
    mine = [each for team in teams for each in team.each("participant") if each.target("member") == me]
    return {role.coded("duty", ("coordinator", "fixed-contact")) for each in mine for role in each.each("role")}


def residents_to_group(residents: tuple[str, ...], stamp: Resource) -> Resource:
    """Render several residents (https://hl7.org/fhir/R4/group.html)."""
    return {
        "resourceType": "Group",
        "id": group_id(residents),
        "type": "person",
        "actual": True,
        "member": [{"entity": reference("Patient", resident)} for resident in residents],
    } | ({"meta": stamp} if stamp else {})


def organisation_to_resource(organisation: Organisation, stamp: Resource) -> Resource:
    """Render an organisation (https://hl7.org/fhir/R4/organization.html)."""
    healthcare = organisation.kind in _HEALTHCARE
    profile = {"profile": [f"{NL_CORE}HealthcareProvider-Organization"]} if healthcare else {}
    return filled(
        {
            "resourceType": "Organization",
            "id": organisation.id,
            "meta": stamp | profile,
            "identifier": [{"system": each.system, "value": each.value} for each in organisation.identifiers],
            "type": [concept("organisation-kind", organisation.kind)] if organisation.kind else None,
            "name": organisation.name,
        }
    )


def resource_to_organisation(node: Node) -> Organisation:
    """Read an organisation; one without a name goes by its id. Raises MappingError."""
    identifiers = ((each.text("system"), each.text("value")) for each in current(node, "identifier"))
    return Organisation(
        id=node.value["id"],
        name=node.text("name") or node.value["id"],
        kind=node.coded("organisation-kind", _ORGANISATION_KINDS, "type"),
        identifiers=tuple(Identifier(system=system, value=value) for system, value in identifiers if system and value),
    )
