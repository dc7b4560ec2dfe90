"""What a reader sees of a plan now: load, decide, redact. Every exit comes through here, and here asks `decide`.

Nothing is cached about the answer. Compiled choices are kept per version, and the version is read anew for every look.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from consent.catalogue import EnabledGround
from consent.decide import Decision, ReasonCode, decide_all, open_case
from consent.index import ChoiceIndex, Recipient
from consent.redact import redact
from gateway.callers import Caller
from gateway.clock import Clock
from gateway.seal import MasterKey
from gateway.store import choices as choice_rows
from gateway.store import plans as plan_rows
from gateway.store import views
from gateway.store.engine import Store, Transaction
from gateway.store.receipts import PartLine
from gateway.store.views import Disclosure, ViewState
from gateway.vault import Vault
from mappings.codes import Purpose
from mappings.plan import PLAN_TO_JSON, SupportPlan, contact_id, identity_id
from mappings.references import renamed

PLANS_IN_HAND = 1_000
INDEXES_IN_HAND = 10_000
"""How many opened plans and compiled sets of choices are kept in memory; the oldest make room."""


class Reader(Struct, frozen=True, kw_only=True):
    """Who looks, and for what. Each has a view, with a version, of its own."""

    recipient: Recipient
    purpose: Purpose

    @property
    def key(self) -> str:
        """The name under which this reader's views are counted."""
        who = self.recipient
        return "/".join((who.organisation, self.purpose, who.role or "", who.person or ""))


def reader_for(caller: Caller) -> Reader:
    """Return a caller as somebody who looks."""
    return Reader(recipient=caller.recipient, purpose=caller.client.purpose)


class Look(Struct, frozen=True, kw_only=True):
    """One reader's look at one plan version, the `whole`. `plan` is the view, or None when there is nothing to see.

    `shown` is the view under the ids that this reader knows: its residents have the numbers that were made for it.
    `choice_versions` are the versions that were looked at: whoever discloses checks that they still hold.
    """

    whole: SupportPlan
    reader: Reader
    decisions: Mapping[str, Decision]
    plan: SupportPlan | None
    shown: SupportPlan | None
    fingerprint: str
    choice_versions: Mapping[str, int]

    @property
    def permitted(self) -> frozenset[str]:
        """The ids of the parts in the view."""
        return frozenset(part.id for part in self.plan.parts) if self.plan else frozenset()

    @property
    def reason(self) -> ReasonCode:
        """Why there is nothing to see: the reason that most parts share, objections first."""
        codes = [decision.code for decision in self.decisions.values() if not decision.permitted]
        return "objection" if "objection" in codes else max(sorted(set(codes)), key=codes.count, default="no-choice")

    def stamped(self, state: ViewState) -> SupportPlan:
        """Return the view with its reader's own version and date. Raises ValueError when there is nothing to see."""
        if self.shown is None:
            raise ValueError("nothing to see")
        return replace(self.shown, version=state.version, changed_at=state.changed_at)

    def disclosed_as(self, state: ViewState) -> Disclosure:
        """Return the view as what is counted when it goes out or is read."""
        return Disclosure(plan=self.whole.id, reader=self.reader.key, fingerprint=self.fingerprint, state=state)

    def lines(self) -> tuple[PartLine, ...]:
        """Return what a receipt of this view says per part."""
        if self.plan is None:
            return ()
        return tuple(_line(part.id, part.kind, part.label.domain, self.decisions[part.id]) for part in self.plan.parts)


