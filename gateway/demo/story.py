"""Tell the journey of one plan in plain words: what came in, who received which parts, what was withheld and why.

Everything goes over the gateway's own HTTP interface, with tokens, like anybody else's calls.
"""

import asyncio
import json
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from gateway.callers import new_key, public_jwks, read_private_key, write_private_key
from gateway.client import GatewayClient, calling
from gateway.demo.vlinderstad import FINN_CHOICES, MARLOES_CHOICES, PARTIES, entry_of, key_file
from gateway.wiring import Gateway

EXAMPLE = "plan-van-aanpak", "samen-op-orde"
SETTLED = {"acknowledged", "withheld", "unchanged", "superseded", "parked", "recalled"}
PATIENCE_SECONDS = 30


class Story:
    """The demo's journey, for a terminal."""

    def __init__(self, console: Console, data_dir: Path, partner_url: str) -> None:
        self._console = console
        self._data_dir = data_dir
        self._partner_url = partner_url

    async def tell(self, gateway: Gateway) -> None:
        """Set the scene, send the plan, wait for every party, and say what happened."""
        await self._set_the_scene(gateway)
        async with calling(self._data_dir, "team") as team:
            sent = await self._send_plan(team)
            await self._choose(team, sent)
            deliveries = await self._wait(team, sent["planId"])
            self._remember(gateway, sent)
            await self._show(team, sent, deliveries)
        self._invite(gateway, sent)

    async def _set_the_scene(self, gateway: Gateway) -> None:
        for party in PARTIES:
            path = key_file(self._data_dir, party.client)
            if not path.exists():
                write_private_key(path, new_key())
            await gateway.directory.put(entry_of(party, public_jwks(read_private_key(path)), self._partner_url))
        self._remember(gateway, None)

    def _remember(self, gateway: Gateway, sent: dict[str, Any] | None) -> None:
        """Write demo.json; a reader sees the old one or the new one, never half."""
        residents = {row["reference"]: row["id"] for row in sent["residents"]} if sent else {}
        known = {
            "baseUrl": gateway.public_url,
            "fhirUrl": f"{gateway.public_url}/fhir",
            "tokenUrl": f"{gateway.public_url}/oauth/token",
            "clients": {
                party.client: {
                    "clientId": f"{party.organisation}-{party.client}",
                    "keyFile": str(key_file(self._data_dir, party.client).absolute()),
                    "scope": " ".join(party.scopes),
                    "organisation": party.organisation,
                }
                for party in PARTIES
            },
            "residents": residents,
            "plans": {EXAMPLE[1]: sent["planId"]} if sent else {},
        }
        draft = self._data_dir / "demo.json.new"
        draft.write_text(json.dumps(known, indent=2))
        draft.replace(self._data_dir / "demo.json")

    async def _send_plan(self, team: GatewayClient) -> dict[str, Any]:
        form, case = EXAMPLE
        body = (files("mappings") / "formats" / form / "examples" / case / "source.json").read_bytes()
        sent: dict[str, Any] = await team.want("POST", f"/v1/plans?format={form}", body=body)
        return sent

    async def _choose(self, team: GatewayClient, sent: dict[str, Any]) -> None:
        """Record the family's choices once; on a second start they are there already."""
        for row in sent["residents"]:
            place = f"/v1/residents/{row['id']}/choices"
            current = await team.ask("GET", place)
            if current.body["version"] == 0:
                wanted = MARLOES_CHOICES if row["reference"] == "marloes" else FINN_CHOICES
                etag = {"If-Match": current.headers["ETag"]}
                await team.want("PUT", place, json_body={"choices": wanted}, headers=etag)

    async def _wait(self, team: GatewayClient, plan_id: str) -> list[dict[str, Any]]:
        """Wait until every delivery of the plan has come to an end. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                found = (await team.want("GET", f"/v1/deliveries?planId={plan_id}&limit=200"))["items"]
                if found and all(row["state"] in SETTLED for row in found):
                    return list(found)
                await asyncio.sleep(0.05)

    async def _show(self, team: GatewayClient, sent: dict[str, Any], deliveries: list[dict[str, Any]]) -> None:
        self._say(
            f"[bold]In[/]   Wijkteam Vlinderstad-Noord sent a plan van aanpak: {sent['outcome']}, version {sent['version']}."
        )
        remarks, lost = len(sent["quality"]), len(sent["loss"])
        self._say(f"     Remarks on its quality: {remarks}. Fields that found no place: {lost}.")
        self._say("     Marloes chose who may see what, for herself and for her young son Finn.")
        for party in PARTIES:
            if party.endpoint:
                rows = [
                    row for row in deliveries if row["recipient"] == party.organisation and row["state"] != "unchanged"
                ]
                adapter, form = party.endpoint
                newest = max(rows, key=lambda row: row["id"])
                self._say(f"\n[bold]Out[/]  [bold]{escape(party.name)}[/] by {adapter}, as {form}: {_state(newest)}")
                await self._show_parts(team, sent, party.organisation)

    async def _show_parts(self, team: GatewayClient, sent: dict[str, Any], organisation: str) -> None:
        """Say what an organisation got on which ground, and what it did not get and why; each part counted once."""
        parts: dict[str, dict[str, Any]] = {}
        for row in sent["residents"]:
            place = f"/v1/residents/{row['id']}/views/{organisation}?planId={sent['planId']}"
            parts |= {part["partId"]: part for part in (await team.want("GET", place))["parts"]}
        for permitted, sign, title in ((True, "[green]+[/]", "by"), (False, "[red]-[/]", "withheld:")):
            reasons: dict[str, Counter[str]] = {}
            for part in parts.values():
                if part["permitted"] == permitted:
                    why = (part["ground"] if part["ground"] in _PLAIN else part["article"]) if permitted else part["en"]
                    reasons.setdefault(why, Counter())[part["kind"].replace("-", " ")] += 1
            for why, kinds in sorted(reasons.items()):
                counted = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
                self._say(f"     {sign} {title} {escape(why)}", f"         {counted}")

    def _say(self, *lines: str) -> None:
        for line in lines:
            self._console.print(line, highlight=False, soft_wrap=True)

    def _invite(self, gateway: Gateway, sent: dict[str, Any]) -> None:
        resident = next(row["id"] for row in sent["residents"] if row["reference"] == "marloes")
        folder = "" if self._data_dir == Path("var/demo") else f" --data-dir {self._data_dir}"
        self._say(
            f"\n[bold]Serving[/] {gateway.public_url}   (stop with Ctrl-C; log in {self._data_dir}/logs/planbrug.jsonl)"
        )
        self._say("[bold]Try next[/], in another terminal:")
        for command in (
            f"choices show {resident}{folder}",
            f"deliveries list{folder}",
            f"plan show {sent['planId']} --as provider-a --format plan-van-aanpak{folder}",
        ):
            self._say(f"  .venv/bin/planbrug {command}")


_PLAIN = {"consent", "authored"}
"""Grounds that say enough without an article."""


def _state(row: dict[str, Any]) -> str:
    return f"{row['state']} ({row['reason']})" if row["reason"] else str(row["state"])
