"""Proofs from outside, short: gateways, broker, database and receivers fail under load, and afterwards everything is accounted for.

`make soak` runs the same phases for half an hour.
"""

from pathlib import Path

import phases
import pytest
from partners import Down
from phases import Report
from stage import ALL_RECIPIENTS, EMBEDDED, Servers, staged

pytestmark = pytest.mark.timeout(600)
SEED = 2026


def assert_accounted(report: Report) -> None:
    """Nothing is lost, doubled, out of order or unfinished, and there was something to account for."""
    assert list(report.findings) == []
    assert int(report.numbers["versions accepted"]) > 10
    assert int(report.numbers["acknowledged"]) > 10


async def test_random_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    """Killed at random moments and failpoints, everything embedded."""
    async with staged(tmp_path, EMBEDDED, seed=SEED) as stage:
        assert_accounted(await phases.random_kills(stage, 4, SEED))


async def test_a_gateway_may_die_beside_another(tmp_path: Path, servers: Servers) -> None:
    """Two gateways on one database and one broker, one of them killed at random, again and again."""
    async with staged(tmp_path, servers, seed=SEED, gateways=2) as stage:
        assert_accounted(await phases.random_kills(stage, 3, SEED))


async def test_a_broker_that_is_stopped_killed_or_wiped_loses_nothing(tmp_path: Path, servers: Servers) -> None:
    """Intake goes on while RabbitMQ is away, and the gateway comes back to it by itself: the database is the truth."""
    async with staged(tmp_path, servers, seed=SEED) as stage:
        assert_accounted(await phases.broker_outages(stage))


async def test_a_database_that_restarts_loses_nothing(tmp_path: Path, servers: Servers) -> None:
    """PostgreSQL restarts under load, with its connections ended in order and not."""
    async with staged(tmp_path, servers, seed=SEED) as stage:
        assert_accounted(await phases.database_restarts(stage))


@pytest.mark.parametrize(
    "down",
    [
        pytest.param({"kompas": "refused"}, id="connection refused"),
        pytest.param({"kompas": "503"}, id="503 to everything"),
        pytest.param({"kompas": "hangs"}, id="accepts and hangs"),
        pytest.param({"kompas": "refused", "noorderlicht": "503", "de-linde": "hangs"}, id="three at once"),
    ],
)
async def test_receivers_that_are_down_lose_nothing_in_the_end(tmp_path: Path, down: dict[str, Down]) -> None:
    """The test of Open Notificaties, short: down under load, then back, and everything has arrived or was superseded."""
    async with staged(tmp_path, EMBEDDED, seed=SEED, recipients=ALL_RECIPIENTS) as stage:
        assert_accounted(await phases.receivers_down(stage, down, seconds=4, before_seconds=1))


async def test_a_receiver_that_is_down_loses_nothing_over_rabbitmq(tmp_path: Path, servers: Servers) -> None:
    """The same on PostgreSQL and RabbitMQ."""
    async with staged(tmp_path, servers, seed=SEED, recipients=ALL_RECIPIENTS) as stage:
        assert_accounted(await phases.receivers_down(stage, {"kompas": "hangs"}, seconds=4, before_seconds=1))
