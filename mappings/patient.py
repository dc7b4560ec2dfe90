"""Patient: a resident, with identity and contact details in one (https://hl7.org/fhir/R4/patient.html), as nl-core-Patient.

Names carry no `use`: nl-core wants to know of an official given name whether it is a birth name or an initial, and a plan does not.
The HL7 extensions that split a family name and a street are in `profiles/` too, so that nothing rides on an unpublished one.
"""

from typing import get_args

from mappings.codes import BASE, DOMAINS, Gender, Sensitivity
from mappings.elements import (
    NL_CORE,
    Resource,
    coding,
    day,
    extension,
    filled,
    label_extensions,
    security,
)
from mappings.identifiers import BSN_SYSTEM
from mappings.node import LAWS, Node
from mappings.plan import (
    Contact,
    Identity,
    Label,
    contact_id,
    identity_id,
)

PSEUDONYM_SYSTEM = f"{BASE}/NamingSystem/pseudonym"

_HL7 = "http://hl7.org/fhir/StructureDefinition/"
_PREFIX, _OWN_NAME = f"{_HL7}humanname-own-prefix", f"{_HL7}humanname-own-name"
_STREET, _NUMBER = f"{_HL7}iso21090-ADXP-streetName", f"{_HL7}iso21090-ADXP-houseNumber"
_GENDERS: tuple[Gender, ...] = get_args(Gender)
_IDENTITY_ELEMENTS = ("identifier", "name", "birthDate", "gender")
_CONTACT_ELEMENTS = ("address", "telecom")


def resident_to_patient(resident: str, identity: Identity | None, contact: Contact | None, stamp: Resource) -> Resource:
    """Render a resident: at least the id, so that references resolve, and what the two parts say.

    The two parts have a label each and a Patient has one meta, so each label stands in a `part` extension.
    """
    parts = [part for part in (identity, contact) if part]
    meta = {**stamp, "profile": [f"{NL_CORE}Patient"]}
    patient: Resource = {"resourceType": "Patient", "id": resident, "meta": meta}
    if parts:
        gravest = next((part for part in parts if part.label.sensitivity == "restricted"), parts[0])
        meta["security"] = [security(gravest.label)]
        patient["extension"] = [_part_extension(part) for part in parts]
    if identity:
        patient |= _identity(identity)
    if contact:
        patient |= _contact(contact)
    return patient


def patient_to_parts(node: Node) -> list[Identity | Contact]:
    """Read what a Patient says; nothing of an address or number that is `old`. Raises MappingError."""
    found = {
        each.coded("part-kind", ("identity", "contact"), "valueCoding"): part
        for part in node.extensions("part")
        for each in part.extensions("kind")
    }
    parts: list[Identity | Contact] = []
    if "identity" in found or any(node.get(name) for name in _IDENTITY_ELEMENTS):
        parts.append(_read_identity(node, _part_label(node, found.get("identity"))))
    if "contact" in found or any(node.get(name) for name in _CONTACT_ELEMENTS):
        parts.append(_read_contact(node, _part_label(node, found.get("contact"))))
    return parts


def _part_extension(part: Identity | Contact) -> Resource:
    label = part.label
    inner = [_IS_IDENTITY if isinstance(part, Identity) else _IS_CONTACT]
    if label.domain:
        inner.append(extension("domain", valueCoding=coding("life-domain", label.domain)))
    if label.law != "none":
        inner.append(extension("law", valueCoding=coding("law", label.law)))
    if label.sensitivity == "restricted":
        inner.append(extension("sensitivity", valueCoding=security(label)))
    return extension("part", extension=inner + label_extensions(label))


_IS_IDENTITY, _IS_CONTACT = (
    extension("kind", valueCoding=coding("part-kind", kind)) for kind in ("identity", "contact")
)


def _part_label(node: Node, part: Node | None) -> Label:
    if part is None:
        return node.label()
    domain, law = (part.extension(name) for name in ("domain", "law"))
    return Label(
        subjects=(node.value["id"],),
        domain=domain.coded("life-domain", DOMAINS, "valueCoding") if domain else None,
        law=(law.coded("law", LAWS, "valueCoding") if law else None) or "none",
        sensitivity=_sensitivity(node, part),
        mentioned=part.mentioned(),
        speaker=part.speaker(),
        recorded_by=part.recorded_by(),
    )


