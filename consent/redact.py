"""Build the plan that a recipient may see, up from the permitted parts. Nothing is cut out: what is not permitted never gets in."""

from collections.abc import Callable, Iterator, Mapping

from msgspec.structs import replace

from consent.decide import Decision
from consent.index import Recipient
from mappings.plan import (
    Action,
    Actor,
    Agreement,
    AnyPart,
    Identity,
    Label,
    Organisation,
    Provision,
    RecordedBy,
    Relative,
    Safety,
    SupportPlan,
)
from mappings.references import organisations_of

Pseudonym = Callable[[str], str]
"""resident id → the identifier made for one recipient; the same each time, different per recipient."""

_AUTHOR = frozenset({"authored"})
"""Who wrote a relative down may read it back whole; a resident reads of relatives what others read of them."""


def redact(
    plan: SupportPlan, decisions: Mapping[str, Decision], recipient: Recipient, pseudonym: Pseudonym
) -> SupportPlan | None:
    """Return the view: the permitted parts, and of the rest not even a reference; None when nothing is permitted.

    `version` and `changed_at` are left empty for whoever counts this recipient's views. Raises KeyError when a part has no decision.
    """
    seen = {part.id: part for part in plan.parts if decisions[part.id].permitted}
    if not seen:
        return None
    view = _View(plan, seen, recipient, pseudonym)
    parts = tuple(view.rebuilt(part, decisions[part.id]) for part in seen.values())
    is_author = recipient.organisation == plan.source
    return SupportPlan(
        id=plan.id,
        status=plan.status,
        instrument=plan.instrument,
        residents=tuple(view.residents),
        parts=parts,
        organisations=tuple(_named(plan, parts)),
        source=plan.source,
        number=plan.number if is_author else None,
        starts_on=plan.starts_on,
        ends_on=plan.ends_on,
    )


class _View:
    """What is known to the reader while the parts are rebuilt one by one."""

    def __init__(
        self, plan: SupportPlan, seen: Mapping[str, AnyPart], recipient: Recipient, pseudonym: Pseudonym
    ) -> None:
        self.seen = seen
        self.recipient = recipient
        self.pseudonym = pseudonym
        subjects = frozenset(subject for part in seen.values() for subject in part.label.subjects)
        self.residents = [resident for resident in plan.residents if resident in subjects]

    def rebuilt(self, part: AnyPart, decision: Decision) -> AnyPart:
        """Return the part with every reference to something unseen left out."""
        label = self._label(part.label)
        match part:
            case Identity():
                return replace(part, label=label, **self._numbers(part))
            case Relative() if decision.ground not in _AUTHOR:
                return Relative(id=part.id, label=label, relation=part.relation, carer=part.carer, agreed=part.agreed,
                                name=part.name if part.agreed else None)  # fmt: skip
            case Action():
                return replace(part, label=label, owner=self._actor(part.owner), goals=self._goals(part.goals))
            case Provision():
                return replace(part, label=label, goals=self._goals(part.goals))
            case Safety():
                owner, watched_by = (self._actor(actor) if actor else None for actor in (part.owner, part.watched_by))
                return replace(part, label=label, owner=owner, watched_by=watched_by)
            case Agreement():
                return replace(part, label=label, by=self._actor(part.by))
            case _:
                return replace(part, label=label)

    def _label(self, label: Label) -> Label:
        recorder = label.recorded_by
        return Label(
            subjects=label.subjects,
            domain=label.domain,
            law=label.law,
            sensitivity=label.sensitivity,
            mentioned=tuple([part_id for part_id in label.mentioned if part_id in self.seen]),
            speaker=self._actor(label.speaker) if label.speaker else None,
            recorded_by=recorder if recorder and self._is_reader(recorder) else None,
        )

    def _is_reader(self, recorder: RecordedBy) -> bool:
        return recorder.organisation == self.recipient.organisation

    def _actor(self, actor: Actor) -> Actor:
        """Keep who it is only where the reader sees that person; an organisation is named by the part itself."""
        known = actor.type == "organisation" or actor.ref in self.seen or actor.ref in self.residents
        return actor if known else Actor(type=actor.type)

    def _goals(self, goals: tuple[str, ...]) -> tuple[str, ...]:
        return tuple([goal for goal in goals if goal in self.seen])

    def _numbers(self, part: Identity) -> dict[str, str | None]:
        """A BSN leaves only under an article; consent cannot make it lawful. Everybody else gets a number of their own."""
        if self.recipient.bsn_article or self.recipient.resident == part.resident:
            return {"bsn": part.bsn, "pseudonym": None}
        return {"bsn": None, "pseudonym": self.pseudonym(part.resident)}


def _named(plan: SupportPlan, parts: tuple[AnyPart, ...]) -> Iterator[Organisation]:
    """Yield the organisations that the visible parts name, and the plan's own source."""
    named = frozenset(organisation for part in parts for organisation in organisations_of(part)) | {plan.source}
    named |= {part.label.recorded_by.organisation for part in parts if part.label.recorded_by}
    yield from (organisation for organisation in plan.organisations if organisation.id in named)
