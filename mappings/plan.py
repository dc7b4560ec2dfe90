"""The one noun that travels: `SupportPlan`, frozen and typed.

A plan is a header without personal content, and parts. Everything that a resident may share or withhold is a part, and every part
carries the same `Label`; a part's `kind` is its wire tag. Parts refer to each other by id, to residents by their opaque id.
Order within `parts` is the order of the plan: the first goal is the first to work on.

Source of the parts: the Dutch instruments named in the README of each format, and the Wmo 2015 and Jeugdwet plans.
"""

from datetime import date, datetime

import msgspec
from msgspec import Struct

from mappings.codes import (
    ActionStatus,
    ActorType,
    Delivery,
    Domain,
    Gender,
    GoalStatus,
    Kind,
    Law,
    OrganisationKind,
    PlanStatus,
    ProvisionStatus,
    Relation,
    SafetyAspect,
    Sensitivity,
    TeamRole,
    Term,
)


class Record(
    Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True, gc=False
):
    """A frozen record whose wire form is camelCase JSON without defaults. It is a tree, so no collector need walk it."""


class Actor(Record, frozen=True):
    """Somebody who speaks or acts.

    `ref` is a resident id, a `household` part id (relative), a `team` part id (professional) or an organisation id, by `type`;
    absent where the reader may not know who it is.
    """

    type: ActorType
    ref: str | None = None


class RecordedBy(Record, frozen=True):
    """The organisation that wrote a part down, and whether its professional was under a duty of secrecy."""

    organisation: str
    secrecy: bool = False


class Label(Record, frozen=True):
    """What a decision about a part looks at.

    `subjects`: residents of this plan whom the part is about, at least one; each of them decides.
    `mentioned`: `household` part ids of others who occur in it; they do not decide.
    """

    subjects: tuple[str, ...]
    domain: Domain | None = None
    law: Law = "none"
    mentioned: tuple[str, ...] = ()
    sensitivity: Sensitivity = "normal"
    speaker: Actor | None = None
    recorded_by: RecordedBy | None = None


class Part(Record, frozen=True, tag_field="kind"):
    """Anything that can be shared or withheld by itself. `id` is stable across versions and across a hand-over."""

    id: str
    label: Label

    @property
    def kind(self) -> Kind:
        """The wire tag of this part."""
        return self.__struct_config__.tag  # type: ignore[return-value]


class Identity(Part, frozen=True, tag="identity"):
    """Who a resident is. `bsn` leaves only to recipients with an article for it; others get `pseudonym`, made for them."""

    resident: str
    bsn: str | None = None
    pseudonym: str | None = None
    given: str | None = None
    prefix: str | None = None
    family: str | None = None
    birth_date: date | None = None
    gender: Gender | None = None


class Contact(Part, frozen=True, tag="contact"):
    """Where a resident lives and can be reached. `municipality` is the CBS code of four digits."""

    resident: str
    street: str | None = None
    house_number: str | None = None
    postal_code: str | None = None
    city: str | None = None
    municipality: str | None = None
    phone: str | None = None
    email: str | None = None


class Relative(Part, frozen=True, tag="household"):
    """Somebody in the household or network who is not a resident of this plan.

    Others see the relation; the name only when this person `agreed`; `phone` and `email` never.
    """

    relation: Relation
    name: str | None = None
    carer: bool = False
    agreed: bool = False
    phone: str | None = None
    email: str | None = None


class TeamMember(Part, frozen=True, tag="team"):
    """A professional or volunteer around the resident; `organisation` is an organisation id."""

    role: TeamRole
    name: str | None = None
    function: str | None = None
    organisation: str | None = None
    coordinator: bool = False
    fixed_contact: bool = False
    starts_on: date | None = None
    ends_on: date | None = None


class Statement(Part, frozen=True):
    """Literal words of a speaker (`label.speaker`), since when, and what follows from it."""

    text: str
    since: date | None = None
    consequence: str | None = None


class Occasion(Statement, frozen=True, tag="occasion"):
    """Why the plan was made, in the resident's own words."""


class SupportQuestion(Statement, frozen=True, tag="support-question"):
    """What the resident asks for, per life domain."""


class Strength(Statement, frozen=True, tag="strength"):
    """What goes well."""


class Worry(Statement, frozen=True, tag="worry"):
    """What does not go well."""


class Analysis(Statement, frozen=True, tag="analysis"):
    """Situation, coherence and patterns as the team and the resident see them."""


class DesiredResult(Statement, frozen=True, tag="desired-result"):
    """The effect that is agreed upon."""


