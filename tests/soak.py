"""Half an hour of failures under load: `make soak`, or one phase with `.venv/bin/python tests/soak.py --only PHASE --seed N`.

Exits with 1 when anything is lost, doubled, out of order, stale or unfinished, or a phase fails. Writes `bench/SOAK.md` after a whole run.
"""

import argparse
import asyncio
import contextlib
import datetime
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import phases
import stage
from households import Wish
from msgspec import Struct
from msgspec.structs import replace
from phases import Report
from stage import ALL_RECIPIENTS, EMBEDDED, RECIPIENTS, Servers, Stage, staged

ROOT = Path(__file__).parents[1]
SHEET = ROOT / "bench" / "SOAK.md"
MANY = Wish(households=40, plans_each=3, rate=25)
"""The load of the test of Open Notificaties: 25 plans a second."""

DOWN: dict[str, phases.Down] = {"kompas": "refused", "noorderlicht": "503", "de-linde": "hangs"}
STEADY_AT_LEAST_SECONDS = 300


class Length(Struct, frozen=True, kw_only=True):
    """How much of everything."""

    minutes: float
    kills: int
    down_seconds: float
    steady_seconds: float


WHOLE = Length(minutes=30, kills=100, down_seconds=300, steady_seconds=STEADY_AT_LEAST_SECONDS)
"""100 kills on each of the two databases: 200 together."""

QUICK = Length(minutes=0, kills=4, down_seconds=5, steady_seconds=10)


class Phase(Struct, frozen=True, kw_only=True):
    """One proof, and the stage that it wants."""

    run: Callable[[Stage, int, Length], Awaitable[Report]]
    recipients: tuple[str, ...] = RECIPIENTS
    wish: Wish = Wish()
    gateways: int = 1


def say(text: str) -> None:
    """Show progress."""
    print(f"{datetime.datetime.now().astimezone():%H:%M:%S} {text}", file=sys.stderr, flush=True)


def down(*names: str) -> Callable[[Stage, int, Length], Awaitable[Report]]:
    """Return the phase in which these receivers are down."""

    async def run(on: Stage, _seed: int, length: Length) -> Report:
        fallen = {name: how for name, how in DOWN.items() if name in names}
        return await phases.receivers_down(on, fallen, length.down_seconds, min(length.down_seconds, 30))

    return run


PHASES: dict[str, Phase] = {
    "failpoints": Phase(run=lambda on, _seed, _length: phases.failpoints(on)),
    "kills": Phase(run=lambda on, seed, length: phases.random_kills(on, length.kills, seed, say)),
    "two-gateways": Phase(
        run=lambda on, seed, length: phases.random_kills(on, length.kills // 4, seed, say), gateways=2
    ),
    "broker": Phase(run=lambda on, _seed, _length: phases.broker_outages(on)),
    "database": Phase(run=lambda on, _seed, _length: phases.database_restarts(on)),
    "receivers": Phase(run=down(*DOWN), recipients=ALL_RECIPIENTS, wish=MANY),
    "receiver-refuses": Phase(run=down("kompas"), recipients=ALL_RECIPIENTS, wish=MANY),
    "receiver-503": Phase(run=down("noorderlicht"), recipients=ALL_RECIPIENTS, wish=MANY),
    "receiver-hangs": Phase(run=down("de-linde"), recipients=ALL_RECIPIENTS, wish=MANY),
    "steady": Phase(run=lambda on, _seed, length: phases.steady(on, length.steady_seconds), wish=MANY),
}
"""Everything that can be run; a whole run takes those of PROGRAMME."""

PROGRAMME: tuple[tuple[str, str], ...] = (
    *((name, "sqlite") for name in ("failpoints", "kills", "receivers")),
    *((name, "postgresql") for name in ("failpoints", "kills", "two-gateways", "broker", "database", "receivers")),
    ("steady", "sqlite"),
    ("steady", "postgresql"),
)
ONLY_POSTGRESQL = {"two-gateways", "broker", "database"}


def main() -> int:
    """Run what was asked for; say whether everything is accounted for."""
    asked = arguments()
    began = time.monotonic()
    chosen = [(name, backend) for name, backend in PROGRAMME if asked.only in (None, name)]
    if asked.only and not chosen:
        chosen = [(asked.only, backend) for backend in ("sqlite", "postgresql")]
    chosen = [(name, backend) for name, backend in chosen if asked.backend in (None, backend)]
    length = QUICK if asked.quick else WHOLE
    reports = []
    with contextlib.ExitStack() as stack:
        servers = {"sqlite": EMBEDDED}
        if any(backend == "postgresql" for _, backend in chosen):
            servers["postgresql"] = stack.enter_context(stage.running_servers())
        for position, (name, backend) in enumerate(chosen):
            left = (asked.minutes if asked.minutes is not None else length.minutes) * 60 - (time.monotonic() - began)
            share = left / (len(chosen) - position) if name == "steady" else 0
            say(f"{name} on {backend}")
            lasting = Length(
                minutes=length.minutes,
                kills=length.kills,
                down_seconds=length.down_seconds,
                steady_seconds=max(length.steady_seconds, share),
            )
            reports.append(played(name, servers[backend], asked.seed, lasting))
            tell(reports[-1])
    if not asked.only and not asked.quick:
        SHEET.write_text(sheet(reports, asked, time.monotonic() - began))
    bad = sum(len(report.findings) for report in reports)
    say(f"{len(reports)} phases, {bad} findings, {(time.monotonic() - began) / 60:.1f} minutes")
    return 1 if bad else 0


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, help="how long a whole run takes at least; the steady load fills it")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--only", choices=sorted(PHASES), help="one phase, on both databases where it has two")
    parser.add_argument("--backend", choices=("sqlite", "postgresql"))
    parser.add_argument("--quick", action="store_true", help="everything short, to see that the program works")
    asked = parser.parse_args()
    if asked.only in ONLY_POSTGRESQL and asked.backend == "sqlite":
        parser.error(f"{asked.only} is about PostgreSQL and RabbitMQ")
    return asked


