"""The transaction of the intake: residents, versions, deliveries, wake-ups and keys of the plans that come in at the same moment.

Everything of a group is kept or nothing; a group in which somebody was overtaken is kept again plan by plan (`gateway.batch`).
"""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from gateway.batch import Batch
from gateway.callers import Caller
from gateway.clock import Clock
from gateway.failpoints import Reach
from gateway.preparation import Prepared
from gateway.routing import planned
from gateway.store import choices as choice_rows
from gateway.store import deliveries as delivery_rows
from gateway.store import lanes as lane_rows
from gateway.store import plans as rows
from gateway.store import visible
from gateway.store.deliveries import DeliveryRow
from gateway.store.engine import Store, Transaction
from gateway.store.locks import lock, lock_lanes
from gateway.store.plans import KeyUse, NewVersion

TOGETHER = 32
"""Plans that are kept in one transaction, at most."""


class OvertakenError(Exception):
    """Somebody else wrote first; nothing of this transaction is kept."""


class Keep(Struct, frozen=True, kw_only=True):
    """One plan to keep: what was prepared, for whom, and under which Idempotency-Key."""

    prepared: Prepared
    caller: Caller
    key: str | None
    use: KeyUse


class Keeping:
    """Keeps plans."""

    def __init__(self, *, store: Store, clock: Clock, reach: Reach) -> None:
        self._store = store
        self._clock = clock
        self._reach = reach
        self._batch = Batch(self._keep_together, most=TOGETHER)

    async def keep(self, keep: Keep) -> tuple[str, ...]:
        """Keep one plan, together with others that come in now; return the ids of its deliveries. Raises OvertakenError."""
        return await self._batch.ask(keep)

    async def _keep_together(self, keeps: Sequence[Keep]) -> Sequence[tuple[str, ...]]:
        return await self._store.write(partial(self.kept, keeps=keeps))

    def kept(self, tx: Transaction, keeps: Sequence[Keep]) -> list[tuple[str, ...]]:
        """In one transaction: check that what was prepared still holds, and write it. Raises OvertakenError."""
        now = self._clock.now()
        _hold_residents(tx, keeps)
        new = [keep for keep in keeps if keep.prepared.row is not None]
        if not rows.add_versions(tx, [_version(keep) for keep in new]):
            raise OvertakenError
        concerned = [(keep.prepared.plan.id, keep.prepared.concerned) for keep in new]
        visible.mark_plans(tx, concerned, self._clock.new_id())
        choice_rows.add_wakeups(tx, [wakeup for keep in new for wakeup in keep.prepared.wakeups])
        _make_room(tx, new, now)
        made = [self._planned(keep, now) if keep.prepared.row is not None else [] for keep in keeps]
        delivery_rows.add_deliveries(tx, [row for deliveries in made for row in deliveries])
        kept = [tuple(row.id for row in deliveries) for deliveries in made]
        for keep, deliveries in zip(keeps, kept, strict=True):
            _remember(tx, keep, deliveries, now)
        self._reach("intake-written")
        return kept

    def _planned(self, keep: Keep, now: datetime) -> list[DeliveryRow]:
        """Return one delivery per endpoint."""
        return [planned(keep.prepared.plan, lane, self._clock, now) for lane in keep.prepared.lanes]


def _make_room(tx: Transaction, keeps: Sequence[Keep], now: datetime) -> None:
    """Supersede what is pending and has not begun; for an endpoint that is no longer concerned everything pending has had its day."""
    plans = [keep.prepared.plan.id for keep in keeps if keep.prepared.plan.version > 1]
    pending = [(plan, *lane) for plan in plans for lane in lane_rows.pending_lanes(tx, plan)]
    lock_lanes(tx, pending)
    wanted = {(keep.prepared.plan.id, lane.entry.id, lane.name) for keep in keeps for lane in keep.prepared.lanes}
    for lane in pending:
        if lane in wanted:
            lane_rows.make_room(tx, *lane, now)
        else:
            lane_rows.end_pending(tx, *lane, state="superseded", reason="newer-version", now=now)


def _hold_residents(tx: Transaction, keeps: Sequence[Keep]) -> None:
    """Keep who is new, and hold the choices of all as they were looked at. Raises OvertakenError."""
    looked_at = {who: version for keep in keeps for who, version in keep.prepared.choice_versions.items()}
    lock(tx, "choices", *looked_at, shared=True, also=(visible.READERS,))
    for keep in keeps:
        for fingerprint, resident in keep.prepared.resident_fingerprints.items():
            if rows.add_resident(tx, fingerprint, resident) != resident:
                raise OvertakenError
    versions = choice_rows.choice_versions(tx, looked_at)
    if any(versions[who] != version for keep in keeps for who, version in keep.prepared.choice_versions.items()):
        raise OvertakenError


def _version(keep: Keep) -> NewVersion:
    prepared = keep.prepared
    assert prepared.row is not None  # noqa: S101 - for the type checker
    return NewVersion(
        row=prepared.row,
        source=prepared.plan.source or keep.caller.organisation,
        number_fingerprint=prepared.number_fingerprint,
        residents=prepared.plan.residents,
    )


def _remember(tx: Transaction, keep: Keep, deliveries: tuple[str, ...], now: datetime) -> None:
    """Remember what a key was used for. Raises OvertakenError when it was used meanwhile."""
    if keep.key is None:
        return
    used = replace(keep.use, deliveries=deliveries)
    if not rows.add_key_use(tx, keep.caller.client.client_id, keep.key, used, now):
        raise OvertakenError
