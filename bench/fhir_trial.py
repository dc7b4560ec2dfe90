"""One FHIR server, measured: plans come in until there are enough, then each interaction under each load shape.

What a server does not do is found by asking it once: by its CapabilityStatement, and by what it answers.
"""

import asyncio
import itertools
import json
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import childs
import msgspec
from fhir_asks import INTERACTIONS, Kept, asks_of, creates, of_documents, transactions
from fhir_contestants import Server
from fhir_plans import Resource, documents
from measures import at_share

SHAPES = (1, 8)
"""Connections; each asks again as soon as it was answered."""
FILL_CONNECTIONS = 8
CHUNK_SECONDS = 10
"""About how long plans come in before it is said how far it is, and before there is a new token."""
FIRST_CHUNK = 40
READY_SECONDS = 1_800
READY_AFTER_SECONDS = 5
"""How long a server may take to make its index after the load, and from when on that is said."""
ASKED_PLANS = 500
"""So many plans, spread over all of them, are asked for in turn."""
PROBED = 3
COMPARED = 1_000
"""So many plans come into every server as FHIR, to compare how long that takes."""

_RESTFUL = {"read": "read", "create": "create", "transaction": "transaction"}
"""What a CapabilityStatement calls it; everything else here is a search."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """How so many plans came in one way, and how many are there now."""

    contestant: str
    way_in: str
    there: int
    plans: int
    seconds: float
    rss_mb: float
    cpu_ms_per_plan: float


@dataclass(frozen=True, kw_only=True)
class Offered:
    """Whether a server does an interaction: what its CapabilityStatement says, and what it answered (empty: the right thing)."""

    contestant: str
    interaction: str
    advertised: bool
    wrong: str


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One interaction under one load shape; only right answers count."""

    contestant: str
    interaction: str
    connections: int
    plans: int
    answers: int
    failures: dict[str, int]
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    rss_mb: float


@dataclass
class Tally:
    """What one way in has taken so far."""

    name: str
    plans: int = 0
    seconds: float = 0
    cpu_seconds: float = 0