class Signal(Statement, frozen=True, tag="signal"):
    """Something noticed that may change the plan; `since` is the day it was noticed."""


class EarlierHelp(Part, frozen=True, tag="earlier-help"):
    """Which help was given before, by whom, when, with what result."""

    text: str
    by: str | None = None
    starts_on: date | None = None
    ends_on: date | None = None
    result: str | None = None


class Goal(Part, frozen=True, tag="goal"):
    """A wanted situation; `label.speaker` is who wants it."""

    text: str
    status: GoalStatus = "active"
    term: Term | None = None
    starts_on: date | None = None
    due_on: date | None = None


class Action(Part, frozen=True, tag="action"):
    """Who does what, when, for which goals (`goals` are part ids)."""

    text: str
    owner: Actor
    goals: tuple[str, ...] = ()
    status: ActionStatus = "requested"
    status_reason: str | None = None
    starts_on: date | None = None
    due_on: date | None = None
    frequency: str | None = None


class Volume(Record, frozen=True):
    """How much of a provision: 3 `hours` per `week`. Units and rhythms are the source's own words."""

    value: int
    unit: str
    per: str | None = None


class Provision(Part, frozen=True, tag="provision"):
    """A general provision, or an `individual` one (maatwerk); `provider` is an organisation id, `goals` are part ids."""

    text: str
    individual: bool = False
    status: ProvisionStatus = "requested"
    delivery: Delivery | None = None
    provider: str | None = None
    goals: tuple[str, ...] = ()
    starts_on: date | None = None
    ends_on: date | None = None
    volume: Volume | None = None


class Evaluation(Part, frozen=True, tag="evaluation"):
    """A moment to look back; `outcome` once it has taken place."""

    planned_on: date
    held_on: date | None = None
    outcome: str | None = None


class Score(Part, frozen=True, tag="score"):
    """One measurement on a `scale` (a code of the instrument), from the perspective of `label.speaker`."""

    scale: str
    value: int
    measured_on: date | None = None


class Safety(Part, frozen=True, tag="safety"):
    """A statement or agreement of a safety plan, by `aspect`; `value` is the 0–10 scale. Shared only when named."""

    aspect: SafetyAspect
    text: str | None = None
    value: int | None = None
    owner: Actor | None = None
    place: str | None = None
    starts_on: date | None = None
    due_on: date | None = None
    watched_by: Actor | None = None
    consequence: str | None = None


class Agreement(Part, frozen=True, tag="agreement"):
    """Who agreed or refused, when; `view` is what they want to add."""

    by: Actor
    on: date
    agreed: bool = True
    view: str | None = None


class FormalDecision(Part, frozen=True, tag="decision"):
    """The decision (beschikking) of the municipality; objection terms run from `decided_on`."""

    reference: str
    text: str | None = None
    decided_on: date | None = None
    starts_on: date | None = None
    ends_on: date | None = None


AnyPart = (
    Identity
    | Contact
    | Relative
    | TeamMember
    | Occasion
    | SupportQuestion
    | Strength
    | Worry
    | EarlierHelp
    | Analysis
    | DesiredResult
    | Goal
    | Action
    | Provision
    | Evaluation
    | Score
    | Safety
    | Agreement
    | FormalDecision
    | Signal
)


class Identifier(Record, frozen=True):
    """A business identifier; `system` is a URI of `mappings.identifiers`."""

    system: str
    value: str


class Organisation(Record, frozen=True):
    """An organisation that the plan names."""

    id: str
    name: str
    kind: OrganisationKind | None = None
    identifiers: tuple[Identifier, ...] = ()


class SupportPlan(Record, frozen=True):
    """A plan, or one recipient's view of it.

    `version` and `changed_at` count changes of what the reader can see. `number` is the source's own plan number, for its author only.
    """

    id: str
    status: PlanStatus
    residents: tuple[str, ...]
    parts: tuple[AnyPart, ...]
    instrument: str
    version: int = 0
    changed_at: datetime | None = None
    source: str | None = None
    number: str | None = None
    starts_on: date | None = None
    ends_on: date | None = None
    organisations: tuple[Organisation, ...] = ()


PLAN_TO_JSON = msgspec.json.Encoder(order="deterministic")
JSON_TO_PLAN = msgspec.json.Decoder(SupportPlan)


def identity_id(resident: str) -> str:
    """Return the part id of a resident's identity: with `contact_id`, the two parts that FHIR keeps in one Patient."""
    return f"{resident}.identity"


def contact_id(resident: str) -> str:
    """Return the part id of a resident's contact details."""
    return f"{resident}.contact"
