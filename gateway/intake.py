"""The one way in for plans: read, name, compare with what is there, and keep version and deliveries in one transaction (`keeping`).

Nothing is half-stored: a document is refused whole, or kept whole with its deliveries planned.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from consent.voices import amsterdam_day
from gateway.callers import Caller
from gateway.clock import Clock
from gateway.directory import Directory, Snapshot
from gateway.errors import Refusal, refused
from gateway.failpoints import Reach
from gateway.keeping import Keep, Keeping, OvertakenError
from gateway.logs import Log
from gateway.preparation import Preparation, Prepared
from gateway.seal import MasterKey
from gateway.sight import Sight
from gateway.store import plans as rows
from gateway.store.engine import Store
from gateway.store.plans import KeyUse
from mappings.draft import Draft, Form, Loss
from mappings.errors import Finding, MappingError
from mappings.identifiers import BSN_TEST_RANGE
from mappings.plan import Identity, SupportPlan
from mappings.quality import QualityFinding, check_quality

ATTEMPTS = 8
"""How often intake begins again when somebody else wrote first, before it asks the caller to."""


class Received(Struct, frozen=True, kw_only=True):
    """What became of a document: created, changed or unchanged.

    `residents`: resident id → its reference in the document; `pointers`: id → where it stands there.
    """

    plan_id: str
    version: int
    outcome: str
    deliveries: tuple[str, ...]
    residents: dict[str, str]
    pointers: dict[str, str]
    quality: tuple[QualityFinding, ...]
    loss: tuple[Loss, ...]


class Intake:
    """Receives plans."""

    def __init__(
        self,
        *,
        store: Store,
        preparation: Preparation,
        sight: Sight,
        directory: Directory,
        master: MasterKey,
        clock: Clock,
        log: Log,
        test_numbers_only: bool,
        nudge: Callable[[], None],
        reach: Reach,
    ) -> None:
        self._store = store
        self._preparation = preparation
        self._sight = sight
        self._directory = directory
        self._master = master
        self._clock = clock
        self._log = log
        self._test_numbers_only = test_numbers_only
        self._nudge = nudge
        self._reach = reach
        self._keeping = Keeping(store=store, clock=clock, reach=reach)

    async def receive(
        self, body: bytes, form: Form, caller: Caller, key: str | None, sent: bytes | None = None
    ) -> Received:
        """Take a plan document in. Raises Refusal, with every finding and no value, and then nothing is kept.

        `sent` is what a key stands for when the document was made here out of what was sent.
        """
        started = self._clock.ticks()
        sent = body if sent is None else sent
        used = await self.use_of(key, sent, caller)
        draft = await self._read(body, form)
        for number in range(ATTEMPTS):
            fresh = number > 0
            snapshot = await self._directory.now(fresh=fresh)
            asked = draft if used is None else replace(draft, view_version=None)  # kept already: only named again
            prepared = await self._preparation.prepare(asked, body, form, caller, snapshot, fresh=fresh)
            if used is not None:
                return self._received(draft, prepared, used, used.deliveries, snapshot)
            use = self._use(key, sent, prepared)
            self._reach("intake-sealed")
            try:
                deliveries = await self._keeping.keep(Keep(prepared=prepared, caller=caller, key=key, use=use))
            except OvertakenError:
                used = await self.use_of(key, sent, caller)
                continue
            self._reach("intake-committed")
            self._sight.keep_in_hand(prepared.plan)
            self._nudge()
            received = self._received(draft, prepared, use, deliveries, snapshot)
            self._say(received, form, started)
            return received
        raise Refusal("busy")

    async def use_of(self, key: str | None, sent: bytes, caller: Caller) -> KeyUse | None:
        """Return what this key was used for before. Raises Refusal when it was for another body."""
        if key is None:
            return None
        use = await self._store.read(lambda tx: rows.key_use(tx, caller.client.client_id, key))
        if use and use.body_fingerprint != self._master.fingerprint("body", sent.hex()):
            raise Refusal("key-reused")
        return use

    def _use(self, key: str | None, sent: bytes, prepared: Prepared) -> KeyUse:
        outcome = "unchanged" if prepared.row is None else "created" if prepared.plan.version == 1 else "changed"
        fingerprint = self._master.fingerprint("body", sent.hex()) if key is not None else ""
        return KeyUse(
            body_fingerprint=fingerprint, plan=prepared.plan.id, version=prepared.plan.version, outcome=outcome
        )

    def _received(
        self, draft: Draft, prepared: Prepared, use: KeyUse, deliveries: tuple[str, ...], snapshot: Snapshot
    ) -> Received:
        plan, ids = prepared.plan, prepared.ids
        today = amsterdam_day(self._clock.now())
        return Received(
            plan_id=use.plan,
            version=use.version,
            outcome=use.outcome,
            deliveries=deliveries,
            residents={ids[draft_id]: reference for draft_id, reference in draft.references.items()},
            pointers={ids.get(draft_id, draft_id): pointer for draft_id, pointer in draft.pointers.items()},
            quality=(*check_quality(plan, today), *_unknown_organisations(plan, snapshot)),
            loss=draft.loss,
        )

    def _say(self, received: Received, form: Form, started: float) -> None:
        self._log(
            "plan_received",
            plan=received.plan_id,
            version=received.version,
            outcome=received.outcome,
            format=form.name,
            deliveries=len(received.deliveries),
            seconds=round(self._clock.ticks() - started, 6),
        )

    async def _read(self, body: bytes, form: Form) -> Draft:
        try:
            draft = await asyncio.to_thread(form.read, body) if form.is_slow else form.read(body)
        except MappingError as error:
            raise refused(error) from error
        if self._test_numbers_only:
            _only_test_numbers(draft, body)
        return draft


def _only_test_numbers(draft: Draft, body: bytes) -> None:
    """Keep real citizens out of a demo. Raises Refusal."""
    remedy = f"the demo takes BSNs from {BSN_TEST_RANGE[0]} to {BSN_TEST_RANGE[-1]} only"
    found = [
        (draft.pointers[part.resident], part.bsn)
        for part in draft.plan.parts
        if isinstance(part, Identity) and part.bsn and int(part.bsn) not in BSN_TEST_RANGE
    ]
    if found:
        document = msgspec.json.decode(body)
        pointers = [_pointer_to(document, item, number) for item, number in found]
        raise Refusal("document", [Finding(pointer=each, code="not-a-test-bsn", remedy=remedy) for each in pointers])


def _pointer_to(document: Any, item: str, number: str) -> str:
    """Return the pointer of the property of an item that holds this number; the item's own when it stands deeper."""
    place = document
    for step in item.split("/")[1:]:
        place = place[int(step)] if isinstance(place, list) else place[step]
    named = (name for name, value in place.items() if isinstance(value, str) and value.zfill(len(number)) == number)
    return f"{item}/{name}" if (name := next(named, None)) else item


def _unknown_organisations(plan: SupportPlan, snapshot: Snapshot) -> tuple[QualityFinding, ...]:
    """Name the organisations that carry something of the plan and that this gateway cannot reach."""
    return tuple(
        QualityFinding(
            code="organisation-not-in-directory",
            severity="warning",
            part=organisation.id,
            nl="Deze organisatie staat niet in de adreslijst. Zij krijgt dus niets van dit plan.",
            en="This organisation is not in the directory, so it receives nothing of this plan.",
        )
        for organisation in plan.organisations
        if organisation.id not in snapshot.entries
    )
