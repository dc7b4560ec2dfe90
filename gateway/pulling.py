"""Deliveries that their recipient pulls after a notification: the same look as a push, at the moment of the pull, and then the receipt.

pull → decided again, counted and receipted in one transaction, or withheld; confirm → acknowledged when the hash is that of the last pull.
"""

from datetime import timedelta
from functools import partial
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from gateway.callers import Caller
from gateway.clock import Clock
from gateway.directory import Directory, Lane
from gateway.errors import Refusal, refusal
from gateway.failpoints import Reach
from gateway.locks import ResidentLocks
from gateway.logs import Log
from gateway.render import Renderer, UnknownFormatError
from gateway.seal import sha256_hex
from gateway.sight import Look, Reader, Sight
from gateway.store import deliveries as rows
from gateway.store import directory as directory_rows
from gateway.store import pulls, receipts, views
from gateway.store.deliveries import PENDING, PULLED, DeliveryRow
from gateway.store.engine import Store, Transaction
from gateway.store.locks import lane_key, lock
from gateway.store.receipts import ReceiptRow
from mappings.plan import SupportPlan

LOOKS = 8
OPEN = (*PENDING, "sent")


class Document(Struct, frozen=True, kw_only=True):
    """What a pull gives: the view as bytes, under the number and hash of its delivery."""

    body: bytes
    content_type: str
    sequence: int
    sha256: str


class _Pull(Struct, frozen=True, kw_only=True):
    """What was looked at for one pull, and what must still hold when it is given."""

    row: DeliveryRow
    lane: Lane
    look: Look
    directory_version: int
    client: str