def _sensitivity(node: Node, part: Node) -> Sensitivity:
    """Return what the part says; a Patient that is restricted while no part says why is so in all its parts."""
    named = any(each.extension("sensitivity") for each in node.extensions("part"))
    return "restricted" if part.extension("sensitivity") or (node.restricted() and not named) else "normal"


def _identity(identity: Identity) -> Resource:
    numbers = ((BSN_SYSTEM, identity.bsn), (PSEUDONYM_SYSTEM, identity.pseudonym))
    name = _name(identity)
    return filled(
        {
            "identifier": [{"system": system, "value": value} for system, value in numbers if value],
            "name": [name] if name else None,
            "gender": identity.gender,
            "birthDate": day(identity.birth_date),
        }
    )


def _name(identity: Identity) -> Resource:
    """Render a HumanName whose family name is written in full, with its parts in HL7's extensions."""
    given, prefix, own = identity.given, identity.prefix, identity.family
    family = " ".join(filter(None, (prefix, own)))
    name: Resource = {}
    if text := " ".join(filter(None, (given, family))):
        name["text"] = text
    if family:
        name["family"] = family
    if prefix:
        split = ((_PREFIX, prefix), (_OWN_NAME, own))
        name["_family"] = {"extension": [{"url": url, "valueString": value} for url, value in split if value]}
    if given:
        words = given.split(" ")
        name["given"] = words if all(words) else [given]
    return name


def _read_identity(node: Node, label: Label) -> Identity:
    identifiers = {each.text("system"): each.text("value") for each in current(node, "identifier")}
    names = current(node, "name")
    return Identity(
        id=identity_id(node.value["id"]),
        label=label,
        resident=node.value["id"],
        bsn=identifiers.get(BSN_SYSTEM),
        pseudonym=identifiers.get(PSEUDONYM_SYSTEM),
        birth_date=node.day("birthDate"),
        gender=node.code(_GENDERS, "gender"),
        **(_read_name(names[0]) if names else {}),
    )


def _read_name(name: Node) -> dict[str, str | None]:
    written = name.get("_family")
    prefix = written.text_of(_PREFIX) if written else None
    own = written.text_of(_OWN_NAME) if written else None
    given = [each.text() for each in name.each("given")]
    family = own if prefix or own else name.text("family")
    return {"given": " ".join(filter(None, given)) or None, "prefix": prefix, "family": family}


def _contact(contact: Contact) -> Resource:
    numbers = (("phone", contact.phone), ("email", contact.email))
    found: Resource = {}
    if telecom := [{"system": system, "value": value} for system, value in numbers if value]:
        found["telecom"] = telecom
    if address := _address(contact):
        found["address"] = [address]
    return found


def _address(contact: Contact) -> Resource:
    address = _line(contact)
    if contact.municipality:
        address["extension"] = [extension("municipality", valueCode=contact.municipality)]
    if contact.postal_code:
        address["postalCode"] = contact.postal_code
    if contact.city:
        address["city"] = contact.city
    return address


def _line(contact: Contact) -> Resource:
    split = [(_STREET, contact.street), (_NUMBER, contact.house_number)]
    extensions = [{"url": url, "valueString": value} for url, value in split if value]
    if not extensions:
        return {}
    return {"line": [" ".join(each["valueString"] for each in extensions)], "_line": [{"extension": extensions}]}


def _read_contact(node: Node, label: Label) -> Contact:
    addresses = current(node, "address")
    return Contact(
        id=contact_id(node.value["id"]),
        label=label,
        resident=node.value["id"],
        phone=telecom_of(node, "phone"),
        email=telecom_of(node, "email"),
        **(_read_address(addresses[0]) if addresses else {}),
    )


def _read_address(address: Node) -> dict[str, str | None]:
    split = address.get("_line", 0)
    street = split.text_of(_STREET) if split else None
    number = split.text_of(_NUMBER) if split else None
    municipality = address.extension("municipality")
    return {
        "street": street if street or number else address.text("line", 0),
        "house_number": number,
        "postal_code": address.text("postalCode"),
        "city": address.text("city"),
        "municipality": municipality.text("valueCode") if municipality else None,
    }


def telecom_of(node: Node, system: str) -> str | None:
    """Return the first phone or email that is not `old`."""
    return next((each.text("value") for each in current(node, "telecom") if each.text("system") == system), None)


def current(node: Node, element: str) -> list[Node]:
    """Return the names, addresses, numbers or identifiers that are not `old` (a modifier: https://hl7.org/fhir/R4/datatypes.html#HumanName)."""
    return [each for each in node.each(element) if each.text("use") != "old"]
