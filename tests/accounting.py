"""Account for everything: what was accepted, what the gateway lists, what arrived, and what must have arrived in the end.

Pure: books in, findings out. An empty list of findings says that nothing was lost, doubled, out of order or left unfinished.
A lane is one recipient of one plan; `marks` are what an arrival's bytes hold: goal → edition.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Literal

from msgspec import Struct

Kind = Literal["lost", "doubled", "gap", "order", "stale", "unfinished"]
Marks = Mapping[str, int]
Lane = tuple[str, str]

ENDED = {"acknowledged", "superseded", "unchanged", "withheld"}
"""States in which nothing is owed any more; `parked` is not one of them: a person must look."""


class Accepted(Struct, frozen=True, kw_only=True):
    """A plan that was answered with a 2xx; `at` is when it was first offered."""

    plan: str
    version: int
    deliveries: tuple[str, ...]
    at: float


class Listed(Struct, frozen=True, kw_only=True):
    """A delivery as the gateway lists it; ids made later sort later."""

    id: str
    plan: str
    recipient: str
    state: str
    attempts: int = 0
    sequence: int | None = None


class Arrived(Struct, frozen=True, kw_only=True):
    """One arrival, in the order in which they came; `receipted` when the receiver counted it and answered with a receipt."""

    recipient: str
    delivery: str
    sequence: int
    marks: Marks
    at: float
    receipted: bool = True


class Books(Struct, frozen=True, kw_only=True):
    """Everything that is known about a run. `wanted`: what each lane's newest view must hold; empty when it may see nothing.

    `hidden`: when a lane was told that it may see nothing, from asking to answer; what comes back after that counts as new.
    `closed`: everybody was sent something new since the last failure, so that every number that came back was taken again.
    """

    accepted: tuple[Accepted, ...]
    listed: tuple[Listed, ...]
    arrived: tuple[Arrived, ...]
    wanted: Mapping[Lane, Marks]
    hidden: Mapping[Lane, tuple[tuple[float, float], ...]] = {}
    closed: bool = True


class Finding(Struct, frozen=True):
    """Something that does not add up."""

    kind: Kind
    what: str


def findings(books: Books) -> list[Finding]:
    """Return everything that does not add up."""
    return [finding for check in _CHECKS for finding in check(books)]


def counts(books: Books) -> dict[str, int]:
    """Return how much went through, for a report."""
    states = Counter(row.state for row in books.listed)
    return {
        "plans": len({row.plan for row in books.accepted}),
        "versions accepted": len(books.accepted),
        "deliveries": len(books.listed),
        **{state: states[state] for state in sorted(states)},
        "arrivals": len(books.arrived),
        "arrivals of a delivery that had come before": len(books.arrived)
        - len({(row.recipient, row.delivery) for row in books.arrived}),
    }


def latencies(books: Books, recipients: set[str], since: float, until: float) -> list[float]:
    """Return the seconds from intake to first arrival, of what these recipients were sent of plans offered in this time."""
    offered = {name: row.at for row in books.accepted if since <= row.at < until for name in row.deliveries}
    first: dict[str, float] = {}
    for row in books.arrived:
        if row.recipient in recipients and row.receipted:
            first.setdefault(row.delivery, row.at)
    return sorted(at - offered[name] for name, at in first.items() if name in offered)


def percentile(sorted_values: list[float], share: float) -> float:
    """Return the value that this share does not exceed; 0 when there is none."""
    return sorted_values[min(int(len(sorted_values) * share), len(sorted_values) - 1)] if sorted_values else 0.0


def _versions(books: Books) -> Iterator[Finding]:
    """Every accepted version is the next one: a plan that was sent once is kept once."""
    versions: defaultdict[str, list[int]] = defaultdict(list)
    for row in books.accepted:
        versions[row.plan].append(row.version)
    for plan, found in versions.items():
        for number in sorted(set(range(1, max(found) + 1)) - set(found)):
            yield Finding("doubled", f"plan {plan} has a version {number} that nobody sent")
        if len(set(found)) < len(found):
            yield Finding("lost", f"plan {plan} answered one version to two documents")


def _promised(books: Books) -> Iterator[Finding]:
    """What intake promised is listed, and nothing else is."""
    listed = {row.id for row in books.listed}
    plans = {row.plan for row in books.accepted}
    for row in books.accepted:
        for name in row.deliveries:
            if name not in listed:
                yield Finding("lost", f"delivery {name} was promised and is not listed")
    for row in books.listed:
        if row.plan not in plans:
            yield Finding("doubled", f"delivery {row.id} is of a plan that nobody was told of")
    for arrival in books.arrived:
        if arrival.delivery not in listed:
            yield Finding("doubled", f"delivery {arrival.delivery} arrived and is not listed")


def _ended(books: Books) -> Iterator[Finding]:
    """Everything came to an end, and what counts as acknowledged was received."""
    received = {(row.recipient, row.delivery) for row in books.arrived if row.receipted}
    for row in books.listed:
        if row.state not in ENDED:
            yield Finding("unfinished", f"delivery {row.id} to {row.recipient} is {row.state}")
        if row.state == "acknowledged" and (row.recipient, row.id) not in received:
            yield Finding("lost", f"delivery {row.id} counts as acknowledged and never came to {row.recipient}")


def _numbers(books: Books) -> Iterator[Finding]:
    """Per recipient the numbers are 1..n, each of one delivery, and a delivery keeps its own."""
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    kept = {row.id: row.sequence for row in books.listed}
    for row in books.listed:
        if row.sequence is not None:
            numbers[row.recipient].append(row.sequence)
    for recipient, found in numbers.items():
        for number, times in Counter(found).items():
            if times > 1:
                yield Finding("doubled", f"{recipient} knows number {number} of {times} deliveries")
        missing = sorted(set(range(1, max(found) + 1)) - set(found))
        if missing and books.closed:
            yield Finding("gap", f"{recipient} misses the numbers {missing[:5]} of {max(found)}")
    for arrival in books.arrived:
        if kept.get(arrival.delivery) not in {arrival.sequence, None}:
            yield Finding("gap", f"delivery {arrival.delivery} came as number {arrival.sequence} and has another")


def _in_order(books: Books) -> Iterator[Finding]:
    """In a lane nothing older comes after something newer, by its id and by what it holds."""
    for (plan, recipient), rows in _lanes(books).items():
        newest: dict[str, int] = {}
        latest = ""
        for row in rows:
            older = any(newest.get(goal, 0) > edition for goal, edition in row.marks.items())
            if row.delivery < latest or older:
                yield Finding("order", f"delivery {row.delivery} of {plan} came to {recipient} after a newer one")
            latest = max(latest, row.delivery)
            newest |= {goal: max(newest.get(goal, 0), edition) for goal, edition in row.marks.items()}


def _counted_once(books: Books) -> Iterator[Finding]:
    """A receiver that knows deliveries by their id counts no view twice.

    Unless something else may have left in between: another delivery, or an attempt of these two that never arrived.
    """
    listed: defaultdict[Lane, list[Listed]] = defaultdict(list)
    for row in books.listed:
        listed[row.plan, row.recipient].append(row)
    for lane, rows in _lanes(books).items():
        firsts = list({row.delivery: row for row in reversed(rows) if row.receipted}.values())[::-1]
        for before, after in pairwise(firsts):
            between = [row for row in listed[lane] if before.delivery < row.id < after.delivery]
            themselves = [row for row in listed[lane] if row.id in {before.delivery, after.delivery}]
            excused = any(row.attempts or row.state == "withheld" for row in between)
            excused |= any(row.attempts > 1 for row in themselves)
            excused |= any(since <= after.at and until >= before.at for since, until in books.hidden.get(lane, ()))
            if before.marks == after.marks and not excused:
                yield Finding("doubled", f"deliveries {before.delivery} and {after.delivery} are the same view")


def _newest(books: Books) -> Iterator[Finding]:
    """The last that a recipient received is what it may see now."""
    lanes = _lanes(books)
    for lane, wanted in books.wanted.items():
        if not wanted:
            continue
        received = [row for row in lanes.get(lane, ()) if row.receipted]
        if not received:
            yield Finding("lost", f"nothing of plan {lane[0]} came to {lane[1]}")
        elif dict(received[-1].marks) != dict(wanted):
            yield Finding("stale", f"the last of plan {lane[0]} that came to {lane[1]} is not the newest")


def _lanes(books: Books) -> dict[Lane, list[Arrived]]:
    plans = {row.id: row.plan for row in books.listed}
    lanes: defaultdict[Lane, list[Arrived]] = defaultdict(list)
    for row in books.arrived:
        if row.delivery in plans:
            lanes[plans[row.delivery], row.recipient].append(row)
    return lanes


_CHECKS: tuple[Callable[[Books], Iterator[Finding]], ...] = (
    _versions,
    _promised,
    _ended,
    _numbers,
    _in_order,
    _counted_once,
    _newest,
)