class Sight:
    """Looks at plans with the eyes of a reader."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        master: MasterKey,
        clock: Clock,
        grounds: tuple[EnabledGround, ...],
        *,
        signed_is_decision: bool,
    ) -> None:
        self._store = store
        self._vault = vault
        self._master = master
        self._clock = clock
        self.grounds = grounds
        self._signed_is_decision = signed_is_decision
        self._indexes: OrderedDict[str, ChoiceIndex] = OrderedDict()
        self._opened: OrderedDict[tuple[str, int], SupportPlan] = OrderedDict()

    async def load(self, plan_id: str, version: int | None = None) -> SupportPlan | None:
        """Open a version of a plan, by default the current one; None when there is no such plan."""
        if version is None:
            row = await self._store.read(lambda tx: plan_rows.plan_by_id(tx, plan_id))
            if row is None:
                return None
            version = row.version
        return self._opened.get((plan_id, version)) or await self._open(plan_id, version)

    def keep_in_hand(self, plan: SupportPlan) -> None:
        """Keep an opened version for a while: it never changes, and its deliveries come together."""
        self._opened[plan.id, plan.version] = plan
        _forget_oldest(self._opened, PLANS_IN_HAND)

    async def _open(self, plan_id: str, version: int) -> SupportPlan | None:
        stored = await self._store.read(lambda tx: plan_rows.version_of(tx, plan_id, version))
        plan = await self._vault.open_plan(plan_id, version, stored.body) if stored else None
        if plan is not None:
            self.keep_in_hand(plan)
        return plan

    async def choices_of(self, residents: Iterable[str], *, fresh: bool = True) -> dict[str, ChoiceIndex]:
        """Return the compiled choices of residents as they are now; compiled once per version.

        Without `fresh` they may be as they were: only for who checks the versions in the transaction that acts on them.
        """
        wanted = tuple(residents)
        known = {who: self._indexes[who] for who in wanted if who in self._indexes}
        if not fresh and len(known) == len(wanted):
            return known
        versions = await self._store.read(lambda tx: choice_rows.choice_versions(tx, wanted))
        stale = [who for who in wanted if who not in known or known[who].version != versions[who]]
        return known | await self._compiled(stale) if stale else known

    async def look(
        self, plan: SupportPlan, reader: Reader, *, within: frozenset[str] | None = None, fresh: bool = True
    ) -> Look:
        """Decide about every part and build the view. `within`: what an earlier attempt carried, which may narrow, never widen.

        Without `fresh` the choices may be as they were, and whoever discloses what was seen checks `choice_versions`.
        """
        choices = await self.choices_of(plan.residents, fresh=fresh)
        case = open_case(
            plan,
            reader.recipient,
            reader.purpose,
            choices,
            self.grounds,
            self._clock.now(),
            signed_is_decision=self._signed_is_decision,
        )
        decisions = decide_all(plan, case)
        if within is not None:
            decisions = {part_id: _narrowed(decision, within) for part_id, decision in decisions.items()}
        view = redact(plan, decisions, reader.recipient, lambda who: self.pseudonym(reader, who))
        shown = self._shown(view, reader) if view else None
        return Look(
            whole=plan,
            reader=reader,
            decisions=decisions,
            plan=view,
            shown=shown,
            fingerprint=self.fingerprint(shown) if shown else "",
            choice_versions={resident: index.version for resident, index in choices.items()},
        )

    def still_holds(self, tx: Transaction, look: Look) -> bool:
        """Say, inside the transaction that discloses, whether the plan's residents have said nothing new since the look."""
        return choice_rows.choice_versions(tx, look.choice_versions) == look.choice_versions

    def stamped(self, tx: Transaction, look: Look) -> tuple[SupportPlan, ViewState]:
        """Return the view with its own version and date. Raises ValueError when there is nothing to see."""
        state = views.look(tx, look.whole.id, look.reader.key, look.fingerprint, self._clock.now())
        return look.stamped(state), state

    def pseudonym(self, reader: Reader, resident: str) -> str:
        """Return the number by which this reader's organisation knows a resident."""
        return self._master.pseudonym(reader.recipient.organisation, resident)

    def _shown(self, view: SupportPlan, reader: Reader) -> SupportPlan:
        """Name residents as this reader knows them; the team that made the plan knows them by the gateway's own ids."""
        if reader.recipient.organisation == view.source:
            return view
        names = {resident: self.pseudonym(reader, resident) for resident in view.residents}
        for resident, number in tuple(names.items()):
            names[identity_id(resident)], names[contact_id(resident)] = identity_id(number), contact_id(number)
        return renamed(view, names)

    def fingerprint(self, plan: SupportPlan) -> str:
        """Return the keyed hash of what a plan or a view says."""
        return self._master.fingerprint("content", PLAN_TO_JSON.encode(plan).decode())

    async def _compiled(self, residents: list[str]) -> dict[str, ChoiceIndex]:
        found = await self._store.read(lambda tx: choice_rows.current_choices(tx, residents))
        made: dict[str, ChoiceIndex] = {}
        for resident in residents:
            row = found.get(resident)
            opened = await self._vault.open_choices(resident, row.version, row.body) if row else ()
            made[resident] = ChoiceIndex(opened, row.version if row else 0)
        self._indexes |= made
        _forget_oldest(self._indexes, INDEXES_IN_HAND)
        return made


def _forget_oldest(kept: OrderedDict[Any, Any], most: int) -> None:
    while len(kept) > most:
        kept.popitem(last=False)


def _narrowed(decision: Decision, within: frozenset[str]) -> Decision:
    if decision.permitted and decision.part_id not in within:
        return Decision(part_id=decision.part_id, permitted=False, code="no-choice")
    return decision


def _line(part_id: str, kind: str, domain: str | None, decision: Decision) -> PartLine:
    """Return a receipt's line; a permitted decision without a ground cannot be, and the database would refuse it."""
    return PartLine(
        part_id=part_id,
        kind=kind,
        domain=domain,
        ground=decision.ground or "",
        article=decision.article or "",
        choices=tuple((choice.id, choice.version) for choice in decision.choices),
    )
