"""The load generator, a process of its own: reads one job as JSON from standard input, writes what happened to the job's file.

Times are seconds of CLOCK_MONOTONIC, which all processes of a machine share.
"""

import asyncio
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import uvloop
from documents import filled
from wire import Caller


async def run(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Post `count` documents, or documents for so many `seconds`.

    At a `rate` whatever the answers do, or else on each connection after the former's answer and a `pause`. Each plan comes in so many
    `editions`, one after the other. One row per document, in the order of the plans.
    """
    forms = [Path(path).read_bytes() for path in job["forms"]]  # noqa: ASYNC240 - before the load begins
    head = f"POST {job['path']} HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode()
    head += b"".join(f"{name}: {value}\r\n".encode() for name, value in job["headers"].items())
    numbers = itertools.count() if job["seconds"] else iter(range(job["count"]))
    rows: list[dict[str, Any]] = []
    began = time.monotonic()

    async def call() -> None:
        caller = Caller(job["port"])
        for number in numbers:
            due = began + number / job["rate"] if job["rate"] else time.monotonic()
            if job["seconds"] and due - began > job["seconds"]:
                break
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            plan, edition = divmod(number, job["editions"])
            body = filled(forms[plan % len(forms)], f"{job['prefix']}-{plan}", edition + 1)
            status, content = await caller.post(head, body)
            row = {"number": plan, "due": due, "answered": time.monotonic(), "status": status}
            rows.append(row | _said(status, content))
            await asyncio.sleep(job["pause"])
        caller.close()

    await asyncio.gather(*(call() for _ in range(job["connections"])))
    return sorted(rows, key=lambda row: row["number"])


def _said(status: int, content: bytes) -> dict[str, Any]:
    if status >= 300:
        return {"error": content.decode(errors="replace")[:500]}
    told = orjson.loads(content)
    return {"deliveries": told["deliveries"], "plan": told["planId"]}


def main() -> None:
    """Do the one job."""
    job = json.load(sys.stdin)
    rows = uvloop.run(run(job))
    Path(job["result"]).write_bytes(orjson.dumps(rows))


if __name__ == "__main__":
    main()
