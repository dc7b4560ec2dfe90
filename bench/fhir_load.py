"""The client, a process of its own: reads one job as JSON from standard input, writes what happened to the job's `result`.

The same aiohttp client asks every contestant. A wait is from before the request until its body was read; only right answers count
as answers. Times are seconds of CLOCK_MONOTONIC.
"""

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvloop
from documents import BSN, of_household
from fhir_checks import place_of, places_in, wrong_with
from yarl import URL

HEADERS = {"Accept": "application/fhir+json", "Accept-Encoding": "identity"}
TIMEOUT_SECONDS = 60


class Asking:
    """One job: what is asked, and what came of it."""

    def __init__(self, job: dict[str, Any], session: aiohttp.ClientSession) -> None:
        self._job, self._session = job, session
        self._asks = orjson.loads(Path(job["asks"]).read_bytes())
        self._numbers = self._counted()
        of_household(BSN.format(0), 0)  # works the numbers of the test range out, which takes a moment
        self._until = time.monotonic() + job["seconds"] if job["seconds"] else None
        self.waits: list[float] = []
        self.failures = Counter[str]()
        self.kept: list[dict[str, Any]] = []

    async def ask(self) -> None:
        """Ask one thing after the other, until there is no more to ask or the time is over."""
        for number in self._numbers:
            if self._until and time.monotonic() > self._until:
                break
            form = number % len(self._asks)
            ask = self._asks[form]
            if isinstance(ask, list):
                places = await self._one_by_one(ask, number)
            else:
                body = of_household(ask["form"], number) if "form" in ask else ask.get("body", "").encode() or None
                places = await self._asked(ask, body)
            if places and self._job["keep"] and number % self._job["keep"] == 0:
                self.kept.append({"number": number, "form": form, "places": places})

    async def _asked(self, ask: dict[str, Any], body: bytes | None) -> list[str]:
        """Ask once; return where a transaction's resources are kept now, or where the one that was created is."""
        url = URL(f"{self._job['base']}{ask['path']}", encoded=True)
        began = time.monotonic()
        try:
            async with self._session.request(ask["method"], url, data=body) as response:
                raw = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            self.failures[f"no answer: {type(error).__name__}"] += 1
            return []
        wait = time.monotonic() - began
        found = _parsed(raw)
        location = response.headers.get("Location", "")
        if wrong := wrong_with(ask["expect"], response.status, location, found):
            self.failures[wrong] += 1
            return []
        self.waits.append(wait)
        return places_in(found) if ask["expect"]["is"] == "transaction" else [place_of(location)]

    async def _one_by_one(self, steps: list[dict[str, Any]], number: int) -> list[str]:
        """Create a plan resource by resource; return where they are kept, in the order of the steps."""
        places: list[str] = []
        names: list[tuple[str, str]] = []
        for step in steps:
            body = of_household(step["form"], number).decode()
            for name, place in names:
                body = body.replace(name, place)
            found = await self._asked(step, body.encode())
            if not found:
                return []
            names.append((step["fullUrl"], found[0]))
            places.append(found[0])
        return places

    def _counted(self) -> Iterator[int]:
        first = self._job["first"]
        return iter(range(first, first + self._job["count"])) if self._job["count"] else itertools.count(first)


async def run(job: dict[str, Any]) -> dict[str, Any]:
    """Do a job on so many connections."""
    connector = aiohttp.TCPConnector(limit=job["connections"], keepalive_timeout=TIMEOUT_SECONDS)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    headers = HEADERS | {"Content-Type": job["type"]} | job["headers"]
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:
        asking = Asking(job, session)
        began = time.monotonic()
        await asyncio.gather(*(asking.ask() for _ in range(job["connections"])))
        took = time.monotonic() - began
    return {"waits": asking.waits, "failures": asking.failures, "seconds": took, "kept": asking.kept}


def _parsed(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def main() -> None:
    """Do the one job."""
    job = json.load(sys.stdin)
    found = uvloop.run(run(job))
    Path(job["result"]).write_bytes(orjson.dumps(found))


if __name__ == "__main__":
    main()
