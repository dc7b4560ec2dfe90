"""Work out what a document will write, before the transaction begins: whose plan it is, who its residents are, which version.

Nothing is written here but data keys; what was read may have changed by the time of writing, and the transaction checks that.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, time
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from consent.voices import AMSTERDAM, amsterdam_day, days_of_change
from consent.writing import findings_of_change
from gateway.batch import Batch
from gateway.callers import Caller
from gateway.clock import Clock
from gateway.directory import Lane, Snapshot
from gateway.errors import Refusal, refusal
from gateway.naming import completed, named
from gateway.routing import concerned, lanes_of
from gateway.seal import MasterKey
from gateway.sight import Look, Sight, reader_for
from gateway.store import plans as rows
from gateway.store import views
from gateway.store.engine import Store
from gateway.store.plans import PlanRow, VersionRow
from gateway.vault import Vault
from mappings.bundle import as_listed
from mappings.draft import Draft, Form
from mappings.errors import Finding, MappingError
from mappings.merge import merged
from mappings.plan import Identity, SupportPlan

TOGETHER = 64
"""Documents that are looked up together, at most."""


class Prepared(Struct, frozen=True, kw_only=True):
    """Everything that the transaction writes, worked out before it begins."""

    plan: SupportPlan
    ids: dict[str, str]
    row: VersionRow | None
    number_fingerprint: str | None
    resident_fingerprints: dict[str, str]
    lanes: tuple[Lane, ...]
    concerned: frozenset[str]
    choice_versions: dict[str, int]
    wakeups: tuple[tuple[str, datetime], ...]


class Preparation:
    """Prepares documents for the intake."""

    def __init__(self, *, store: Store, vault: Vault, sight: Sight, master: MasterKey, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._sight = sight
        self._master = master
        self._clock = clock
        self._by_number: Batch[str, PlanRow | None] = Batch(self._plans_of_numbers, most=TOGETHER)
        self._known_residents: Batch[list[str], dict[str, str]] = Batch(self._residents_of_prints, most=TOGETHER)

    async def prepare(
        self, draft: Draft, body: bytes, form: Form, caller: Caller, snapshot: Snapshot, *, fresh: bool
    ) -> Prepared:
        """Return what to write for this document as things stand now. Raises Refusal when it names a plan that is not the caller's.

        Without `fresh` the residents' choices may be as they were; the transaction that writes checks `choice_versions`.
        """
        number_fingerprint = self._number(draft, caller)
        current = await self._current(draft, number_fingerprint, caller)
        known = await self._sight.load(current.id, current.version) if current else None
        plan_id = current.id if current else self._clock.new_id()
        fingerprints, residents = await self._residents(draft, plan_id, known, self._known_as(known, caller))
        plan, ids = named(
            draft,
            plan_id=plan_id,
            residents=residents,
            snapshot=snapshot,
            source=caller.entry,
            known=frozenset(item.id for item in (*known.parts, *known.organisations)) if known else frozenset(),
            part_id=partial(self._master.part_id, plan_id),
        )
        looked_at: dict[str, int] = {}
        if draft.view_version is not None and known is not None:
            _new_under_new_names(draft, ids)
            look = await self._read_again(draft, known, caller, fresh=fresh)
            looked_at, plan = dict(look.choice_versions), _written_back(plan, look, known, draft, ids, caller, snapshot)
            _only_theirs(known, plan, draft, ids, caller)
        row, plan = await self._next_version(plan, current, known, body, form, caller)
        choices = await self._sight.choices_of(plan.residents, fresh=fresh)
        return Prepared(
            plan=plan,
            ids=ids,
            row=row,
            number_fingerprint=number_fingerprint,
            resident_fingerprints=fingerprints,
            lanes=lanes_of(plan, snapshot, choices, caller.organisation),
            concerned=concerned(plan, snapshot, choices, self._sight.grounds),
            choice_versions={who: index.version for who, index in choices.items()} | looked_at,
            wakeups=self._birthdays(plan),
        )

    async def _current(self, draft: Draft, number_fingerprint: str | None, caller: Caller) -> PlanRow | None:
        """Find the plan that this document is a version of: by (source, its plan number), else by `planId`, else it is new."""
        plan_id = draft.plan.id
        found = await self._by_number.ask(number_fingerprint) if number_fingerprint else None
        if found is None and plan_id:
            found = await self._store.read(lambda tx: rows.plan_by_id(tx, plan_id))
        is_shown = draft.view_version is not None
        if plan_id and (found is None or (found.source != caller.organisation and not is_shown)):
            raise _no_such_plan(draft)
        if plan_id and found is not None and found.id != plan_id:
            remedy = "this plan number belongs to another plan of yours; leave one of the two out"
            raise refusal("document", draft.id_pointer, remedy)
        return found

    def _known_as(self, known: SupportPlan | None, caller: Caller) -> dict[str, str]:
        """Return the residents of the current version by the number that the caller knows them by."""
        if known is None:
            return {}
        reader = reader_for(caller)
        own = {who: who for who in known.residents}
        return own if known.source == caller.organisation else {self._sight.pseudonym(reader, who): who for who in own}

    async def _residents(
        self, draft: Draft, plan_id: str, known: SupportPlan | None, known_as: Mapping[str, str]
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Return (resident id by keyed hash, resident id by draft id); who is new gets an id that is kept with the plan.

        Of the keyed hashes those that are kept already are left out.

        A BSN is the same person everywhere; a reference says who somebody is in one plan only. Raises Refusal: one BSN twice.
        """
        numbers = {part.resident: part.bsn for part in draft.plan.parts if isinstance(part, Identity) and part.bsn}
        by_number = {who: self._master.fingerprint("bsn", number) for who, number in numbers.items()}
        by_reference = {
            who: self._master.fingerprint("resident", plan_id, reference) for who, reference in draft.references.items()
        }
        _each_once(draft, by_number)
        prints = [*by_number.values(), *by_reference.values()]
        found = await self._known_residents.ask(prints)
        kept: dict[str, str] = {}
        residents: dict[str, str] = {}
        for who, reference in draft.references.items():
            before = found.get(by_reference[who]) or known_as.get(reference)
            if who in numbers and before and _number_of(before, known) not in {None, numbers[who]}:
                before = None
            resident = found.get(by_number.get(who, "")) or before or self._clock.new_id()
            residents[who] = resident
            fingerprint = by_number.get(who) or by_reference[who]
            if fingerprint not in found:
                kept[fingerprint] = resident
        return kept, residents

    async def _read_again(self, draft: Draft, known: SupportPlan, caller: Caller, *, fresh: bool) -> Look:
        """Return what the caller sees of the current version. Raises Refusal when that is not what it says it read."""
        reader, version = reader_for(caller), draft.view_version
        look = await self._sight.look(known, reader, fresh=fresh)
        key = (known.id, reader.key)
        row = (await self._store.read(lambda tx: views.rows_of(tx, [key]))).get(key)
        state = views.state_of(row, look.fingerprint, self._clock.now())
        if look.shown is None:
            raise Refusal("stale") if known.source == caller.organisation else _no_such_plan(draft)
        if version and version != state.version:
            raise Refusal("stale")
        return look

    async def _next_version(
        self,
        plan: SupportPlan,
        current: PlanRow | None,
        known: SupportPlan | None,
        body: bytes,
        form: Form,
        caller: Caller,
    ) -> tuple[VersionRow | None, SupportPlan]:
        """Return the row to keep and the plan with its version; no row when it equals the current version."""
        version = current.version if current else 0
        if known is not None and _numbered(plan, version) == known:
            return None, known
        plan = _numbered(plan, version + 1)
        sealed, source_body = await self._vault.seal_plan(plan, body)
        row = VersionRow(
            plan=plan.id,
            version=plan.version,
            status=plan.status,
            format=form.name,
            format_version=form.version,
            fingerprint=self._sight.fingerprint(plan),
            body=sealed,
            source_body=source_body,
            received_at=self._clock.now(),
            received_from=caller.client.client_id,
        )
        return row, plan

    async def _plans_of_numbers(self, numbers: Sequence[str]) -> list[PlanRow | None]:
        found = await self._store.read(lambda tx: rows.plans_by_number(tx, numbers))
        return [found.get(number) for number in numbers]

    async def _residents_of_prints(self, asked: Sequence[list[str]]) -> list[dict[str, str]]:
        prints = {each for some in asked for each in some}
        found = await self._store.read(lambda tx: rows.residents_by_fingerprint(tx, prints))
        return [{each: found[each] for each in some if each in found} for some in asked]

    def _birthdays(self, plan: SupportPlan) -> tuple[tuple[str, datetime], ...]:
        """Return when a birthday changes who decides, as the first moment of that day in the Netherlands."""
        today = amsterdam_day(self._clock.now())
        return tuple(
            (part.resident, datetime.combine(day, time.min, AMSTERDAM))
            for part in plan.parts
            if isinstance(part, Identity) and part.birth_date
            for day in days_of_change((), (part.birth_date,), today)
        )

    def _number(self, draft: Draft, caller: Caller) -> str | None:
        number = draft.plan.number
        return self._master.fingerprint("plan number", caller.organisation, number) if number else None


