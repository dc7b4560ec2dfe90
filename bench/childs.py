"""The processes of a run: load generator, receivers, contestants. None outlives us; all run in folders of their own."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PYTHON = HERE / ".venv" / "bin" / "python"
LOAD_LIMIT_SECONDS = 600
STOP_SECONDS = 15


class ChildError(Exception):
    """A process of the run ended badly; the message shows the end of what it said."""


async def start(
    command: Sequence[str], environment: Mapping[str, str], log: Path, folder: Path
) -> asyncio.subprocess.Process:
    """Start a process that the kernel kills when we die."""
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            "setpriv", "--pdeathsig=KILL", *command, env=dict(environment), cwd=folder, stdout=output, stderr=output
        )


async def stop(process: asyncio.subprocess.Process) -> None:
    """Ask a process to end, and kill it when it takes too long."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def load(job: Mapping[str, Any], result: Path) -> list[dict[str, Any]]:
    """Run the load generator over one job, and return its rows. Raises ChildError when a plan was not taken."""
    asked = {
        "seconds": 0,
        "count": 0,
        "rate": 0,
        "connections": 1,
        "editions": 1,
        "pause": 0,
        "result": str(result),
        **job,
    }
    rows: list[dict[str, Any]] = await do_job("load.py", asked)
    if refused := [row for row in rows if "error" in row]:
        raise ChildError(f"{len(refused)} of {len(rows)} plans refused, the first with {refused[0]['error']}")
    return rows


async def do_job(program: str, job: Mapping[str, Any]) -> Any:
    """Run a program of this folder over one job, and return what it wrote to the job's `result`. Raises ChildError."""
    process = await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig=KILL", str(PYTHON), str(HERE / program)),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(LOAD_LIMIT_SECONDS):
        _, said = await process.communicate(json.dumps(job).encode())
    if process.returncode:
        raise ChildError(f"{program} failed: {said.decode()[-2000:]}")
    return json.loads(Path(job["result"]).read_bytes())  # noqa: ASYNC240


class Receivers:
    """The process of the receivers, and its ports by recipient."""

    def __init__(self, process: asyncio.subprocess.Process, ports: dict[str, int]) -> None:
        self._process = process
        self.ports = ports

    async def do(self, what: str, **more: Any) -> int:
        """Give a command; return how many views have arrived."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, **more}).encode() + b"\n")
        return int(json.loads(await self._process.stdout.readline())["count"])

    async def arrivals(self, file: Path) -> tuple[list[dict[str, Any]], list[str]]:
        """Return what has arrived, and the bodies when they were kept."""
        await self.do("dump", file=str(file))
        found = json.loads(file.read_bytes())  # noqa: ASYNC240
        return found["arrivals"], found["bodies"]


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receivers]:
    """Run the receivers."""
    process = await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig=KILL", str(PYTHON), str(HERE / "receivers.py")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    ports = json.loads(await process.stdout.readline())
    try:
        yield Receivers(process, ports)
    finally:
        await stop(process)
