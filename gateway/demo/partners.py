"""Partners for the demo: real HTTP receivers on loopback that check what they get and answer with a receipt."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from gateway.logs import Log
from gateway.seal import sha256_hex


class Partners:
    """Keeps the last body per partner, to show what arrived."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.received: dict[str, bytes] = {}

    def app(self) -> web.Application:
        """Return the application of all partners together."""
        app = web.Application(client_max_size=20_000_000)
        app.router.add_post("/{partner}/webhook", self._webhook)
        app.router.add_post("/{partner}/fhir", self._fhir)
        return app

    async def _webhook(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        if body is None:
            return web.json_response({"error": "sha256"}, status=400)
        receipt = {"deliveryId": request.headers["Planbrug-Delivery"], "sha256": sha256_hex(body)}
        return web.json_response(receipt)

    async def _fhir(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        if body is None:
            return web.json_response({"resourceType": "OperationOutcome"}, status=400)
        entries = [{"response": {"status": "200 OK"}} for _ in json.loads(body)["entry"]]
        return web.json_response({"resourceType": "Bundle", "type": "transaction-response", "entry": entries})

    async def _body(self, request: web.Request) -> bytes | None:
        body = await request.read()
        partner = request.match_info["partner"]
        whole = request.headers.get("Planbrug-Sha256") == sha256_hex(body)
        self._log("partner_received", partner=partner, status=200 if whole else 400)
        if not whole:
            return None
        self.received[partner] = body
        return body


@asynccontextmanager
async def open_partners(log: Log) -> AsyncIterator[tuple[Partners, str]]:
    """Start the partners on a free loopback port; yield them and their address."""
    partners = Partners(log)
    runner = web.AppRunner(partners.app(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield partners, f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()
