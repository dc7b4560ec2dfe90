"""The only reader of time and maker of ids."""

import secrets
import time
from datetime import UTC, datetime, timedelta

import uuid_utils


class Clock:
    """Wall clock in aware UTC. `offset` moves it in demo mode, to look at tomorrow's answers today."""

    def __init__(self, offset: timedelta = timedelta()) -> None:
        self._offset = offset

    def now(self) -> datetime:
        """Return the moment, in whole microseconds."""
        return datetime.now(UTC) + self._offset

    def ticks(self) -> float:
        """Return seconds on a clock that never jumps, for durations only."""
        return time.perf_counter()

    def new_id(self) -> str:
        """Return an opaque id; ids made later sort later, which keeps indexes short."""
        return str(uuid_utils.uuid7())

    def new_hex(self, size: int) -> str:
        """Return so many random bytes as hex, for trace ids."""
        return secrets.token_hex(size)
