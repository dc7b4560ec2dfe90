"""The proofs: what is done to the gateways, the broker, the database and the receivers while plans come in.

Each returns a report with its findings; none asserts, so that the same phase is short in `make test` and long in `make soak`.
"""

import asyncio
import random
import signal
import subprocess
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from accounting import Books, Finding, counts, findings, latencies, percentile
from msgspec import Struct
from partners import Down
from processes import GatewayProcess
from stage import DELIVERIES, Stage

from gateway.failpoints import FAILPOINTS

PATIENCE_SECONDS = 120
REACH_SECONDS = 20
"""How long a failpoint may take to be reached under load, before the process is killed where it is."""

_LASTING = ThreadPoolExecutor(max_workers=1)
"""A thread that outlives every event loop: a server dies with the thread that started it (`PR_SET_PDEATHSIG`, prctl(2))."""

Numbers = dict[str, int | float | str]


class Report(Struct, frozen=True, kw_only=True):
    """What a phase did and found. `memory`: seconds since the phase began → resident megabytes of the gateways together."""

    phase: str
    backend: str
    numbers: Numbers
    findings: tuple[Finding, ...]
    memory: tuple[tuple[float, float], ...] = ()


class Recoveries:
    """How long restarts took: to ready, and to the first arrival after."""

    def __init__(self) -> None:
        self._waiting: asyncio.Task[None] | None = None
        self._ready: list[float] = []
        self._first: list[float] = []

    async def restart(self, stage: Stage, gateway: GatewayProcess, failpoint: str = "") -> None:
        """Start a gateway again, and note when it is ready and when something of it arrives."""
        gateway.kill()
        if self._waiting is not None:
            self._waiting.cancel()
        began = time.monotonic()
        came = asyncio.create_task(self._note_first(stage, began))
        await gateway.start(failpoint)
        if gateway.alive:
            self._ready.append(time.monotonic() - began)
        self._waiting = came

    async def arrival(self, stage: Stage) -> None:
        """Wait for the first arrival after the last restart."""
        assert self._waiting is not None, "restart something first"
        await stage.load.during(asyncio.wait([self._waiting]))

    def numbers(self) -> Numbers:
        """Return median and largest, in seconds."""
        return {
            f"{name} {what} s": round(of(values), 2)
            for name, values in (("to ready", self._ready), ("to first delivery", self._first))
            for what, of in (("median", median), ("max", max))
            if values
        }

    async def _note_first(self, stage: Stage, began: float) -> None:
        await stage.partners.next_arrival()
        self._first.append(time.monotonic() - began)


async def failpoints(stage: Stage, names: Sequence[str] = FAILPOINTS) -> Report:
    """Die once at each failpoint."""
    recoveries, numbers = Recoveries(), Numbers()
    await stage.load.start()
    for name in names:
        await recoveries.restart(stage, stage.gateway, name)
        reached = await _dead(stage.gateway, PATIENCE_SECONDS)
        numbers["deaths at a failpoint"] = int(numbers.get("deaths at a failpoint", 0)) + reached
        if not reached:
            raise AssertionError(f"failpoint {name} was not reached")
    await recoveries.restart(stage, stage.gateway)
    await recoveries.arrival(stage)
    return await _accounted(stage, "failpoints", numbers | recoveries.numbers())


async def random_kills(stage: Stage, count: int, seed: int, say: Callable[[str], None] = lambda _: None) -> Report:
    """Kill gateways at random: at a moment, or the k-th time that one gets to a failpoint; then start them again."""
    chance = random.Random(seed)
    recoveries, at_failpoints = Recoveries(), 0
    await stage.load.start()
    for number in range(1, count + 1):
        gateway = chance.choice(stage.gateways)
        point = f"{chance.choice(FAILPOINTS)}:{chance.randint(1, 20)}" if chance.random() < 0.5 else ""
        moment = chance.uniform(0, 1.5)
        await recoveries.restart(stage, gateway, point)
        if point:
            at_failpoints += await _dead(gateway, REACH_SECONDS)
        else:
            await stage.load.go_on(moment)
        gateway.kill()
        say(f"{number} of {count} kills")
        if len(stage.gateways) > 1:
            await stage.raise_the_dead()
    await recoveries.restart(stage, gateway)
    await recoveries.arrival(stage)
    kills = sum(len(each.deaths) for each in stage.gateways)
    numbers: Numbers = {"kills": kills, "of these at a failpoint": at_failpoints}
    return await _accounted(stage, "random kills", numbers | recoveries.numbers())


