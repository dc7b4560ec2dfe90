"""Reading a plan here: the same look as a delivery, with a receipt of what was read, and of what was refused."""

from functools import partial
from typing import Literal

from msgspec import Struct

from gateway.callers import Caller
from gateway.clock import Clock
from gateway.directory import Entry
from gateway.errors import Refusal
from gateway.render import Renderer
from gateway.seal import sha256_hex
from gateway.sight import Look, Reader, Sight, reader_for
from gateway.store import plans as plan_rows
from gateway.store import receipts, views
from gateway.store.engine import Store, Transaction
from gateway.store.locks import lock
from gateway.store.receipts import ReceiptRow
from mappings.codes import Purpose

LOOKS = 8


class Page(Struct, frozen=True, kw_only=True):
    """A view as bytes, with the version that its reader knows."""

    body: bytes
    content_type: str
    version: int
    look: Look


class Reading:
    """Reads plans for callers, and shows what another would get."""

    def __init__(self, *, store: Store, sight: Sight, renderer: Renderer, clock: Clock) -> None:
        self._store = store
        self._sight = sight
        self._renderer = renderer
        self._clock = clock

    async def read(self, plan_id: str, caller: Caller, form: str) -> Page:
        """Return what the caller may see of a plan. Raises Refusal: not-found when that is nothing, whatever the reason."""
        reader = reader_for(caller)
        for _ in range(LOOKS):
            plan = await self._sight.load(plan_id)
            if plan is None:
                raise Refusal("not-found")
            look = await self._sight.look(plan, reader)
            page = await self._store.write(partial(self._disclosed, look=look, caller=caller, form=form))
            if page == "refused":
                raise Refusal("not-found")
            if page is not None:
                return page
        raise Refusal("busy")

    async def preview(self, plan_id: str, reader: Reader, form: str) -> tuple[Look, Page | None]:
        """Return what `reader` would get now, without counting it as disclosed; no page when that is nothing."""
        plan = await self._sight.load(plan_id)
        if plan is None:
            raise Refusal("not-found")
        look = await self._sight.look(plan, reader)
        if look.plan is None:
            return look, None
        return look, await self._store.write(partial(self._page, look=look, form=form))

    def _disclosed(self, tx: Transaction, look: Look, caller: Caller, form: str) -> Page | Literal["refused"] | None:
        """In one transaction: check the look, count the view, write the receipt. None: something changed, look again."""
        lock(tx, "choices", *look.choice_versions, shared=True)
        lock(tx, "view", f"{look.whole.id}/{look.reader.key}")
        row = plan_rows.plan_by_id(tx, look.whole.id)
        if row is None or row.version != look.whole.version or not self._sight.still_holds(tx, look):
            return None
        if look.plan is None:
            views.end(tx, row.id, look.reader.key)
            receipts.add_receipts(tx, [self._receipt(look, caller, None)])
            return "refused"
        page = self._page(tx, look, form)
        _, state = self._sight.stamped(tx, look)
        views.disclose(tx, [look.disclosed_as(state)])
        receipts.add_receipts(tx, [self._receipt(look, caller, page)])
        return page

    def _page(self, tx: Transaction, look: Look, form: str) -> Page:
        view, state = self._sight.stamped(tx, look)
        body, content_type = self._renderer.render(view, form)
        return Page(body=body, content_type=content_type, version=state.version, look=look)

    def _receipt(self, look: Look, caller: Caller, page: Page | None) -> ReceiptRow:
        return ReceiptRow(
            id=self._clock.new_id(),
            exit="read",
            recipient=caller.organisation,
            client=caller.client.client_id,
            plan=look.whole.id,
            plan_version=look.whole.version,
            view_version=page.version if page else None,
            reader=look.reader.key,
            sha256=sha256_hex(page.body) if page else None,
            refused=page is None,
            code="read" if page else look.reason,
            at=self._clock.now(),
            parts=look.lines(),
        )


def reader_of(entry: Entry, purpose: Purpose | None, role: str | None, person: str | None) -> Reader:
    """Return somebody of an organisation as a reader; without a purpose the one that its deliveries have."""
    fallback = entry.clients[0].purpose if entry.clients else "support"
    return Reader(recipient=entry.recipient(role=role, person=person), purpose=purpose or fallback)
