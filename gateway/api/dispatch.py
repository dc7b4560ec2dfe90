"""The routes of single resources under `/fhir`, for requests of their own and for the entries of a batch."""

from aiohttp import web

from gateway.api import audits, consents, edits, resources
from gateway.api.call import Call
from gateway.api.route import BY_TYPE, Handler, Route


def _or_by_type(otherwise: Handler, **by_type: Handler) -> Handler:
    """Return a handler that leaves some types to handlers of their own."""

    async def handle(call: Call) -> web.Response:
        return await by_type.get(call.http.match_info["type"], otherwise)(call)

    return handle


_SEARCH: dict[str, Handler] = {"AuditEvent": audits.search_auditevents, "Consent": consents.search_consents}
_READ: dict[str, Handler] = {"AuditEvent": audits.read_auditevent, "Consent": consents.read_consent}

RESOURCE_ROUTES: tuple[Route, ...] = (
    Route("GET", "/fhir/{type}", BY_TYPE, _or_by_type(resources.search_by_get, **_SEARCH)),
    Route("POST", "/fhir/{type}/_search", BY_TYPE, _or_by_type(resources.search_by_post, **_SEARCH)),
    Route("POST", "/fhir/{type}/$validate", BY_TYPE, edits.validate_resource),
    Route("GET", "/fhir/Patient/{id}/$everything", BY_TYPE, resources.everything_of),
    Route("POST", "/fhir/{type}", BY_TYPE, _or_by_type(edits.create_resource, Consent=consents.create_consent)),
    Route("GET", "/fhir/{type}/{id}", BY_TYPE, _or_by_type(resources.read_resource, **_READ)),
    Route("PUT", "/fhir/{type}/{id}", BY_TYPE, _or_by_type(edits.update_resource, Consent=consents.update_consent)),
    Route("PATCH", "/fhir/{type}/{id}", BY_TYPE, edits.patch_resource),
    Route("GET", "/fhir/{type}/{id}/_history", BY_TYPE, resources.history_of),
    Route("GET", "/fhir/{type}/{id}/_history/{version}", BY_TYPE, resources.read_version),
)
