"""Reading under FHIR: one resource, a search, everything about a resident. Each answer is looked at anew, and leaves a receipt per plan.

The index says where to look; what goes out comes from a look at this moment (`gateway.sight`). Where the two differ the index is old:
it is marked stale, and the question asked again.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gateway.callers import Caller
from gateway.clock import Clock
from gateway.errors import Refusal
from gateway.indexing import Indexing
from gateway.seal import MasterKey, SealError, sha256_hex
from gateway.shown import as_read, lines_of, resources_of
from gateway.sight import Look, Reader, Sight, reader_for
from gateway.store import plans as plan_rows
from gateway.store import receipts, search, views, visible
from gateway.store.engine import Store, Transaction
from gateway.store.locks import lock
from gateway.store.receipts import PartLine, ReceiptRow
from gateway.store.search import Found, Place
from mappings.elements import Resource
from mappings.search.query import Query

LOOKS = 8
CURSOR_SECONDS = 900
"""How long a next page can be asked for."""

INCLUDED_MOST = 1_000
"""What `_include` and `_revinclude` may add to one page."""

Compose = Callable[[Sequence[tuple[Resource, bool]]], bytes]
"""Makes the body of an answer out of resources, each (resource, whether it was asked for rather than included)."""


class Cursor(Struct, frozen=True, kw_only=True):
    """Where a search goes on: for this reader only, and until a moment. `about`: whose everything it is, for no other and no search."""

    query: Query
    place: Place
    reader: str
    until: float
    about: str = ""


class Answer(Struct, frozen=True, kw_only=True):
    """Bytes that may go out, with the version of what they show when that is one resource."""

    body: bytes
    version: str = ""
    changed_at: str = ""


class Searching:
    """Answers FHIR reads and searches for callers."""

    def __init__(self, *, store: Store, sight: Sight, indexing: Indexing, master: MasterKey, clock: Clock) -> None:
        self._store = store
        self._sight = sight
        self._indexing = indexing
        self._master = master
        self._clock = clock

    async def read(self, caller: Caller, resource_type: str, resource_id: str) -> Answer:
        """Return one resource. Raises Refusal: not-found when this caller sees no such resource, whatever the reason."""
        reader = reader_for(caller)
        for _ in range(LOOKS):
            number = await self._indexing.fresh(reader)
            plan = await self._store.read(
                partial(visible.resource_row, reader=number, name=(resource_type, resource_id))
            )
            if plan is None:
                raise Refusal("not-found")
            found = Found(key=0, type=resource_type, id=resource_id, plan=plan, version=0)
            read = await self._disclosed([found], [], reader, caller, "read", _alone)
            if read is not None:
                meta = read[1][0]["meta"]
                return Answer(body=read[0], version=meta["versionId"], changed_at=meta["lastUpdated"])
        raise Refusal("busy")

    async def search(
        self, caller: Caller, query: Query, after: Place | None, compose: Callable[[int | None, str | None], Compose]
    ) -> Answer:
        """Return one page. `compose` is given the total and the cursor of the next page, None when there is none."""
        reader = reader_for(caller)
        for _ in range(LOOKS):
            number = await self._indexing.fresh(reader)
            page, added = await self._store.read(partial(_searched, reader=number, query=query, after=after))
            cursor = self._cursor(query, page.place, reader) if page.place else None
            made = await self._disclosed(page.found, added, reader, caller, "search", compose(page.total, cursor))
            if made is not None:
                return Answer(body=made[0])
        raise Refusal("busy")

    async def matching(self, caller: Caller, query: Query) -> tuple[str, ...]:
        """Return the ids of the first two resources that this caller sees and that match."""
        number = await self._indexing.fresh(reader_for(caller))
        page, _ = await self._store.read(partial(_searched, reader=number, query=replace(query, count=2), after=None))
        return tuple(each.id for each in page.found)

    async def everything(
        self,
        caller: Caller,
        resident: str,
        query: Query,
        after: Place | None,
        compose: Callable[[int | None, str | None], Compose],
    ) -> Answer:
        """Return a page of everything that this caller sees of the plans of a resident."""
        reader = reader_for(caller)
        for _ in range(LOOKS):
            number = await self._indexing.fresh(reader)
            found = await self._store.read(
                partial(_all_of, reader=number, resident=resident, after=after, limit=query.count + 1)
            )
            if not found:
                raise Refusal("not-found")
            shown = found[: query.count]
            cursor = self._cursor(query, (shown[-1].key,), reader, resident) if len(found) > query.count else None
            made = await self._disclosed(shown, [], reader, caller, "search", compose(None, cursor))
            if made is not None:
                return Answer(body=made[0])
        raise Refusal("busy")

    def opened(self, text: str, caller: Caller, about: str = "") -> Cursor:
        """Return where a search goes on. Raises Refusal: cursor, when it is another's, of something else, too old or none of ours."""
        try:
            cursor = _CURSOR.decode(self._master.open_cursor(text))
        except (SealError, msgspec.MsgspecError) as error:
            raise Refusal("cursor") from error
        is_here = (cursor.reader, cursor.about) == (reader_for(caller).key, about)
        if not is_here or cursor.until < self._clock.now().timestamp():
            raise Refusal("cursor")
        return cursor

    def cursor(self, query: Query, place: Place, caller: Caller) -> str:
        """Return where a search goes on, for this caller only."""
        return self._cursor(query, place, reader_for(caller))

    def _cursor(self, query: Query, place: Place, reader: Reader, about: str = "") -> str:
        until = (self._clock.now() + timedelta(seconds=CURSOR_SECONDS)).timestamp()
        cursor = Cursor(query=query, place=place, reader=reader.key, until=until, about=about)
        return self._master.seal_cursor(msgspec.json.encode(cursor))

    async def _disclosed(
        self,
        found: Sequence[Found],
        added: Sequence[Found],
        reader: Reader,
        caller: Caller,
        exit_name: str,
        compose: Compose,
    ) -> tuple[bytes, list[Resource]] | None:
        """Look at the plans anew, and answer in the transaction that keeps the receipts. None: something changed, ask again."""
        looks: dict[str, Look] = {}
        for plan_id in dict.fromkeys(each.plan for each in (*found, *added)):
            plan = await self._sight.load(plan_id)
            if plan is not None:
                looks[plan_id] = await self._sight.look(plan, reader)
        if not looks:
            return compose(()), []
        work = partial(
            self._answered, looks=looks, found=found, added=added, caller=caller, exit_name=exit_name, compose=compose
        )
        answered = await self._store.write(work)
        if answered is None:
            changed = [(plan_id, (reader.recipient.organisation,)) for plan_id in looks]
            await self._store.write(lambda tx: visible.mark_plans(tx, changed, self._clock.new_id()))
        return answered

    def _answered(
        self,
        tx: Transaction,
        looks: dict[str, Look],
        found: Sequence[Found],
        added: Sequence[Found],
        caller: Caller,
        exit_name: str,
        compose: Compose,
    ) -> tuple[bytes, list[Resource]] | None:
        lock(tx, "choices", *{who for look in looks.values() for who in look.choice_versions}, shared=True)
        lock(tx, "view", *(f"{plan_id}/{look.reader.key}" for plan_id, look in looks.items()))
        shown: dict[tuple[str, str, str], Resource] = {}
        versions: dict[str, int] = {}
        disclosures = []
        for plan_id, look in looks.items():
            current = plan_rows.plan_by_id(tx, plan_id)
            holds = current is not None and current.version == look.whole.version and self._sight.still_holds(tx, look)
            if not holds or look.shown is None:
                return None
            view, state = self._sight.stamped(tx, look)
            versions[plan_id] = state.version
            disclosures.append(look.disclosed_as(state))
            for resource in resources_of(view, {each.id for each in (*found, *added) if each.plan == plan_id}):
                shown[plan_id, resource["resourceType"], resource["id"]] = as_read(resource, plan_id)
        resources: list[tuple[Resource, bool]] = []
        for each, is_match in (*((each, True) for each in found), *((each, False) for each in added)):
            found_resource = shown.get((each.plan, each.type, each.id))
            if found_resource is None or each.version not in {0, versions[each.plan]}:
                return None
            resources.append((found_resource, is_match))
        body = compose(resources)
        named = {
            plan_id: {(each.type, each.id) for each in (*found, *added) if each.plan == plan_id} for plan_id in looks
        }
        views.disclose(tx, disclosures)
        rows = [
            self._receipt(look, caller, exit_name, versions[plan_id], lines_of(look, named[plan_id]), body)
            for plan_id, look in looks.items()
        ]
        receipts.add_receipts(tx, rows)
        return body, [resource for resource, _ in resources]

    def _receipt(
        self, look: Look, caller: Caller, exit_name: str, version: int, lines: tuple[PartLine, ...], body: bytes
    ) -> ReceiptRow:
        return ReceiptRow(
            id=self._clock.new_id(),
            exit=exit_name,
            recipient=caller.organisation,
            client=caller.client.client_id,
            plan=look.whole.id,
            plan_version=look.whole.version,
            view_version=version,
            reader=look.reader.key,
            sha256=sha256_hex(body),
            refused=False,
            code="read",
            at=self._clock.now(),
            parts=lines,
        )


_CURSOR = msgspec.json.Decoder(Cursor)


def _searched(tx: Transaction, reader: int, query: Query, after: Place | None) -> tuple[search.Page, tuple[Found, ...]]:
    page = search.search(tx, reader, query, after)
    if not page.found or not (query.includes or query.revincludes):
        return page, ()
    added = search.included(tx, reader, query, page.found, INCLUDED_MOST)
    if len(added) > INCLUDED_MOST:
        raise Refusal("too-many-included")
    return page, added


def _all_of(tx: Transaction, reader: int, resident: str, after: Place | None, limit: int) -> tuple[Found, ...]:
    plans = visible.plans_showing(tx, reader, "Patient", resident)
    return search.everything(tx, reader, plans, int(after[0]) if after else 0, limit)


def _alone(resources: Sequence[tuple[Resource, bool]]) -> bytes:
    return msgspec.json.encode(resources[0][0]) if resources else b""
