"""The accounting of the proofs finds what is wrong: a claim of zero findings is worth as much as these."""

from typing import Any

import pytest
from accounting import Accepted, Arrived, Books, Finding, Listed, counts, findings, latencies, percentile
from msgspec.structs import replace
from phases import slope

LANE = ("plan", "kompas")


def accepted(version: int, *deliveries: str) -> Accepted:
    return Accepted(plan="plan", version=version, deliveries=deliveries, at=float(version))


def listed(name: str, sequence: int | None, state: str = "acknowledged", **more: Any) -> Listed:
    attempts = more.pop("attempts", 1 if sequence else 0)
    return Listed(id=name, plan="plan", recipient="kompas", state=state, sequence=sequence, attempts=attempts, **more)


def arrived(name: str, sequence: int, edition: int, **more: Any) -> Arrived:
    return Arrived(
        recipient="kompas", delivery=name, sequence=sequence, marks={"g1": edition}, at=sequence + 0.5, **more
    )


RIGHT = Books(
    accepted=(accepted(1, "d1"), accepted(2, "d2"), accepted(3, "d3")),
    listed=(listed("d1", 1), listed("d2", None, "superseded"), listed("d3", 2)),
    arrived=(arrived("d1", 1, 1), arrived("d3", 2, 3)),
    wanted={LANE: {"g1": 3}},
)


def kinds(found: list[Finding]) -> set[str]:
    return {finding.kind for finding in found}


def test_books_that_add_up_give_no_finding() -> None:
    """The control; a delivery that came twice under one id is a receiver's to deduplicate, and no finding."""
    assert findings(RIGHT) == []
    assert findings(replace(RIGHT, arrived=(*RIGHT.arrived, arrived("d3", 2, 3)))) == []


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        pytest.param(kind, changes, id=name)
        for name, kind, changes in (
            ("a promised delivery is not there", "lost", {"listed": RIGHT.listed[:1] + RIGHT.listed[2:]}),
            ("what counts as acknowledged never came", "lost", {"arrived": RIGHT.arrived[1:]}),
            (
                "what counts as acknowledged was never receipted",
                "lost",
                {"arrived": (arrived("d1", 1, 1, receipted=False), arrived("d3", 2, 3))},
            ),
            ("a recipient has nothing", "lost", {"wanted": RIGHT.wanted | {("plan", "de-linde"): {"g1": 3}}}),
            ("two documents are one version", "lost", {"accepted": (*RIGHT.accepted, accepted(3))}),
            ("a document was kept twice", "doubled", {"accepted": (*RIGHT.accepted, accepted(5))}),
            ("a plan nobody was told of is sent", "doubled", {"accepted": ()}),
            ("something arrives that is not listed", "doubled", {"arrived": (*RIGHT.arrived, arrived("d9", 3, 3))}),
            (
                "two deliveries have one number",
                "doubled",
                {"listed": (listed("d1", 1), listed("d2", None, "superseded"), listed("d3", 1))},
            ),
            (
                "a view is counted twice",
                "doubled",
                {
                    "accepted": (*RIGHT.accepted, accepted(4, "d4")),
                    "listed": (*RIGHT.listed, listed("d4", 3)),
                    "arrived": (*RIGHT.arrived, arrived("d4", 3, 3)),
                },
            ),
            (
                "a number is missing",
                "gap",
                {
                    "listed": (*RIGHT.listed[:2], listed("d3", 3)),
                    "arrived": (arrived("d1", 1, 1), arrived("d3", 3, 3)),
                },
            ),
            ("a delivery changes its number", "gap", {"arrived": (*RIGHT.arrived, arrived("d3", 3, 3))}),
            ("an older delivery comes after a newer one", "order", {"arrived": RIGHT.arrived[::-1]}),
            (
                "an older edition comes in a newer delivery",
                "order",
                {"arrived": (arrived("d1", 1, 4), arrived("d3", 2, 3))},
            ),
            ("the last that came is not the newest", "stale", {"wanted": {LANE: {"g1": 4}}}),
            ("a delivery waits for ever", "unfinished", {"listed": (*RIGHT.listed[:2], listed("d3", 2, "waiting"))}),
            ("a delivery was given up", "unfinished", {"listed": (*RIGHT.listed[:2], listed("d3", 2, "parked"))}),
        )
    ],
)
def test_what_is_wrong_is_found(kind: str, changes: dict[str, Any]) -> None:
    """Each broken book has a finding of its kind."""
    assert kind in kinds(findings(replace(RIGHT, **changes)))


def test_a_gap_may_be_open_until_everybody_was_sent_something_new() -> None:
    """A number of which nothing left is given back, and the next delivery takes it."""
    books = replace(
        RIGHT,
        listed=(*RIGHT.listed[:2], listed("d3", 3)),
        arrived=(arrived("d1", 1, 1), arrived("d3", 3, 3)),
        closed=False,
    )
    assert findings(books) == []


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"listed": (*RIGHT.listed, listed("d4", 3, attempts=2))}, id="an earlier attempt of it"),
        pytest.param(
            {"listed": (*RIGHT.listed, listed("d3x", 4, "superseded"), listed("d4", 3))}, id="another delivery"
        ),
        pytest.param({"listed": (*RIGHT.listed, listed("d4", 3)), "hidden": {LANE: ((2.6, 2.7),)}}, id="an end of it"),
    ],
)
def test_a_view_comes_again_when_something_else_may_have_left_in_between(changes: dict[str, Any]) -> None:
    """What the receiver holds by then is not known, or was told to end; then the same view again is right."""
    books = replace(
        RIGHT,
        accepted=(*RIGHT.accepted, accepted(4, "d4")),
        arrived=(*RIGHT.arrived, arrived("d4", 3, 3)),
        **changes,
    )
    assert findings(books) == []


def test_a_lane_that_may_see_nothing_needs_nothing() -> None:
    """No arrival is missed where nothing is permitted."""
    assert findings(replace(RIGHT, wanted=RIGHT.wanted | {("plan", "de-linde"): {}})) == []


def test_the_report_counts_and_measures() -> None:
    """Counts by state; latency from offering to the first receipted arrival, of these recipients and this time."""
    assert counts(RIGHT)["acknowledged"] == 2
    assert counts(RIGHT)["superseded"] == 1
    assert latencies(RIGHT, {"kompas"}, 0, 10) == [-0.5, 0.5]
    assert latencies(RIGHT, {"kompas"}, 2, 10) == [-0.5]
    assert latencies(RIGHT, {"de-linde"}, 0, 10) == []
    assert percentile([1, 2, 3, 4], 0.5) == 3
    assert percentile([1, 2, 3, 4], 0.99) == 4
    assert percentile([], 0.99) == 0
    assert slope([(0, 1), (1, 3), (2, 5)]) == pytest.approx(2)