async def broker_outages(stage: Stage, ways: Sequence[str] = ("in order", "killed", "wiped")) -> Report:
    """Take RabbitMQ away under load: in order, by SIGKILL, by SIGKILL with its data lost; intake goes on meanwhile.

    After a kill the runbook's remedy is applied, because a lone RabbitMQ 3.10 may elect no leader (rabbitmq-server#10070).
    """
    rabbitmq = stage.servers.rabbitmq
    assert rabbitmq is not None, "this is about RabbitMQ"
    numbers: Numbers = {}
    await stage.load.start()
    await stage.load.until_accepted(10)
    for way in ways:
        await lasting(rabbitmq.shut_down if way == "in order" else rabbitmq.kill)
        accepted = len(stage.load.accepted)
        await stage.load.until_accepted(10)
        numbers[f"{way}: accepted while away"] = len(stage.load.accepted) - accepted
        if way == "wiped":
            rabbitmq.wipe()
        began = time.monotonic()
        await lasting(rabbitmq.start)
        if way == "killed":
            await lasting(rabbitmq.elect, DELIVERIES)
            numbers["killed: remedy applied"] = "ra:trigger_election"
        await stage.load.during(stage.partners.next_arrival())
        numbers[f"{way}: start to first delivery s"] = round(time.monotonic() - began, 2)
        await stage.load.until_accepted(10)
    return await _accounted(stage, "broker outages", numbers)


async def database_restarts(stage: Stage, ways: Sequence[str] = ("fast", "immediate")) -> Report:
    """Restart PostgreSQL under load, as `pg_ctl -m fast` and `-m immediate` do."""
    postgresql = stage.servers.postgresql
    assert postgresql is not None, "this is about PostgreSQL"
    numbers: Numbers = {}
    await stage.load.start()
    await stage.load.until_accepted(10)
    for way in ways:
        how = signal.SIGINT if way == "fast" else signal.SIGQUIT
        began = time.monotonic()
        await lasting(postgresql.restart, how)
        await stage.load.until_accepted(1)
        numbers[f"{way}: stop to next plan accepted s"] = round(time.monotonic() - began, 2)
        await stage.load.during(stage.partners.next_arrival())
        numbers[f"{way}: stop to next delivery s"] = round(time.monotonic() - began, 2)
        await stage.load.until_accepted(10)
    return await _accounted(stage, "database restarts", numbers)