def played(name: str, servers: Servers, seed: int, length: Length) -> Report:
    """Play one phase on a stage of its own; a phase that fails is a finding."""
    try:
        with tempfile.TemporaryDirectory(prefix="planbrug-soak-") as folder:
            return replace(asyncio.run(_played(Path(folder), name, servers, seed, length)), phase=name)
    except Exception:  # noqa: BLE001 - the top of a phase: the others still run
        traceback.print_exc()
        broken = phases.Finding("unfinished", f"the phase {name} did not come to its end")
        return Report(phase=name, backend=servers.backend, numbers={}, findings=(broken,))


async def _played(folder: Path, name: str, servers: Servers, seed: int, length: Length) -> Report:
    phase = PHASES[name]
    async with staged(
        folder, servers, seed=seed, recipients=phase.recipients, wish=phase.wish, gateways=phase.gateways
    ) as on:
        return await phase.run(on, seed, length)


def tell(report: Report) -> None:
    """Show what a phase found."""
    for name, value in report.numbers.items():
        print(f"    {name}: {value}")
    for finding in report.findings[:20]:
        print(f"  ! {finding.kind}: {finding.what}", flush=True)


def sheet(reports: list[Report], asked: argparse.Namespace, seconds: float) -> str:
    """Return the page of a whole run."""
    findings = sum(len(report.findings) for report in reports)
    lines = [
        "# What it survives",
        "",
        "Written by `make soak`. Failures under load, and afterwards everything is accounted for: `tests/accounting.py` says how.",
        "",
        *(f"- {name}: {value}" for name, value in circumstances(asked, seconds).items()),
        f"- Findings: {findings}",
        "",
        f"One phase again: `.venv/bin/python tests/soak.py --only PHASE --seed {asked.seed}`.",
    ]
    for report in reports:
        lines += ["", f"## {report.phase}, {report.backend}", "", *table(("what", "value"), report.numbers)]
        if report.findings:
            lines += ["", *(f"- {finding.kind}: {finding.what}" for finding in report.findings[:20])]
        if report.memory:
            every = max(len(report.memory) // 12, 1)
            shown = {f"{at:.0f}": f"{mb:.1f}" for at, mb in report.memory[::every]}
            lines += ["", *table(("seconds", "RSS MB of the gateway"), shown)]
    return "\n".join(lines) + "\n"


def table(head: tuple[str, str], rows: Mapping[str, object]) -> Iterator[str]:
    """Yield the lines of a table."""
    yield f"| {head[0]} | {head[1]} |"
    yield "|---|---:|"
    for name, value in rows.items():
        yield f"| {name} | {value} |"


def circumstances(asked: argparse.Namespace, seconds: float) -> dict[str, str]:
    """Return when, how and on what."""
    cpu = (
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    )
    command = "make soak" if asked.minutes is None else f"tests/soak.py --minutes {asked.minutes:g}"
    return {
        "When": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC, {seconds / 60:.0f} minutes",
        "Command": f"`{command}`, seed {asked.seed}",
        "Machine": f"{next(cpu, platform.machine())}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "Everything on one machine": "gateways, broker, database, load and receivers",
    }


if __name__ == "__main__":
    sys.exit(main())