def _number_of(resident: str, known: SupportPlan | None) -> str | None:
    """Return the BSN that the current version has for a resident."""
    parts = known.parts if known else ()
    return next((part.bsn for part in parts if isinstance(part, Identity) and part.resident == resident), None)


def _written_back(
    plan: SupportPlan,
    look: Look,
    known: SupportPlan,
    draft: Draft,
    ids: Mapping[str, str],
    caller: Caller,
    snapshot: Snapshot,
) -> SupportPlan:
    """Return a view that was edited and sent back as the next version of the whole. Raises Refusal: conflict, with its places."""
    base = completed(look.plan or known, plan.id, caller.entry, snapshot)
    try:
        return merged(as_listed(base), as_listed(plan), known)
    except MappingError as error:
        raise Refusal("conflict", _placed(error.findings, draft, ids)) from error


def _new_under_new_names(draft: Draft, ids: Mapping[str, str]) -> None:
    """Refuse something new under a name that made a part of this plan before, which it would take the place of. Raises Refusal."""
    seen: dict[str, str] = {}
    for part in draft.plan.parts:
        other = seen.setdefault(ids[part.id], part.id)
        if other != part.id:
            new = other if part.id.partition(":")[2] == ids[part.id] else part.id
            remedy = "give what is new a fullUrl with a urn:uuid that was not used before"
            raise refusal("document", draft.pointers.get(new, ""), remedy)


