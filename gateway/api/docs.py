"""`/v1/docs`: the OpenAPI document as one page for people. It needs no script, and fetches nothing."""

from typing import Any

from aiohttp import web


def page(document: dict[str, Any]) -> web.Response:
    """Return the page."""
    return web.Response(text="", content_type="text/html", charset="utf-8")