class Pulling:
    """Gives documents to those who were notified, and takes their receipts."""

    def __init__(
        self,
        *,
        store: Store,
        sight: Sight,
        directory: Directory,
        renderer: Renderer,
        residents: ResidentLocks,
        clock: Clock,
        log: Log,
        receipt_deadline_seconds: float,
        reach: Reach,
    ) -> None:
        self._store = store
        self._sight = sight
        self._directory = directory
        self._renderer = renderer
        self._residents = residents
        self._clock = clock
        self._log = log
        self._receipt_deadline = timedelta(seconds=receipt_deadline_seconds)
        self._reach = reach

    async def pull(self, delivery_id: str, caller: Caller) -> Document:
        """Return what the recipient may see of a delivery now. Raises Refusal; not-found when that is nothing, whatever the reason."""
        row = await self._open_row(delivery_id, caller)
        plan = await self._sight.load(row.plan, row.plan_version)
        if plan is None:
            raise Refusal("internal")
        async with self._residents.shared(plan.residents):
            given = await self._given(row, plan, caller)
        self._reach("pull-committed")
        if given == "withheld":
            raise Refusal("not-found")
        return given

    async def confirm(self, delivery_id: str, sha256: str, caller: Caller) -> DeliveryRow:
        """Acknowledge a delivery whose bytes have this hash. Raises Refusal: state before a pull, document for another hash."""
        own = await self._own_row(delivery_id, caller)
        row = await self._store.write(partial(self._confirmed, own=own, sha256=sha256))
        self._reach("receipt-committed")
        self._say(row)
        return row

    async def _own_row(self, delivery_id: str, caller: Caller) -> DeliveryRow:
        """Return a delivery that this caller's organisation pulls. Raises Refusal: not-found for any other."""
        row = await self._store.read(lambda tx: rows.get_delivery(tx, delivery_id))
        if row is None or row.recipient != caller.organisation or row.adapter != "amqp" or row.sequence is None:
            raise Refusal("not-found")
        return row

    async def _open_row(self, delivery_id: str, caller: Caller) -> DeliveryRow:
        row = await self._own_row(delivery_id, caller)
        if row.state not in OPEN:
            raise refusal("state", "/state", "this delivery has ended; read the plan at /v1/plans/{id} instead")
        return row

    async def _given(self, row: DeliveryRow, plan: SupportPlan, caller: Caller) -> Document | Literal["withheld"]:
        """Look, and give what was seen; look again when anything changed in between."""
        for _ in range(LOOKS):
            pull = await self._look(row, plan, caller)
            try:
                given = await self._store.write(partial(self._disclosed, pull=pull))
            except UnknownFormatError as error:
                raise Refusal("unavailable") from error
            if given is not None:
                if given == "withheld":
                    self._say(replace(row, state="withheld", reason=pull.look.reason))
                return given
            row = await self._open_row(row.id, caller)
        raise Refusal("busy")

    async def _look(self, row: DeliveryRow, plan: SupportPlan, caller: Caller) -> _Pull:
        """Look with the eyes of the delivery's endpoint, within what it carried before. Raises Refusal when the endpoint is gone."""
        snapshot = await self._directory.now()
        lane = snapshot.lane(row.recipient, row.lane)
        if lane is None:
            raise Refusal("not-found")
        reader = Reader(recipient=lane.entry.recipient(), purpose=lane.purpose)
        return _Pull(
            row=row,
            lane=lane,
            look=await self._sight.look(plan, reader, within=row.parts),
            directory_version=snapshot.version,
            client=caller.client.client_id,
        )

    def _disclosed(self, tx: Transaction, pull: _Pull) -> Document | Literal["withheld"] | None:
        """In one transaction: check the look, count the view, write the receipt. None: something changed, look again."""
        now, look = self._clock.now(), pull.look
        lock(tx, "choices", *look.choice_versions, shared=True)
        lock(tx, "lane", lane_key(pull.row.plan, pull.row.recipient, pull.row.lane))
        row = rows.get_delivery(tx, pull.row.id)
        if row is None or row.sequence is None or row.state not in OPEN:
            return None
        if (row.plan_version, row.parts) != (pull.row.plan_version, pull.row.parts):
            return None
        if not self._sight.still_holds(tx, look) or directory_rows.directory_version(tx) != pull.directory_version:
            return None
        if look.plan is None:
            views.end(tx, row.plan, look.reader.key)
            rows.finish(tx, row, state="withheld", reason=look.reason, now=now)
            return "withheld"
        view, state = self._sight.stamped(tx, look)
        body, content_type = self._renderer.render(view, pull.lane.endpoint.format)
        sha256, receipt = sha256_hex(body), self._clock.new_id()
        views.disclose(tx, [look.disclosed_as(state)])
        receipts.add_receipts(
            tx,
            [
                ReceiptRow(
                    id=receipt,
                    exit="delivery",
                    delivery=row.id,
                    recipient=row.recipient,
                    client=pull.client,
                    plan=row.plan,
                    plan_version=row.plan_version,
                    view_version=state.version,
                    reader=look.reader.key,
                    sha256=sha256,
                    endpoint=sha256_hex(pull.lane.address.encode()),
                    refused=False,
                    code=PULLED,
                    at=now,
                    parts=look.lines(),
                )
            ],
        )
        pulls.pulled(
            tx,
            row,
            parts=look.permitted,
            view_version=state.version,
            receipt=receipt,
            deadline=now + self._receipt_deadline,
            now=now,
        )
        self._reach("pull-written")
        return Document(body=body, content_type=content_type, sequence=row.sequence, sha256=sha256)

    def _confirmed(self, tx: Transaction, own: DeliveryRow, sha256: str) -> DeliveryRow:
        """In one transaction: compare with what was pulled last, and end the delivery. Once ended the same receipt changes nothing."""
        lock(tx, "lane", lane_key(own.plan, own.recipient, own.lane))
        row = rows.get_delivery(tx, own.id)
        assert row is not None  # noqa: S101 - deliveries are never deleted
        wanted = pulls.pulled_hash(tx, row)
        if wanted is None or row.state not in (*OPEN, "acknowledged", "parked"):
            raise refusal("state", "/state", "pull the document first; one that has ended takes no receipt any more")
        if sha256 != wanted:
            raise refusal(
                "document", "/sha256", "give the hex SHA-256 of the bytes that you pulled last, or pull them again"
            )
        if row.state != "acknowledged":
            assert row.receipt is not None  # noqa: S101 - there is a hash, so there is a receipt
            receipts.settle_receipts(tx, [(row.receipt, "acknowledged")])
            rows.finish(tx, row, state="acknowledged", reason=None, now=self._clock.now())
        self._reach("receipt-written")
        return rows.get_delivery(tx, own.id) or row

    def _say(self, row: DeliveryRow) -> None:
        self._log(
            "delivery_settled",
            delivery=row.id,
            recipient=row.recipient,
            adapter=row.adapter,
            state=row.state,
            reason=row.reason,
            attempt=row.attempts,
        )
