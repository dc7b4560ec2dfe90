"""Measure the gateway beside a naive service and the limit: `.venv/bin/python bench/run.py [--quick] [--store sqlite|postgresql|both]`.

All contestants are interleaved, round by round; what is written are medians of the rounds. README.md says what is measured and how.
"""

import argparse
import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from shutil import copyfile
from typing import Any

import childs
import machine
import report
from contestants import NAMES, Contestant, contestant
from documents import LARGE, SIZES, SMALL, STANDARD, Size
from environment import have_own_environment
from recording import record
from running import Place
from scene import MANY, MIDDLING
from servers import free_ports, running_postgresql, running_rabbitmq, services
from trial import Plan, Trial

HERE = Path(__file__).parent
GROWN = ("planbrug", "naive without its mistakes", "limit, bare client")
"""Who is measured with much data: the naive one would take an hour to get there."""


@dataclass(frozen=True, kw_only=True)
class Hall:
    """Where trials are held: the broker, the databases and the receivers."""

    folder: Path
    rabbitmq: services.RabbitMq
    postgresql: services.PostgreSql | None
    receivers: childs.Receivers

    @contextlib.asynccontextmanager
    async def trial(self, name: str, store: str, plan: Plan) -> AsyncIterator[tuple[Trial, Contestant]]:
        """Start a contestant on an empty database, prepare and check it, and stop it in the end."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        recorded = folder / "recorded.json"
        copyfile(self.folder / f"recorded-{plan.size.name}.json", recorded)
        url, database = f"sqlite:///{folder / 'planbrug.db'}", ""
        if store == "postgresql" and self.postgresql:
            database = self.postgresql.create_database()
            url = self.postgresql.url_of(database)
        place = Place(folder, url, self.rabbitmq.url, self.receivers.ports, recorded)
        who = contestant(name, place, free_ports(1)[0])
        await self.receivers.do("release")
        try:
            await who.start()
            trial = Trial(who, self.receivers, folder, plan)
            await trial.prepare()
            yield trial, who
        finally:
            await who.stop()
            if database and self.postgresql:
                self.postgresql.drop_database(database)

    async def record(self, size: Size) -> None:
        """Record the gateway's bytes for the limit."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        url = f"sqlite:///{folder / 'planbrug.db'}"
        place = Place(folder, url, self.rabbitmq.url, self.receivers.ports, folder)
        found = await record(place, self.receivers, free_ports(1)[0], size)
        copyfile(found, self.folder / f"recorded-{size.name}.json")


@contextlib.asynccontextmanager
async def open_hall(stores: list[str]) -> AsyncIterator[Hall]:
    """Start broker, databases and receivers; leave nothing behind."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="planbrug-bench-")))
        rabbitmq = stack.enter_context(running_rabbitmq())
        postgresql = stack.enter_context(running_postgresql()) if "postgresql" in stores else None
        receivers = await stack.enter_async_context(childs.receiving())
        yield Hall(folder=folder, rabbitmq=rabbitmq, postgresql=postgresql, receivers=receivers)


async def interleaved(hall: Hall, names: list[str], stores: list[str], plan: Plan, rounds: int) -> list[dict[str, Any]]:
    """Measure every contestant on every store, round by round."""
    rows = []
    for number in range(1, rounds + 1):
        for store in stores:
            for name in names:
                async with hall.trial(name, store, plan) as (trial, _):
                    found = [*await trial.measure_a(), *await trial.measure_b()]
                say(f"round {number} {store:10} {name:28}", found)
                about = {"contestant": name, "store": store, "size": plan.size.name, "round": number}
                rows += [about | asdict(each) for each in found]
    return rows


async def grown(hall: Hall, names: list[str], store: str, plan: Plan, steps: list[int]) -> list[dict[str, Any]]:
    """Measure with more and more plans, and then with many choices per resident."""
    rows = []
    for name in (name for name in names if name in GROWN):
        async with hall.trial(name, store, plan) as (trial, _):
            there = 0
            for step in steps:
                await trial.fill(step - there)
                there = step
                found = await trial.measure_b()
                say(f"{step} plans {store:10} {name:28}", found)
                rows += [
                    {"contestant": name, "plans_there": step, "choices": plan.choices} | asdict(each) for each in found
                ]
    many = Plan(size=plan.size, seconds=plan.seconds, households=2, choices=MANY)
    few = Plan(size=plan.size, seconds=plan.seconds, households=2, choices=MIDDLING)
    for chosen in (few, many):
        for name in (name for name in names if not name.startswith("limit")):
            async with hall.trial(name, store, chosen) as (trial, _):
                found = await trial.measure_b()
            say(f"{chosen.choices} choices {store:10} {name:28}", found)
            rows += [{"contestant": name, "plans_there": 0, "choices": chosen.choices} | asdict(each) for each in found]
    return rows


def say(what: str, found: list[Any]) -> None:
    """Show a trial's figures."""
    rates = "  ".join(f"{each.figure}/{each.load} {each.plans_per_second:.0f}/s {each.p50_ms:.0f} ms" for each in found)
    print(f"{what} {rates}", flush=True)


