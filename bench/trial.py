"""One trial of one contestant: prepare, check, then the two figures under three loads each, with the books balanced after each.

Figure a: plan in → stored → delivery ids confirmed by RabbitMQ. The receivers answer nobody then, so that a contestant's consumers stand
still, as they would with slow partners; afterwards they answer, and everything that was promised must arrive.
Figure b: plan in → every view pushed and receipted.
"""

import asyncio
import itertools
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import childs
from checks import check_loss, check_recorded, check_sequences, check_views
from contestants import Contestant, settled
from documents import Size, template
from measures import at_share
from scene import MIDDLING, RECIPIENTS

CONNECTIONS = 32
EDITIONS = 3
CHECKED_PLANS = 6
STANDING_STILL_PLANS = 40
PATIENCE_SECONDS = 60
PAUSE_SECONDS = 0.1
"""On one connection a plan comes so long after the former's answer, so that the former's deliveries are out of its way."""
LOADS = ("one", "full", "half")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long and with how much a trial measures."""

    size: Size
    seconds: float
    households: int
    choices: int = MIDDLING


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One figure under one load. Latencies from when a plan was due until its confirm (a) or its last receipt (b)."""

    figure: str
    load: str
    plans: int
    plans_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms_per_plan: float
    rss_mb: float


class Trial:
    """Measures one contestant that is started and stopped by somebody else."""

    def __init__(self, who: Contestant, receivers: childs.Receivers, folder: Path, plan: Plan) -> None:
        self._who, self._receivers, self._folder, self._plan = who, receivers, folder, plan
        self._forms = [template(household, plan.size) for household in range(plan.households)]
        self._paths = [self._kept(number, form) for number, form in enumerate(self._forms)]
        self._prefixes = (f"plan-{number}" for number in itertools.count())
        self._rate = {"a": 0.0, "b": 0.0}

    async def prepare(self) -> None:
        """Let the residents choose; then check views and order with plans in several editions."""
        await self._who.prepare(self._forms, self._plan.choices)
        await self._receivers.do("forget")
        await self._receivers.do("keep")
        rows = await self._load(next(self._prefixes), count=CHECKED_PLANS * EDITIONS, editions=EDITIONS)
        await settled(self._who)
        arrivals, bodies = await self._receivers.arrivals(self._folder / "arrivals.json")
        if self._who.name.startswith("limit"):
            check_recorded(arrivals, self._folder / "recorded.json")
        else:
            check_views(arrivals, bodies, rows, self._forms, EDITIONS)
        await self._receivers.do("forget")

    async def measure_a(self, loads: tuple[str, ...] = LOADS) -> list[Measured]:
        """Measure figure a under some loads, then let everything be delivered and check that nothing is lost."""
        await self._receivers.do("hold")
        rows = await self._load(next(self._prefixes), count=STANDING_STILL_PLANS)
        await asyncio.sleep(1)
        made = []
        for load in loads:
            found, sent = await self._measured("a", load)
            made.append(found)
            rows += sent
        await self._receivers.do("release")
        await self._balance(rows)
        return made

    async def measure_b(self, loads: tuple[str, ...] = LOADS) -> list[Measured]:
        """Measure figure b under some loads; after each everything must have arrived."""
        return [(await self._measured("b", load))[0] for load in loads]

    async def fill(self, count: int) -> None:
        """Bring in so many plans, and let them be delivered."""
        while count > 0:
            rows = await self._load(next(self._prefixes), count=min(count, 1_000), connections=CONNECTIONS)
            await self._balance(rows)
            count -= len(rows)

    async def _measured(self, figure: str, load: str) -> tuple[Measured, list[dict[str, Any]]]:
        before = self._who.used()
        rows = await self._load(next(self._prefixes), **{"seconds": self._plan.seconds, **self._pace(figure, load)})
        ends = await self._confirmed(rows) if figure == "a" else _ends_of(rows, await self._balance(rows))
        after = self._who.used()
        began = min(row["due"] for row in rows)
        waits = _waits(rows, ends)
        rate = len(rows) / (max(ends) - began)
        if load == "full":
            self._rate[figure] = rate
        measured = Measured(
            figure=figure,
            load=load,
            plans=len(rows),
            plans_per_second=rate,
            p50_ms=1000 * statistics.median(waits),
            p99_ms=1000 * at_share(waits, 0.99),
            cpu_ms_per_plan=1000 * (after.cpu_seconds - before.cpu_seconds) / len(rows),
            rss_mb=after.rss_mb,
        )
        return measured, rows

    def _pace(self, figure: str, load: str) -> dict[str, Any]:
        match load:
            case "one":
                return {"connections": 1, "pause": PAUSE_SECONDS, "seconds": 2 * self._plan.seconds}
            case "half":
                return {"connections": CONNECTIONS, "rate": self._rate[figure] / 2}
            case _:
                return {"connections": CONNECTIONS}

    async def _confirmed(self, rows: list[dict[str, Any]]) -> list[float]:
        """Wait until the broker has confirmed everything; return when, in the order of `rows`. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(found := self._who.confirmed(rows)) < len(rows):  # noqa: ASYNC110 - the books are another process's
                await asyncio.sleep(0.05)
        return found

    async def _balance(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Wait until all is receipted, by the receivers' and the contestant's own books, and check for loss."""
        await self._receivers.do("wait", count=len(rows) * len(RECIPIENTS), seconds=PATIENCE_SECONDS)
        await settled(self._who)
        arrivals, _ = await self._receivers.arrivals(self._folder / "arrivals.json")
        check_loss(arrivals, rows)
        if self._who.name == "planbrug":
            check_sequences(arrivals)
        await self._receivers.do("forget")
        return arrivals

    async def _load(self, prefix: str, **job: Any) -> list[dict[str, Any]]:
        asked = {**await self._who.job(), "forms": self._paths, "prefix": prefix, **job}
        return await childs.load(asked, self._folder / "rows.json")

    def _kept(self, number: int, form: bytes) -> str:
        path = self._folder / f"form-{number}.json"
        path.write_bytes(form)
        return str(path)


def _ends_of(rows: list[dict[str, Any]], arrivals: list[dict[str, Any]]) -> list[float]:
    """Return when the last view of each plan was receipted, in the order of `rows`."""
    at = {arrival["delivery"]: arrival["at"] for arrival in arrivals}
    return [max(at[delivery] for delivery in row["deliveries"]) for row in rows]


def _waits(rows: list[dict[str, Any]], ends: list[float]) -> list[float]:
    return sorted(end - row["due"] for row, end in zip(rows, ends, strict=True))
