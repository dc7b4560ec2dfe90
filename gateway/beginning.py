"""Begin to send: in one transaction check what was looked at, count the view, take the number, write the receipt, and render.

What is begun together is checked and written together. Only this file lets a delivery begin.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

from msgspec import Struct

from adapters.interface import Parcel
from gateway.batch import Batch
from gateway.clock import Clock
from gateway.directory import Lane
from gateway.failpoints import Reach
from gateway.outcomes import Outcome
from gateway.render import Renderer
from gateway.seal import sha256_hex
from gateway.sight import Look
from gateway.store import choices as choice_rows
from gateway.store import deliveries as rows
from gateway.store import lanes, receipts, sequences, views
from gateway.store.deliveries import PENDING, Beginning, DeliveryRow
from gateway.store.engine import Store, Transaction
from gateway.store.lanes import Standing
from gateway.store.locks import lane_key, lock
from gateway.store.receipts import ReceiptRow
from gateway.store.views import ViewRow, ViewState

BUSY_SECONDS = 1
TOGETHER = 32
"""Deliveries that begin in one transaction, at most."""


class Attempt(Struct, frozen=True, kw_only=True):
    """What an attempt looked at, and what must still hold when it begins to send. `within`: the parts of earlier attempts, if any."""

    delivery: str
    lane: Lane
    look: Look
    within: frozenset[str] | None
    directory_version: int
    receipt: str
    ticks: float

    @property
    def lane_key(self) -> str:
        """The name of the lane between processes."""
        return lane_key(self.look.whole.id, self.lane.entry.id, self.lane.name)

    @property
    def view_key(self) -> views.Key:
        """Whose view of which plan is counted."""
        return self.look.whole.id, self.look.reader.key


class Ended(Struct, frozen=True, kw_only=True):
    """Deliveries that ended, or wait, without that anything was sent, each with its outcome."""

    outcomes: tuple[tuple[DeliveryRow, Outcome], ...]


class Ready(Struct, frozen=True, kw_only=True):
    """A delivery that may begin: its view, and the version that its reader knows it by."""

    attempt: Attempt
    row: DeliveryRow
    state: ViewState


Begun = Parcel | Ended | Literal["look-again"]
"""A parcel to send; or there is none; or something changed since the look."""

Known = tuple[Mapping[str, Standing], Mapping[str, int], Mapping[views.Key, ViewRow]]
"""Standings by delivery, versions of choices by resident, and what readers know."""


class Beginner:
    """Lets deliveries begin."""

    def __init__(
        self, *, store: Store, renderer: Renderer, clock: Clock, lease: timedelta, most_attempts: int, reach: Reach
    ) -> None:
        self._store = store
        self._renderer = renderer
        self._clock = clock
        self._lease = lease
        self._most_attempts = most_attempts
        self._reach = reach
        self._batch = Batch(self._begin_together, most=TOGETHER)

    async def begin(self, attempt: Attempt) -> Begun:
        """Begin one delivery, together with others that are asked for at this moment."""
        return await self._batch.ask(attempt)

    async def _begin_together(self, attempts: Sequence[Attempt]) -> Sequence[Begun]:
        return await self._store.write(partial(self.begun, attempts=attempts))

    def begun(self, tx: Transaction, attempts: Sequence[Attempt]) -> list[Begun]:
        """In one transaction: judge each attempt by how things stand now, and write down those that begin."""
        now = self._clock.now()
        lock(tx, "choices", *{who for attempt in attempts for who in attempt.look.choice_versions}, shared=True)
        lock(tx, "lane", *{attempt.lane_key for attempt in attempts})
        known = _known(tx, attempts)
        judged = [self._judged(tx, attempt, known, now) for attempt in _each_view_once(attempts)]
        ready = [found for found in judged if isinstance(found, Ready)]
        freed = any(isinstance(found, Ended) and found.outcomes for found in judged)
        parcels = self._written(tx, ready, known[0], now, freed=freed)
        self._reach("delivery-written")
        return [parcels[found.row.id] if isinstance(found, Ready) else found for found in judged]

    def _judged(
        self, tx: Transaction, attempt: Attempt | None, known: Known, now: datetime
    ) -> Ready | Ended | Literal["look-again"]:
        if attempt is None:
            return "look-again"
        standings, versions, readers = known
        standing, look = standings.get(attempt.delivery), attempt.look
        if standing is None or standing.row.state not in PENDING:
            return Ended(outcomes=())
        row, lane = standing.row, standing.lane
        if lane.newest != row.id and (row.sequence is None or lane.newest_pending == row.id):
            return self._ended(tx, [row], "superseded", "newer-version", now)
        if lane.in_flight is not None or lane.newest != row.id:
            rows.wait(tx, row, reason="lane-busy", until=now + timedelta(seconds=BUSY_SECONDS), now=now)
            return Ended(outcomes=())
        unchanged = {who: versions.get(who, 0) for who in look.choice_versions} == look.choice_versions
        if not unchanged or standing.directory_version != attempt.directory_version:
            return "look-again"
        if (row.plan_version, row.parts) != (look.whole.version, attempt.within):
            return "look-again"
        if look.plan is None:
            views.end(tx, *attempt.view_key)
            return self._ended(tx, [row, *_others(tx, standing)], "withheld", look.reason, now)
        state = views.state_of(readers.get(attempt.view_key), look.fingerprint, now)
        needed = standing.lane.unsettled == 1 or lanes.yield_to(tx, row, state.version, now)
        if not needed or lane.delivered_view == state.version:
            return self._ended(tx, [row], "unchanged", "same-view", now)
        if row.attempts >= self._most_attempts:
            unused = "no-receipt" if attempt.lane.is_pulled else "attempts-used"
            return self._ended(tx, [row], "parked", unused, now)
        if not self._renderer.knows(attempt.lane.endpoint.format):
            return self._ended(tx, [row], "parked", "format-unknown", now)
        return Ready(attempt=attempt, row=row, state=state)

    def _ended(self, tx: Transaction, ended: Iterable[DeliveryRow], state: str, reason: str, now: datetime) -> Ended:
        outcome = Outcome(state, reason)
        outcomes = []
        for row in ended:
            rows.finish(tx, row, state=state, reason=reason, now=now)
            outcomes.append((row, outcome))
        return Ended(outcomes=tuple(outcomes))

    def _written(
        self, tx: Transaction, ready: Sequence[Ready], standings: Mapping[str, Standing], now: datetime, *, freed: bool
    ) -> dict[str, Parcel]:
        """Write that these begin, and return what each sends, by delivery. A notification discloses nothing: the pull has the receipt."""
        if not ready:
            return {}
        numbers = _numbers(tx, ready, standings, freed=freed)
        views.disclose(tx, [found.attempt.look.disclosed_as(found.state) for found in ready])
        beginnings = [
            Beginning(
                row=found.row,
                parts=found.attempt.look.permitted,
                view_version=found.state.version,
                receipt=found.attempt.receipt,
                number=numbers[found.row.id],
            )
            for found in ready
        ]
        rows.begin(tx, beginnings, lease_until=now + self._lease, now=now)
        parcels = {found.row.id: self._parcel(found, numbers[found.row.id]) for found in ready}
        sent = [found for found in ready if not found.attempt.lane.is_pulled]
        receipts.add_receipts(tx, [_receipt(found, parcels[found.row.id].sha256, now) for found in sent])
        return parcels

    def _parcel(self, found: Ready, number: int) -> Parcel:
        endpoint = found.attempt.lane.endpoint
        body, content_type = self._renderer.render(found.attempt.look.stamped(found.state), endpoint.format)
        return Parcel(
            delivery_id=found.row.id,
            url=found.attempt.lane.address,
            body=body,
            content_type=content_type,
            sequence=number,
            sha256=sha256_hex(body),
            token=endpoint.token,
        )


def _known(tx: Transaction, attempts: Sequence[Attempt]) -> Known:
    return (
        lanes.standings(tx, [attempt.delivery for attempt in attempts]),
        choice_rows.choice_versions(tx, {who for attempt in attempts for who in attempt.look.choice_versions}),
        views.rows_of(tx, [attempt.view_key for attempt in attempts]),
    )


def _each_view_once(attempts: Sequence[Attempt]) -> list[Attempt | None]:
    """Leave out, as None, an attempt whose view is already shown differently by another of the group: it looks again after that one."""
    shown: dict[views.Key, str] = {}
    return [
        attempt if shown.setdefault(attempt.view_key, attempt.look.fingerprint) == attempt.look.fingerprint else None
        for attempt in attempts
    ]


def _others(tx: Transaction, standing: Standing) -> list[DeliveryRow]:
    """Return the older deliveries of a lane: what is no longer permitted is not permitted in them either."""
    if standing.lane.unsettled == 1:
        return []
    row = standing.row
    return [found for found in lanes.pending_in_lane(tx, row.plan, row.recipient, row.lane) if found.id != row.id]


def _numbers(
    tx: Transaction, ready: Sequence[Ready], standings: Mapping[str, Standing], *, freed: bool
) -> dict[str, int]:
    """Return the sequence number of each: the one that it has, or one that it takes now.

    What was given back in this transaction, by older deliveries of the lane or by others of the group (`freed`), the standings do not
    know.
    """
    numbers = {found.row.id: found.row.sequence for found in ready if found.row.sequence is not None}
    new = [found.row for found in ready if found.row.sequence is None]
    may_be_free = freed or any(standings[row.id].given_back or standings[row.id].lane.unsettled > 1 for row in new)
    taken = sequences.take(tx, Counter(row.recipient for row in new), may_be_free=may_be_free)
    return numbers | {row.id: taken[row.recipient].pop(0) for row in new}


def _receipt(found: Ready, sha256: str, now: datetime) -> ReceiptRow:
    attempt, row = found.attempt, found.row
    return ReceiptRow(
        id=attempt.receipt,
        exit="delivery",
        delivery=row.id,
        recipient=row.recipient,
        plan=row.plan,
        plan_version=row.plan_version,
        view_version=found.state.version,
        reader=attempt.look.reader.key,
        sha256=sha256,
        endpoint=sha256_hex(attempt.lane.address.encode()),
        refused=False,
        code="begun",
        at=now,
        parts=attempt.look.lines(),
    )
