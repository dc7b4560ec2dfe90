"""Record what the gateway makes of one plan: its sealed rows and its views, for the limit to move."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import childs
from contestants import Planbrug, settled
from documents import Size, template
from running import Place
from scene import MIDDLING, RECIPIENTS


async def record(place: Place, receivers: childs.Receivers, port: int, size: Size) -> Path:
    """Run the gateway for one plan, and write `recorded.json` in the place's folder; return its path."""
    gateway, form = Planbrug("planbrug", place, port), template(0, size)
    await gateway.start()
    try:
        await gateway.prepare([form], MIDDLING)
        await receivers.do("forget")
        await receivers.do("keep")
        rows = await childs.load(await _job(gateway, place.folder, form), place.folder / "rows.json")
        await receivers.do("wait", count=len(RECIPIENTS), seconds=30)
        await settled(gateway)
        arrivals, bodies = await receivers.arrivals(place.folder / "arrivals.json")
        await receivers.do("forget")
    finally:
        await gateway.stop()
    views = {arrival["recipient"]: body for arrival, body in zip(arrivals, bodies, strict=True)}
    body, source_body = await asyncio.to_thread(_sealed, place.folder / "planbrug.db", rows[0]["plan"])
    path = place.folder / "recorded.json"
    found = {"body": list(body), "source_body": list(source_body), "views": [views[name] for name in RECIPIENTS]}
    path.write_text(json.dumps(found))
    return path


async def _job(gateway: Planbrug, folder: Path, form: bytes) -> dict[str, object]:
    path = folder / "form.json"
    path.write_bytes(form)
    return {**await gateway.job(), "forms": [str(path)], "prefix": "recorded", "count": 1}


def _sealed(path: Path, plan: str) -> tuple[bytes, bytes]:
    with closing(sqlite3.connect(path)) as database:
        row = database.execute("SELECT body, source_body FROM plan_version WHERE plan = ?", (plan,)).fetchone()
    return row[0], row[1]
