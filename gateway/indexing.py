"""Keeps what each reader may see under FHIR searchable: looks at what was marked stale, with the reader's eyes, and indexes what is there.

Who searches waits until nothing of theirs is stale (`fresh`); a loop does the same meanwhile, so that there is little left to wait for.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, time, timedelta
from functools import partial

import msgspec
from msgspec import Struct

from consent.index import ChoiceIndex
from consent.voices import AMSTERDAM, amsterdam_day, days_of_change
from gateway.clock import Clock
from gateway.directory import Directory
from gateway.errors import Refusal
from gateway.logs import Log
from gateway.seal import MasterKey
from gateway.shown import resources_of
from gateway.sight import Look, Reader, Sight
from gateway.store import plans as plan_rows
from gateway.store import views, visible
from gateway.store.engine import Store, Transaction
from gateway.store.locks import lock
from gateway.store.visible import Item, ReaderRow, Stale, View
from mappings.plan import Identity, SupportPlan
from mappings.search.values import values_of

TOGETHER = 32
"""Plans that are indexed in one transaction, at most."""

PATIENCE_SECONDS = 10.0
"""How long a search waits for its index before it is asked to come back."""

RETRY_AFTER_SECONDS = 5
LOOK_SECONDS = 1.0
"""How often the loop looks for what became stale."""

LAYOUT = "2"
"""Changed when another version of this program would index the same view otherwise: then everything is indexed again."""


class _Seen(Struct, frozen=True, kw_only=True):
    """A look that is to be indexed."""

    stale: Stale
    look: Look
    items: tuple[Item, ...]
    expires_at: datetime | None


class Indexing:
    """Keeps the index of every reader."""

    def __init__(
        self,
        *,
        store: Store,
        sight: Sight,
        directory: Directory,
        master: MasterKey,
        clock: Clock,
        log: Log,
        signed_is_decision: bool,
    ) -> None:
        self._store = store
        self._sight = sight
        self._directory = directory
        self._master = master
        self._clock = clock
        self._log = log
        self._rules = repr((LAYOUT, sight.grounds, signed_is_decision))
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def fresh(self, reader: Reader) -> int:
        """Return the number of a reader whose index tells the truth. Raises Refusal: indexing, when that takes too long."""
        row = await self._registered(reader)
        started = self._clock.ticks()
        while stale := await self._stale(row):
            async with self._turns[reader.key]:
                if stale := await self._stale(row):
                    await self._refresh(reader, row, stale)
            if self._clock.ticks() - started > PATIENCE_SECONDS:
                raise Refusal("indexing", headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
        return row.number

    async def run(self) -> None:
        """Index what becomes stale until cancelled."""
        while True:
            try:
                busy = await self._run_once()
            except Exception as error:  # noqa: BLE001 - the top of the loop: a search does what is left undone here
                self._log("indexing_failed", error=type(error).__name__)
                busy = False
            await asyncio.sleep(0 if busy else LOOK_SECONDS)

    async def _run_once(self) -> bool:
        """Index one batch for every reader that the directory has; say whether there may be more."""
        busy = False
        known = {reader.key: reader for reader in await self._known_readers()}
        for row in await self._store.read(visible.readers):
            reader = known.get(row.reader)
            if reader is None or row.basis != self._basis(reader) or self._turns[reader.key].locked():
                continue
            async with self._turns[reader.key]:
                if stale := await self._stale(row):
                    await self._refresh(reader, row, stale)
                    busy = busy or len(stale) >= TOGETHER
        return busy

    async def _known_readers(self) -> list[Reader]:
        snapshot = await self._directory.now()
        return [
            Reader(recipient=entry.recipient(role=client.role, person=client.person), purpose=client.purpose)
            for entry, client in snapshot.clients.values()
        ]

    async def _registered(self, reader: Reader) -> ReaderRow:
        basis = self._basis(reader)
        row = await self._store.read(lambda tx: visible.reader_row(tx, reader.key))
        if row is not None and row.basis == basis:
            return row
        organisation, mark = reader.recipient.organisation, self._clock.new_id()
        return await self._store.write(lambda tx: visible.register(tx, reader.key, organisation, basis, mark))

    def _basis(self, reader: Reader) -> str:
        described = msgspec.json.encode(reader.recipient).decode()
        return self._master.fingerprint("index", self._rules, reader.purpose, described)

    async def _stale(self, row: ReaderRow) -> tuple[Stale, ...]:
        now = self._clock.now()
        return await self._store.read(lambda tx: visible.stale_plans(tx, row.number, now, TOGETHER))

    async def _refresh(self, reader: Reader, row: ReaderRow, stale: Sequence[Stale]) -> None:
        """Look at these plans and index what is seen; one that changes meanwhile stays stale."""
        seen = [await self._seen(reader, each) for each in stale]
        await self._store.write(partial(self._write, row=row, seen=[each for each in seen if each is not None]))
        gone = [each.plan for each, found in zip(stale, seen, strict=True) if found is None]
        if gone:
            raise LookupError("a plan is marked that is not there")

    async def _seen(self, reader: Reader, stale: Stale) -> _Seen | None:
        plan = await self._sight.load(stale.plan)
        if plan is None:
            return None
        before = self._clock.now()
        look = await self._sight.look(plan, reader)
        choices = await self._sight.choices_of(plan.residents, fresh=False)
        expires_at = self._expiry(plan, choices.values(), before)
        return _Seen(stale=stale, look=look, items=self._items(look), expires_at=expires_at)

    def _items(self, look: Look) -> tuple[Item, ...]:
        if look.shown is None:
            return ()
        return tuple(
            Item(type=each["resourceType"], id=each["id"], values=values_of(each, self._hashed))
            for each in resources_of(look.shown)
        )

    def _hashed(self, number: str) -> str:
        return self._master.fingerprint("bsn", number)

    def _expiry(self, plan: SupportPlan, choices: Iterable[ChoiceIndex], looked_at: datetime) -> datetime | None:
        """Return the first moment at which the answer may change by itself, also when that was during the look."""
        said = [choice for index in choices for choice in index.choices]
        births = [part.birth_date for part in plan.parts if isinstance(part, Identity) and part.birth_date]
        days = days_of_change(said, births, amsterdam_day(looked_at))
        return datetime.combine(days[0], time.min, AMSTERDAM) if days else None

    def _write(self, tx: Transaction, row: ReaderRow, seen: Sequence[_Seen]) -> None:
        """In one transaction: check that what was seen still holds, and index it."""
        now = self._clock.now()
        lock(tx, "choices", *{who for each in seen for who in each.look.choice_versions}, shared=True)
        lock(tx, "view", *(f"{each.look.whole.id}/{each.look.reader.key}" for each in seen))
        for each in seen:
            look = each.look
            current = plan_rows.plan_by_id(tx, look.whole.id)
            if current is None or current.version != look.whole.version or not self._sight.still_holds(tx, look):
                continue
            version, changed_at, fingerprint = 0, now, ""
            if look.shown is None:
                views.end(tx, look.whole.id, look.reader.key)
            else:
                state = views.look(tx, look.whole.id, look.reader.key, look.fingerprint, now)
                version, changed_at, fingerprint = (
                    state.version,
                    state.changed_at,
                    f"{state.version}/{look.fingerprint}",
                )
            view = View(
                plan=look.whole.id,
                fingerprint=fingerprint,
                version=version,
                changed_at=_microseconds(changed_at),
                expires_at=each.expires_at,
                items=each.items,
            )
            visible.replace_view(tx, row.number, view, each.stale.mark, self._clock.new_id())


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
