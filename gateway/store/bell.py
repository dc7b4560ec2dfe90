"""Wake the other gateways of one database: LISTEN/NOTIFY in PostgreSQL. A ring that is missed costs a poll, and nothing else."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from gateway.store.engine import Store, StoreError
from gateway.store.postgres import PostgresStore, answering, let_go

CHANNEL = "planbrug_due"
REST_SECONDS = 0.05
"""Rings within this time are one ring."""

RECONNECT_SECONDS = 1.0


class Bell:
    """Rings in every other gateway when something became due; a database for one process has nobody to wake.

    `name` is this process's own: it does not hear itself.
    """

    def __init__(self, store: Store, name: str, on_ring: Callable[[], None]) -> None:
        self._store = store if isinstance(store, PostgresStore) else None
        self._on_ring = on_ring
        self._name = name
        self._pulled = asyncio.Event()

    def pull(self) -> None:
        """Ring soon; returns at once."""
        self._pulled.set()

    async def run(self) -> None:
        """Ring and hear rings until cancelled; a lost connection is made again, and counts as a ring, for one may have been missed."""
        while self._store is not None:
            with suppress(StoreError):
                await self._listen(self._store)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self, store: PostgresStore) -> None:
        connection = await store.dedicated()
        try:
            with answering():
                await connection.add_listener(CHANNEL, self._heard)
                connection.add_termination_listener(lambda _: self._pulled.set())
                self._on_ring()
                while True:
                    await self._pulled.wait()
                    self._pulled.clear()
                    await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, self._name)
                    await asyncio.sleep(REST_SECONDS)
        finally:
            await let_go(connection)

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        if payload != self._name:
            self._on_ring()
