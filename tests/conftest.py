"""Fixtures that more than one test file asks for: the real broker and the real database."""

import os
from collections import Counter
from collections.abc import Iterator
from typing import NoReturn

import pytest
import services
from stage import Servers, running_servers

NOT_RUN = "not run: "


def not_run(missing: services.MissingServiceError) -> NoReturn:
    """Fail in CI, where every service must be there; elsewhere skip, so that the summary counts it."""
    reason = f"{missing} missing"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}: {services.INSTALL}", pytrace=False)
    pytest.skip(f"{NOT_RUN}{reason}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were not run and for want of what, also when skips are not listed."""
    reasons = Counter(
        report.longrepr[2].partition(NOT_RUN)[2]
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple) and NOT_RUN in report.longrepr[2]
    )
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"{count} not run: {reason} ({services.INSTALL})", red=True, bold=True)


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[services.RabbitMq]:
    """One RabbitMQ node for the whole session; isolate tests by their own names of queues and exchanges."""
    try:
        with services.running_rabbitmq() as server:
            yield server
    except services.MissingServiceError as missing:
        not_run(missing)


@pytest.fixture(scope="session")
def rabbitmq_url(rabbitmq_server: services.RabbitMq) -> str:
    """The AMQP URL of the session's RabbitMQ node."""
    return rabbitmq_server.url


@pytest.fixture
def own_rabbitmq() -> Iterator[services.RabbitMq]:
    """A RabbitMQ node for this test alone, which it may shut down and start again."""
    try:
        with services.running_rabbitmq() as server:
            yield server
    except services.MissingServiceError as missing:
        not_run(missing)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[services.PostgreSql]:
    """One PostgreSQL server for the whole session."""
    try:
        with services.running_postgresql() as server:
            yield server
    except services.MissingServiceError as missing:
        not_run(missing)


@pytest.fixture(scope="session")
def postgres_template(postgres_server: services.PostgreSql) -> str:
    """The name of the database that each test's database is a copy of; prepare it here, once, disconnected after."""
    return postgres_server.create_database()


@pytest.fixture
def postgres_url(postgres_server: services.PostgreSql, postgres_template: str) -> Iterator[str]:
    """The URL of a fresh database for this test, a copy of the template."""
    name = postgres_server.create_database(template=postgres_template)
    yield postgres_server.url_of(name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """A PostgreSQL that keeps what it commits and a RabbitMQ, for tests that stop and kill them; both run again afterwards."""
    try:
        with running_servers() as running:
            yield running
    except services.MissingServiceError as missing:
        not_run(missing)
