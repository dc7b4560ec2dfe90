"""Outputs, loss and order, checked for every contestant in every trial; a figure of one that fails is no figure."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from documents import VERSION, expected_marks, marks_in
from scene import RECIPIENTS


class CheckError(Exception):
    """A contestant lost, doubled, altered or disordered something, or showed what it may not."""


def check_views(
    arrivals: list[dict[str, Any]], bodies: list[str], rows: list[dict[str, Any]], forms: list[bytes], last: int
) -> None:
    """Check the bytes of views: exactly the permitted parts, editions in order, the newest last."""
    plan_of = {delivery: row["number"] for row in rows for delivery in row["deliveries"]}
    newest: dict[tuple[int, str], int] = {}
    for arrival, body in zip(arrivals, bodies, strict=True):
        number, recipient = plan_of[arrival["delivery"]], arrival["recipient"]
        expected, found = expected_marks(forms[number % len(forms)], recipient), marks_in(body.encode())
        if found != expected:
            raise CheckError(
                f"{recipient} got {sorted(found - expected)} too much and {sorted(expected - found)} too little"
            )
        edition = int(VERSION.findall(body.encode())[0])
        if edition < newest.get((number, recipient), 0):
            raise CheckError(f"{recipient} got edition {edition} after a later one")
        newest[number, recipient] = edition
    wanted = {(row["number"], name): last for row in rows for name in RECIPIENTS}
    if newest != wanted:
        raise CheckError("not every recipient ended with the newest edition")


def check_recorded(arrivals: list[dict[str, Any]], recorded: Path) -> None:
    """Check that the limit pushes exactly the recorded views, each lane in order."""
    views = json.loads(recorded.read_text())["views"]
    sums = dict(zip(RECIPIENTS, (hashlib.sha256(view.encode()).hexdigest() for view in views), strict=True))
    if any(arrival["sha256"] != sums[arrival["recipient"]] for arrival in arrivals):
        raise CheckError("these are not the recorded bytes")


def check_loss(arrivals: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    """Check that every delivery that was promised arrived once, whole, and with a number of its own per recipient."""
    promised = Counter(delivery for row in rows for delivery in row["deliveries"])
    arrived = Counter(arrival["delivery"] for arrival in arrivals)
    if promised != arrived:
        lost, extra = promised - arrived, arrived - promised
        raise CheckError(f"{lost.total()} deliveries lost, {extra.total()} doubled or unasked, of {promised.total()}")
    if any(len(row["deliveries"]) != len(RECIPIENTS) for row in rows):
        raise CheckError("a plan has not a delivery for every recipient")
    if not all(arrival["whole"] for arrival in arrivals):
        raise CheckError("a view is not what its hash says")
    numbered = {(arrival["recipient"], arrival["sequence"]) for arrival in arrivals}
    if len(numbered) != len(arrivals):
        raise CheckError("a sequence number was used twice")
    for recipient in RECIPIENTS:
        if len({arrival["marks"] for arrival in arrivals if arrival["recipient"] == recipient}) != 1:
            raise CheckError(f"the views for {recipient} do not all show as many parts")


def check_sequences(arrivals: list[dict[str, Any]]) -> None:
    """Check that each recipient's numbers have no gap: only the gateway promises that."""
    for recipient in RECIPIENTS:
        numbers = sorted(arrival["sequence"] for arrival in arrivals if arrival["recipient"] == recipient)
        if numbers and numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            raise CheckError(f"a sequence number of {recipient} is missing")
