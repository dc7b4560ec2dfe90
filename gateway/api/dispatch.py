"""The routes of single resources under `/fhir`, for requests of their own and for the entries of a batch."""

from gateway.api import edits, resources
from gateway.api.route import BY_TYPE, Route

RESOURCE_ROUTES: tuple[Route, ...] = (
    Route("GET", "/fhir/{type}", BY_TYPE, resources.search_by_get),
    Route("POST", "/fhir/{type}/_search", BY_TYPE, resources.search_by_post),
    Route("POST", "/fhir/{type}/$validate", BY_TYPE, edits.validate_resource),
    Route("GET", "/fhir/Patient/{id}/$everything", BY_TYPE, resources.everything_of),
    Route("POST", "/fhir/{type}", BY_TYPE, edits.create_resource),
    Route("GET", "/fhir/{type}/{id}", BY_TYPE, resources.read_resource),
    Route("PUT", "/fhir/{type}/{id}", BY_TYPE, edits.update_resource),
    Route("PATCH", "/fhir/{type}/{id}", BY_TYPE, edits.patch_resource),
    Route("GET", "/fhir/{type}/{id}/_history", BY_TYPE, resources.history_of),
    Route("GET", "/fhir/{type}/{id}/_history/{version}", BY_TYPE, resources.read_version),
)