def _only_theirs(known: SupportPlan, plan: SupportPlan, draft: Draft, ids: Mapping[str, str], caller: Caller) -> None:
    """Refuse a change that is not the caller's to make, or that no action can go through. Raises Refusal, with its places."""
    found = _placed(findings_of_change(known, plan, caller.organisation), draft, ids)
    if found:
        raise Refusal("not-yours" if any(each.code == "not-yours" for each in found) else "document", found)


def _placed(findings: Iterable[Finding], draft: Draft, ids: Mapping[str, str]) -> list[Finding]:
    """Return findings about parts with the places of those parts in the document."""
    places = {ids.get(draft_id, draft_id): pointer for draft_id, pointer in draft.pointers.items()}
    return [Finding(pointer=places.get(each.pointer, ""), code=each.code, remedy=each.remedy) for each in findings]


def _no_such_plan(draft: Draft) -> Refusal:
    remedy = "name a plan of your own at this gateway, or none: then it is a new one (in FHIR, POST the CarePlan)"
    return refusal("document", draft.id_pointer, remedy)


def _each_once(draft: Draft, prints: dict[str, str]) -> None:
    """Refuse a document in which two residents are one person."""
    seen: set[str] = set()
    for draft_id, fingerprint in prints.items():
        if fingerprint in seen:
            raise refusal(
                "document", draft.pointers[draft_id], "another resident of this plan has this BSN; correct one of them"
            )
        seen.add(fingerprint)


def _numbered(plan: SupportPlan, version: int) -> SupportPlan:
    return replace(plan, version=version)
