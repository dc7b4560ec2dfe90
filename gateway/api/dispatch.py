"""The routes of single resources under `/fhir`, for requests of their own and for the entries of a batch."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.api import audits, consents, edits, resources
from gateway.api.call import Call

Handler = Callable[[Call], Awaitable[web.Response]]


def _or_by_type(otherwise: Handler, **by_type: Handler) -> Handler:
    """Return a handler that leaves some types to handlers of their own."""

    async def handle(call: Call) -> web.Response:
        return await by_type.get(call.http.match_info["type"], otherwise)(call)

    return handle


_SEARCH = {"AuditEvent": audits.search_auditevents, "Consent": consents.search_consents}
_READ = {"AuditEvent": audits.read_auditevent, "Consent": consents.read_consent}

RESOURCE_ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/{type}", _or_by_type(resources.search_by_get, **_SEARCH)),
    ("POST", "/{type}/_search", _or_by_type(resources.search_by_post, **_SEARCH)),
    ("POST", "/{type}/$validate", edits.validate_resource),
    ("GET", "/Patient/{id}/$everything", resources.everything_of),
    ("POST", "/{type}", _or_by_type(edits.create_resource, Consent=consents.create_consent)),
    ("GET", "/{type}/{id}", _or_by_type(resources.read_resource, **_READ)),
    ("PUT", "/{type}/{id}", _or_by_type(edits.update_resource, Consent=consents.update_consent)),
    ("PATCH", "/{type}/{id}", edits.patch_resource),
    ("GET", "/{type}/{id}/_history", resources.history_of),
    ("GET", "/{type}/{id}/_history/{version}", resources.read_version),
)
"""Method, path under the base, handler."""