class Trial:
    """Measures one server that is started and stopped by somebody else."""

    def __init__(self, who: Server, folder: Path, bundles: list[Resource], say: Callable[[str], None]) -> None:
        self._who, self._folder, self._bundles, self._say = who, folder, bundles, say
        self._files = (folder / f"asks-{number}.json" for number in itertools.count())
        self._kept: list[Kept] = []
        self._chance = random.Random(0)
        self._forms = self._written(transactions(bundles) if who.way_in == "transaction" else creates(bundles))
        self._documents = self._written(of_documents(documents()))
        self._seconds = self._rate = 0.0
        self._next = self.plans = 0
        self.offered: dict[str, Offered] = {}

    async def fill(self, wanted: int) -> list[Loaded]:
        """Bring plans in until there are so many, or its time to load is over; return how, one for each way in.

        Up to COMPARED plans all come in as FHIR; beyond that a server with a quicker way takes that one, but for the plans to be asked for.
        """
        before, kept = self.plans, self._kept
        keep = 1 if self._who.may_load_seconds else max(1, wanted // ASKED_PLANS)
        fhir, quick = ways = (Tally(self._who.way_in), Tally("documents over /v1"))
        self._kept = []
        while (chunk := self._chunk(wanted)) > 0:
            began = self._seconds
            count = chunk - chunk // keep if self._who.documents_url and self.plans >= COMPARED else 0
            if count:
                url = self._who.documents_url
                await self._bring(quick, count, base=url, asks=str(self._documents), type="application/json")
            if count < chunk:
                await self._bring(fhir, chunk - count, asks=str(self._forms), keep=1 if count else keep)
            self._rate = chunk / (self._seconds - began)
            self._say(f"{self._who.name}: {self.plans:,} of {wanted:,} plans in, {self._rate:.0f}/s")
        new = ASKED_PLANS * (self.plans - before) // self.plans
        self._kept = [*self._some(kept, ASKED_PLANS - new), *self._some(self._kept, new)]
        used = self._who.used()
        return [
            Loaded(
                contestant=self._who.name,
                way_in=way.name,
                there=self.plans,
                plans=way.plans,
                seconds=way.seconds,
                rss_mb=used.rss_mb,
                cpu_ms_per_plan=1000 * way.cpu_seconds / way.plans,
            )
            for way in ways
            if way.plans
        ]

    def _some(self, kept: list[Kept], count: int) -> list[Kept]:
        return self._chance.sample(kept, min(len(kept), count))

    async def _bring(self, way: Tally, count: int, **job: Any) -> None:
        """Bring so many plans in. Raises ChildError when one is not taken."""
        before = self._who.used().cpu_seconds
        found = await self._job(connections=FILL_CONNECTIONS, count=count, **job)
        if found["failures"]:
            raise childs.ChildError(f"{self._who.name} does not take plans: {found['failures']}")
        way.cpu_seconds += self._who.used().cpu_seconds - before
        way.seconds += found["seconds"]
        way.plans += count
        self._seconds += found["seconds"]
        self.plans += count
        self._kept += [msgspec.convert(each, Kept) for each in found["kept"]]

    async def probe(self) -> None:
        """Find out which interactions there are."""
        statement = await self._capabilities()
        for interaction in INTERACTIONS:
            path = self._written(asks_of(interaction, self._bundles, self._kept))
            wrong = await self._asked_once(path)
            self.offered[interaction] = Offered(
                contestant=self._who.name,
                interaction=interaction,
                advertised=_advertises(statement, interaction),
                wrong=wrong,
            )

    async def _asked_once(self, path: Path) -> str:
        """Return what is wrong with an answer; one that asks to come back later (503) is waited for, as its client would."""
        began = time.monotonic()
        while True:
            wrong = ", ".join((await self._job(asks=str(path), connections=1, count=PROBED))["failures"])
            waited = time.monotonic() - began
            if not wrong.startswith("503") or waited > READY_SECONDS:
                if waited > READY_AFTER_SECONDS:
                    self._say(f"{self._who.name}: ready after {waited:.0f} s")
                return wrong
            await asyncio.sleep(1)

    async def measure(self, interaction: str, connections: int, seconds: float) -> Measured | None:
        """Measure one interaction; None when the server does not do it."""
        if self.offered[interaction].wrong:
            return None
        path = self._written(asks_of(interaction, self._bundles, self._kept))
        before = self._who.used()
        found = await self._job(asks=str(path), connections=connections, seconds=seconds)
        after = self._who.used()
        waits, failed = sorted(found["waits"]), sum(found["failures"].values())
        there = self.plans
        if interaction == "transaction":
            self.plans += len(waits)
        return Measured(
            contestant=self._who.name,
            interaction=interaction,
            connections=connections,
            plans=there,
            answers=len(waits),
            failures=found["failures"],
            per_second=len(waits) / found["seconds"],
            p50_ms=1000 * statistics.median(waits) if waits else 0,
            p99_ms=1000 * at_share(waits, 0.99) if waits else 0,
            cpu_ms=1000 * (after.cpu_seconds - before.cpu_seconds) / max(1, len(waits) + failed),
            rss_mb=after.rss_mb,
        )

    def _chunk(self, wanted: int) -> int:
        """Return how many plans come in next; none when there are enough, or no time is left."""
        left = (COMPARED if self.plans < COMPARED < wanted else wanted) - self.plans
        if not self._rate:
            return min(left, FIRST_CHUNK)
        chunk = min(left, max(1, round(CHUNK_SECONDS * self._rate)))
        limit = self._who.may_load_seconds
        return chunk if limit is None else min(chunk, int((limit - self._seconds) * self._rate))

    async def _job(self, **job: Any) -> Any:
        known = {"base": self._who.base_url, "headers": await self._who.headers(), "first": self._next}
        usual = {"seconds": 0, "count": 0, "keep": 0, "type": "application/fhir+json"}
        asked = {**usual, **known, **job, "result": str(self._folder / "answers.json")}
        found = await childs.do_job("fhir_load.py", asked)
        self._next += job.get("count") or len(found["waits"]) + sum(found["failures"].values()) + job["connections"]
        return found

    async def _capabilities(self) -> Any:
        async with aiohttp.ClientSession() as session, session.get(f"{self._who.base_url}/metadata") as response:
            return await response.json(content_type=None)

    def _written(self, asks: list[Any]) -> Path:
        path = next(self._files)
        path.write_text(json.dumps(asks))
        return path


def _advertises(statement: Any, interaction: str) -> bool:
    rest = statement["rest"][0]
    offered = next((each.get("interaction", []) for each in rest.get("resource", []) if each["type"] == "Task"), [])
    system = rest.get("interaction", []) if interaction == "transaction" else offered
    return _RESTFUL.get(interaction, "search-type") in {each["code"] for each in system}
