"""The routes of single resources under `/fhir`, for requests of their own and for the entries of a batch."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.api import edits, resources
from gateway.api.call import Call

RESOURCE_ROUTES: tuple[tuple[str, str, Callable[[Call], Awaitable[web.Response]]], ...] = (
    ("GET", "/{type}", resources.search_by_get),
    ("POST", "/{type}/_search", resources.search_by_post),
    ("POST", "/{type}/$validate", edits.validate_resource),
    ("GET", "/Patient/{id}/$everything", resources.everything_of),
    ("POST", "/{type}", edits.create_resource),
    ("GET", "/{type}/{id}", resources.read_resource),
    ("PUT", "/{type}/{id}", edits.update_resource),
    ("PATCH", "/{type}/{id}", edits.patch_resource),
    ("GET", "/{type}/{id}/_history", resources.history_of),
    ("GET", "/{type}/{id}/_history/{version}", resources.read_version),
)
"""Method, path under the base, handler."""