async def receivers_down(
    stage: Stage,
    down: Mapping[str, Down],
    seconds: float,
    before_seconds: float,
    watch: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> Report:
    """Let receivers be down while plans come in (the test of Open Notificaties); the others go on."""
    healthy = set(stage.partners.recipients) - down.keys()
    samples: list[tuple[float, float]] = []
    sampling = asyncio.create_task(sample_memory(stage, samples))
    began = time.monotonic()
    await stage.load.start()
    await stage.load.go_on(before_seconds)
    fell = time.monotonic()
    accepted = len(stage.load.accepted)
    for name, how in down.items():
        await stage.partners.go_down(name, how)
    await stage.load.go_on(seconds)
    while len(stage.load.accepted) < accepted + 10:
        await stage.load.until_accepted(1)
    back = time.monotonic()
    during = len(stage.load.accepted) - accepted
    for name in down:
        await stage.partners.come_back(name)
    await stage.load.until_accepted(10)
    books = await stage.load.books(stage.partners, closed=False)
    numbers: Numbers = {
        "down": ", ".join(f"{name} {how}" for name, how in down.items()),
        "down s": round(back - fell, 1),
        "accepted meanwhile": during,
        "accepted meanwhile per s": round(during / (back - fell), 1),
    }
    for name, since, until in (("before", began, fell), ("while down", fell, back)):
        took = latencies(books, healthy, since, until)
        numbers[f"healthy, {name}: p50 ms"] = round(1000 * percentile(took, 0.5))
        numbers[f"healthy, {name}: p99 ms"] = round(1000 * percentile(took, 0.99))
    report = await _accounted(stage, "receivers down", numbers, back)
    sampling.cancel()
    return with_memory(report, samples)


async def steady(stage: Stage, seconds: float) -> Report:
    """Go on for a while, and sample memory."""
    samples: list[tuple[float, float]] = []
    sampling = asyncio.create_task(sample_memory(stage, samples))
    await stage.load.start()
    await stage.load.go_on(seconds)
    accepted = len(stage.load.accepted)
    sampling.cancel()
    report = await _accounted(stage, "steady", {"accepted per s": round(accepted / seconds, 1)})
    return with_memory(report, samples)


async def sample_memory(stage: Stage, into: list[tuple[float, float]], every_seconds: float = 10) -> None:
    """Note the resident memory of the gateways, again and again."""
    began = time.monotonic()
    while True:
        into.append((time.monotonic() - began, sum(rss_mb(gateway) for gateway in stage.gateways)))
        await asyncio.sleep(every_seconds)


def rss_mb(gateway: GatewayProcess) -> float:
    """Return the resident megabytes of a gateway now, 0 when it does not run."""
    if gateway.process is None or not gateway.alive:
        return 0.0
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0.0)


def with_memory(report: Report, samples: Sequence[tuple[float, float]]) -> Report:
    """Add the memory series, and its slope over the last two thirds in MB per ten minutes."""
    late = samples[len(samples) // 3 :]
    numbers = report.numbers | {"RSS MB at the end": round(samples[-1][1], 1)} if samples else report.numbers
    if len(late) >= 3:
        numbers = numbers | {"RSS slope MB per 10 min": round(600 * slope(late), 2)}
    return Report(
        phase=report.phase,
        backend=report.backend,
        numbers=numbers,
        findings=report.findings,
        memory=tuple((round(at), round(mb, 1)) for at, mb in samples),
    )


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the line of least squares."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


async def lasting(do: Callable[..., object], *arguments: object) -> None:
    """Do something to a server without holding up the event loop."""
    await asyncio.get_running_loop().run_in_executor(_LASTING, do, *arguments)


async def _dead(gateway: GatewayProcess, seconds: float) -> bool:
    """Wait until a gateway is dead, so long at most; say whether it is."""
    assert gateway.process is not None
    try:
        await asyncio.to_thread(gateway.process.wait, seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


async def _accounted(stage: Stage, phase: str, numbers: Numbers, back: float | None = None) -> Report:
    """Stop the load, wait until everything has ended, account; send everybody something new, wait and account again."""
    await stage.load.stop()
    await stage.raise_the_dead()
    await stage.load.settled()
    if back is not None:
        numbers["back to everything ended s"] = round(time.monotonic() - back, 1)
    first = await stage.load.books(stage.partners, closed=False)
    await stage.load.close()
    await stage.load.settled()
    last: Books = await stage.load.books(stage.partners, closed=True)
    found = tuple(dict.fromkeys([*findings(first), *findings(last)]))
    kinds = ("lost", "doubled", "gap", "order", "stale", "unfinished")
    numbers |= {**counts(last), "choices changed": stage.load.choices_changed}
    numbers["answers"] = ", ".join(f"{times} × {what}" for what, times in stage.load.answers.items())
    numbers |= {kind: sum(finding.kind == kind for finding in found) for kind in kinds}
    return Report(phase=phase, backend=stage.servers.backend, numbers=numbers, findings=found)
