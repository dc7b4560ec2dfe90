"""`/v1/organisations`: the administrator keeps the directory."""

from aiohttp import web

from gateway.api.call import Call, answer
from gateway.directory import Entry
from gateway.errors import refusal


async def put_organisation(call: Call) -> web.Response:
    """PUT /v1/organisations/{id}: add or change an organisation, its clients and its endpoints."""
    entry = await call.body(Entry)
    if entry.id != call.path("id"):
        raise refusal("document", "/id", "use the id of the address")
    known = entry.id in (await call.gateway.directory.now()).entries
    await call.gateway.directory.put(entry)
    return answer(entry, status=200 if known else 201)
