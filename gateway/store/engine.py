"""Run work in a transaction. Work is a plain function of a transaction, so that the same code runs on both databases.

`gateway/store/sqlite.py` has one writer with group commit; `gateway/store/postgres.py` runs each piece in a transaction of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import ClauseElement

from gateway.store.statements import Rows

Values = Mapping[str, Any]
Result = TypeVar("Result")


class StoreError(Exception):
    """The database did not answer, or refused; nothing of the work is kept."""


class RuleError(StoreError):
    """A rule of the tables refused what was written."""


class Transaction(Protocol):
    """What work runs in; the rest of the gateway knows it by this name only."""

    database: str
    """"sqlite" or "postgresql"."""

    def execute(self, statement: ClauseElement, values: Values | Sequence[Values] = ...) -> Rows:
        """Run one statement; with a list of values, once for each of them. Raises StoreError."""
        ...


Work = Callable[[Transaction], Result]


class Store(Protocol):
    """Reads and writes. `alone`: no other process writes to this database."""

    alone: bool

    async def read(self, work: Work[Result]) -> Result:
        """Run `work`, which writes nothing; each of its statements sees what is committed. Raises StoreError."""
        ...

    async def write(self, work: Work[Result]) -> Result:
        """Run `work` and commit; on an exception nothing of it is kept. `work` may run twice, so it has no other effect."""
        ...

    async def close(self) -> None:
        """Finish what runs and let go of the database."""
        ...
