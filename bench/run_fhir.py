"""Measure Planbrug's `/fhir` beside other FHIR servers in Python: `.venv/bin/python bench/run_fhir.py [--quick] [--sizes 1000,10000]`.

All servers stay up, with their plans; one is asked at a time, in interleaved rounds. README.md says what is compared, and how fairly.
"""

import argparse
import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import childs
import fhir_report
import machine
from environment import have_own_environment
from fhir_asks import INTERACTIONS
from fhir_contestants import KINDS, server, versions
from fhir_plans import Resource, bundles
from fhir_trial import SHAPES, Trial
from running import Place
from servers import free_ports, running_postgresql

SIZES = [1_000, 10_000, 100_000]


@contextlib.asynccontextmanager
async def open_trials(names: list[str], plans: list[Resource]) -> AsyncIterator[dict[str, Trial]]:
    """Start every server on an empty database; leave nothing behind."""
    async with contextlib.AsyncExitStack() as stack:
        whole = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="planbrug-bench-fhir-")))
        needs_postgresql = any(KINDS[name].store == "postgresql" for name in names)
        postgresql = stack.enter_context(running_postgresql()) if needs_postgresql else None
        trials = {}
        for name in names:
            folder = Path(tempfile.mkdtemp(dir=whole))
            url = f"sqlite:///{folder / 'planbrug.db'}"
            if postgresql and KINDS[name].store == "postgresql":
                url = postgresql.url_of(postgresql.create_database())
            who = server(name, Place(folder, url, "", {}, folder), free_ports(1)[0])
            stack.push_async_callback(who.stop)
            await who.start()
            trials[name] = Trial(who, folder, plans, say)
        yield trials


async def measure(trials: dict[str, Trial], size: int, rounds: int, seconds: float) -> dict[str, list[dict[str, Any]]]:
    """Bring every server to a size, or as near as it comes in its time; then measure round by round."""
    loaded, offered, rows = [], [], []
    for trial in trials.values():
        loaded += [{"size": size} | asdict(each) for each in await trial.fill(size)]
        await trial.probe()
        offered += [{"size": size} | asdict(each) for each in trial.offered.values()]
    for number in range(1, rounds + 1):
        for interaction in INTERACTIONS:
            for connections in SHAPES:
                for trial in trials.values():
                    if (found := await trial.measure(interaction, connections, seconds)) is None:
                        continue
                    rows.append({"size": size, "round": number} | asdict(found))
                    say(
                        f"{size:,} plans, round {number}: {interaction}, {connections} connection(s), {found.contestant}: "
                        f"{found.per_second:.0f}/s, p50 {found.p50_ms:.1f} ms, wrong {found.failures or 0}"
                    )
    return {"loaded": loaded, "offered": offered, "rows": rows}


def say(what: str) -> None:
    """Show how far it is."""
    print(f"{datetime.now(UTC):%H:%M:%S} {what}", flush=True)


async def run(asked: argparse.Namespace) -> dict[str, Any]:
    """Measure at every size."""
    names = [name for name in KINDS if not asked.only or any(word in name for word in asked.only.split(","))]
    found: dict[str, Any] = {
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.described(),
        "versions": versions(),
        "asked": {"rounds": asked.rounds, "seconds": asked.seconds, "sizes": asked.sizes, "quick": asked.quick},
        "loaded": [],
        "offered": [],
        "rows": [],
    }
    async with open_trials(names, bundles()) as trials:
        for size in asked.sizes:
            for name, rows in (await measure(trials, size, asked.rounds, asked.seconds)).items():
                found[name] += rows
            write(found, asked.out)
    return found


def write(found: dict[str, Any], folder: Path) -> None:
    """Write what was found so far: a long run that is broken off has not been for nothing."""
    (folder / "fhir.json").write_text(json.dumps(found, indent=1))
    fhir_report.write(found, folder)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the smallest size and short loads, to see that it works")
    parser.add_argument("--sizes", type=lambda text: [int(each) for each in text.split(",")], help="1000,10000,100000")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="how long each load lasts")
    parser.add_argument("--only", default="", help="parts of names, with commas between")
    parser.add_argument("--out", type=Path, help="folder of FHIR.md and fhir.json")
    asked = parser.parse_args()
    asked.sizes = sorted(asked.sizes or (SIZES[:1] if asked.quick else SIZES))
    asked.rounds = asked.rounds or (1 if asked.quick else 3)
    asked.seconds = asked.seconds or (1.0 if asked.quick else 4.0)
    asked.out = asked.out or (
        Path(tempfile.mkdtemp(prefix="planbrug-bench-fhir-quick-")) if asked.quick else childs.HERE
    )
    return asked


def main() -> None:
    """Measure, and write what was found."""
    asked = arguments()
    have_own_environment()
    asyncio.run(run(asked))
    print(f"written: {asked.out}/FHIR.md, fhir.json")


if __name__ == "__main__":
    main()
