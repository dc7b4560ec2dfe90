"""Where the gateway's time goes under saturation: `.venv/bin/python bench/profiling.py [--store sqlite] [--seconds 8]`.

Samples of py-spy, of threads that are working, counted per figure: by function of this repository with everything below it, by
function itself, and by library.
"""

import argparse
import asyncio
import re
import signal
from collections import Counter
from pathlib import Path

import childs
from contestants import Planbrug
from documents import STANDARD
from environment import have_own_environment
from run import open_hall
from trial import Plan

OURS = re.compile(r"\((?:/\S*/)?((?:gateway|mappings|consent|adapters)/[\w/]+\.py):\d+\)")
WAITING = ("SqliteStore._taken", "_worker", "EpollSelector.select", "select")
"""Innermost frames that wait, whatever py-spy thinks of their threads."""
SHOWN = 40


def read_samples(path: Path) -> list[tuple[list[str], int]]:
    """Read py-spy's raw format: frames, outermost first, and how often."""
    samples: list[tuple[list[str], int]] = []
    for line in path.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if frames[-1].partition(" (")[0] not in WAITING:
            samples.append((frames, int(count)))
    return samples


def tell(samples: list[tuple[list[str], int]]) -> None:
    """Print the shares."""
    total = sum(count for _, count in samples) or 1
    below, itself, libraries = Counter[str](), Counter[str](), Counter[str]()
    for stack, count in samples:
        for frame in {_named(frame) for frame in stack if OURS.search(frame)}:
            below[frame] += count
        itself[_named(stack[-1])] += count
        libraries[_library(stack)] += count
    for title, counted in (
        ("with all below", below),
        ("itself", itself),
        ("library of the innermost frame", libraries),
    ):
        print(f"  -- {title}")
        for name, count in counted.most_common(SHOWN):
            print(f"  {100 * count / total:5.1f} %  {name}")


def _named(frame: str) -> str:
    function, _, place = frame.partition(" (")
    return f"{function} ({re.sub(r':[0-9]+[)]$', '', place).split('site-packages/')[-1].removeprefix(str(childs.HERE.parent) + '/')})"


def _library(stack: list[str]) -> str:
    if OURS.search(stack[-1]):
        return "this repository"
    return stack[-1].partition(" (")[2].split("site-packages/")[-1].partition("/")[0].partition(":")[0]


async def profile(store: str, seconds: float) -> None:
    """Measure both figures at saturation, sampled."""
    plan = Plan(size=STANDARD, seconds=seconds, households=10)
    async with open_hall([store]) as hall:
        await hall.record(STANDARD)
        async with hall.trial("planbrug", store, plan) as (trial, who):
            assert isinstance(who, Planbrug)
            for figure, measure, most in (("a", trial.measure_a, seconds), ("b", trial.measure_b, 100 * seconds)):
                file = hall.folder / f"samples-{figure}.txt"
                sampling = asyncio.create_task(_sampled(who.pid, file, most))
                found = await measure(("full",))
                sampling.cancel()
                await asyncio.gather(sampling, return_exceptions=True)
                print(f"figure {figure}: {found[0]}")
                tell(read_samples(file))


async def _sampled(pid: int, file: Path, seconds: float) -> None:
    """Sample until cancelled, at most so long; in figure a the seconds before the partners answer again."""
    spy = childs.HERE / ".venv" / "bin" / "py-spy"
    command = (spy, "record", "-p", pid, "-f", "raw", "-o", file, "-r", 200, "-d", round(seconds) + 1)
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await process.wait()
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)  # then it writes what it has
            await process.wait()


def main() -> None:
    """Profile, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--seconds", type=float, default=8)
    asked = parser.parse_args()
    have_own_environment()
    asyncio.run(profile(asked.store, asked.seconds))


if __name__ == "__main__":
    main()
