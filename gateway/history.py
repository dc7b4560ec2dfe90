"""The history of a resource, as its reader may know it: the versions that this reader was given, and of each what it was given then
and may still see now. So a correction that came before a permit, and what was withdrawn since, stand in no history.
"""

from collections.abc import Callable
from datetime import datetime
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from gateway.callers import Caller
from gateway.clock import Clock
from gateway.errors import Refusal
from gateway.indexing import Indexing
from gateway.seal import sha256_hex
from gateway.searching import Answer, Searching
from gateway.shown import as_read, lines_of, resources_of, version_id
from gateway.sight import Look, Reader, Sight, reader_for
from gateway.store import plans as plan_rows
from gateway.store import receipts, visible
from gateway.store.engine import Store, Transaction
from gateway.store.locks import lock
from gateway.store.receipts import ReceiptRow
from gateway.store.views import ViewState
from mappings.elements import Resource

LOOKS = 8
VERSIONS = 100
"""How many versions are told, the newest first."""

Compose = Callable[[list[Resource]], bytes]


class _Given(Struct, frozen=True, kw_only=True):
    """One version as it was given: of which plan version, when first, and which parts in all."""

    version: int
    plan_version: int
    at: datetime
    parts: frozenset[str]


class History:
    """Tells what became of resources."""

    def __init__(self, *, store: Store, sight: Sight, indexing: Indexing, searching: Searching, clock: Clock) -> None:
        self._store = store
        self._sight = sight
        self._indexing = indexing
        self._searching = searching
        self._clock = clock

    async def tell(
        self, caller: Caller, name: tuple[str, str], wanted: Callable[[str], bool], compose: Compose
    ) -> bytes:
        """Return what `compose` makes of the versions whose id is wanted, newest first. Raises Refusal: not-found when that is none.

        What the caller has not been given yet is given now, as the newest.
        """
        reader = reader_for(caller)
        for _ in range(LOOKS):
            newest = await self._searching.read(caller, *name)
            number = await self._indexing.fresh(reader)
            plan_id = await self._store.read(partial(visible.resource_row, reader=number, name=name))
            current = await self._sight.load(plan_id) if plan_id else None
            if plan_id is None or current is None:
                raise Refusal("not-found")
            rows = await self._store.read(
                partial(receipts.given, plan_id=plan_id, recipient=caller.organisation, reader=reader.key)
            )
            versions = [_as_dated(each, newest, name[0], plan_id) for each in _by_version(rows)[:VERSIONS]]
            looks = [(each, await self._then(plan_id, reader, each, name[0])) for each in versions]
            told = [
                (look, resource)
                for each, look in looks
                if look is not None and (resource := _shown(look, each, name)) and wanted(resource["meta"]["versionId"])
            ]
            if not told:
                raise Refusal("not-found")
            body = compose([resource for _, resource in told])
            now = await self._sight.look(current, reader)
            kept = await self._store.write(
                partial(self._keep, looks=[look for look, _ in told], now=now, name=name, body=body, caller=caller)
            )
            if kept:
                return body
        raise Refusal("busy")

    async def _then(self, plan_id: str, reader: Reader, given: _Given, resource_type: str) -> Look | None:
        """Return a look at an older version with today's choices, narrowed to what was given then.

        What shows no part (it is about the version, or is who it was before) needs no part to have been given.
        """
        plan = await self._sight.load(plan_id, given.plan_version)
        within = None if resource_type in _WITHOUT_PARTS else given.parts
        return await self._sight.look(plan, reader, within=within) if plan else None

    def _keep(
        self, tx: Transaction, looks: list[Look], now: Look, name: tuple[str, str], body: bytes, caller: Caller
    ) -> bool:
        """Keep the receipt, if the residents have said nothing new meanwhile."""
        lock(tx, "choices", *{who for look in (*looks, now) for who in look.choice_versions}, shared=True)
        row = plan_rows.plan_by_id(tx, now.whole.id)
        holds = all(self._sight.still_holds(tx, look) for look in (*looks, now))
        if not holds or row is None or row.version != now.whole.version:
            return False
        receipt = ReceiptRow(
            id=self._clock.new_id(),
            exit="history",
            recipient=caller.organisation,
            client=caller.client.client_id,
            plan=now.whole.id,
            plan_version=now.whole.version,
            sha256=sha256_hex(body),
            refused=False,
            code="read",
            at=self._clock.now(),
            parts=lines_of(now, {name}),
        )
        receipts.add_receipts(tx, [receipt])
        return True


_WITHOUT_PARTS = frozenset({"Provenance", "Organization", "Group"})


def _by_version(rows: tuple[ReceiptRow, ...]) -> list[_Given]:
    """Return the versions of which something was given, newest first."""
    found: dict[int, _Given] = {}
    for row in rows:
        version = row.view_version or 0
        before = found.get(version)
        parts = frozenset(line.part_id for line in row.parts)
        found[version] = _Given(
            version=version,
            plan_version=row.plan_version,
            at=before.at if before else row.at,
            parts=parts | before.parts if before else parts,
        )
    return [found[version] for version in sorted(found, reverse=True)]


def _as_dated(given: _Given, newest: Answer, resource_type: str, plan_id: str) -> _Given:
    """Return the newest version with the date that a read of it has; of older ones the first disclosure is known."""
    is_newest = version_id(resource_type, given.version, plan_id) == newest.version
    return replace(given, at=datetime.fromisoformat(newest.changed_at)) if is_newest else given


def _shown(look: Look, given: _Given, name: tuple[str, str]) -> Resource | None:
    if look.shown is None:
        return None
    view = look.stamped(ViewState(version=given.version, changed_at=given.at, is_new=False))
    for resource in resources_of(view, {name[1]}):
        if (resource["resourceType"], resource["id"]) == name:
            return as_read(resource, look.whole.id)
    return None