async def run(asked: argparse.Namespace) -> dict[str, Any]:
    """Hold all trials; return everything that was measured."""
    stores = ["sqlite", "postgresql"] if asked.store == "both" else [asked.store]
    names = [name for name in NAMES if not asked.only or any(word in name for word in asked.only.split(","))]
    plan = Plan(size=SIZES[asked.size], seconds=asked.seconds, households=asked.households)
    others = [] if asked.quick else [size for size in (SMALL, LARGE) if size != plan.size]
    began = datetime.now(UTC)
    about = machine.described()
    async with open_hall(stores) as hall:
        for size in (plan.size, *others):
            await hall.record(size)
        found: dict[str, Any] = {"trials": await interleaved(hall, names, stores, plan, asked.rounds)}
        found["sizes"] = []
        for size in others:
            small = Plan(size=size, seconds=plan.seconds, households=plan.households)
            found["sizes"] += await interleaved(hall, names, stores[:1], small, 1)
        found["growth"] = await grown(hall, names, stores[0], plan, asked.growth) if asked.growth else []
    asking = {"rounds": asked.rounds, "seconds": asked.seconds, "households": asked.households, "quick": asked.quick}
    return {"began": began.isoformat(timespec="seconds"), "machine": about, "asked": asking, **found}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a minute or two, to see that it works")
    parser.add_argument("--store", choices=("sqlite", "postgresql", "both"))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="how long each load lasts")
    parser.add_argument("--households", type=int, default=10)
    parser.add_argument("--size", choices=sorted(SIZES), default=STANDARD.name)
    parser.add_argument(
        "--growth", type=lambda text: [int(each) for each in text.split(",") if each], help="1000,10000"
    )
    parser.add_argument("--only", default="", help="parts of names, with commas between")
    parser.add_argument("--out", type=Path, help="folder of RESULTS.md, results.json and results.svg")
    asked = parser.parse_args()
    asked.store = asked.store or ("sqlite" if asked.quick else "both")
    asked.rounds = asked.rounds or (1 if asked.quick else 3)
    asked.seconds = asked.seconds or (1.0 if asked.quick else 4.0)
    asked.growth = asked.growth if asked.growth is not None else ([] if asked.quick else [1_000, 10_000])
    asked.out = asked.out or (Path(tempfile.mkdtemp(prefix="planbrug-bench-quick-")) if asked.quick else HERE)
    return asked


def main() -> None:
    """Measure, and write what was found."""
    asked = arguments()
    have_own_environment()
    found = asyncio.run(run(asked))
    (asked.out / "results.json").write_text(json.dumps(found, indent=1))
    report.write(found, asked.out)
    print(f"written: {asked.out}/RESULTS.md, results.json, results.svg")


if __name__ == "__main__":
    main()
