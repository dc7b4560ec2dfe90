"""`/fhir/metadata`: the CapabilityStatement (https://hl7.org/fhir/R4/capabilitystatement.html), of the tables that route."""

from importlib.metadata import version

from aiohttp import web

from gateway.api.call import Call
from gateway.api.fhir import as_fhir
from gateway.api.interactions import INTERACTIONS, RECORDS
from gateway.api.resources import base_url
from gateway.render import FHIR_JSON
from mappings.elements import Resource
from mappings.search.parameters import PARAMETERS
from mappings.transaction import TransactionForm

_PUBLISHED_ON = "2026-11-25"
"""When what is offered here last changed."""

_OAUTH = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
_SMART = {"system": "http://terminology.hl7.org/CodeSystem/restful-security-service", "code": "SMART-on-FHIR"}
_OPERATIONS = "http://hl7.org/fhir/OperationDefinition"
_BASE = "http://hl7.org/fhir/SearchParameter/Resource"


_BOUNDS = {
    "AuditEvent": "A search names one plan: entity=CarePlan/id. This needs the scope receipts:read too.",
    "Consent": (
        "A search names residents by patient, or choices by _id. This needs the scope choices:read too, and to write one choices:write. "
        "An update to the status inactive withdraws."
    ),
}
"""What R4 has no element for: what a search must name, and what else is needed."""


async def show_capabilities(call: Call) -> web.Response:
    """GET /fhir/metadata."""
    return as_fhir(capability_statement(base_url(call), call.gateway.gatekeeper.token_url))


def capability_statement(base: str, token_url: str) -> Resource:
    """Return what is offered here, and no more."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": _PUBLISHED_ON,
        "kind": "instance",
        "software": {"name": "Planbrug", "version": version("planbrug")},
        "implementation": {"description": "Planbrug, a gateway for support plans", "url": base},
        "fhirVersion": TransactionForm.version,
        "format": [FHIR_JSON, "json"],
        "patchFormat": ["application/json-patch+json"],
        "rest": [
            {
                "mode": "server",
                "documentation": (
                    "Every answer is what the resident lets the caller see, and is decided at that moment. "
                    "A plan comes in as one transaction: a CarePlan and everything that belongs to it; "
                    "one without a CarePlan is about parts of one plan that is there."
                ),
                "security": {
                    "extension": [{"url": _OAUTH, "extension": [{"url": "token", "valueUri": token_url}]}],
                    "service": [{"coding": [_SMART]}],
                },
                "resource": [_resource(name) for name in INTERACTIONS],
                "interaction": [{"code": "transaction"}, {"code": "batch"}],
                "operation": [{"name": "validate", "definition": f"{_OPERATIONS}/Resource-validate"}],
            }
        ],
    }


def _resource(name: str) -> Resource:
    indexed = [] if name in RECORDS else [each for each in INTERACTIONS if each not in RECORDS]
    references = [each for each in PARAMETERS[name].values() if each.kind == "reference" and indexed]
    reverse = [
        f"{source}:{each.name}"
        for source in indexed
        for each in PARAMETERS[source].values()
        if each.kind == "reference" and (not each.targets or name in each.targets)
    ]
    told: Resource = {
        "type": name,
        "interaction": [{"code": each} for each in INTERACTIONS[name]],
        "versioning": "versioned-update" if "update" in INTERACTIONS[name] else "versioned",
        "readHistory": "vread" in INTERACTIONS[name],
        "updateCreate": False,
        "conditionalCreate": "create" in INTERACTIONS[name] and name not in RECORDS,
        "conditionalRead": "not-supported" if name == "AuditEvent" else "not-match",
        "conditionalUpdate": False,
        "conditionalDelete": "not-supported",
        "searchInclude": [f"{name}:{each.name}" for each in references],
        "searchRevInclude": reverse,
        "searchParam": [
            {"name": "_id", "definition": f"{_BASE}-id", "type": "token"},
            {"name": "_lastUpdated", "definition": f"{_BASE}-lastUpdated", "type": "date"},
            *(
                {"name": each.name, "definition": each.definition, "type": each.kind}
                for each in PARAMETERS[name].values()
            ),
        ],
    }
    if name in _BOUNDS:
        told["documentation"] = _BOUNDS[name]
    if name == "Patient":
        told["operation"] = [{"name": "everything", "definition": f"{_OPERATIONS}/Patient-everything"}]
    return {key: value for key, value in told.items() if value != []}
