"""What a document becomes when it is read: a plan under draft ids, the way back into the document, and what found no place."""

import re
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from mappings.plan import SupportPlan, contact_id, identity_id
from mappings.references import renamed


class Loss(Struct, frozen=True, kw_only=True):
    """A leaf of the document that the plan does not carry. `pointer` is RFC 6901; `reason` a code: `not-mapped`."""

    pointer: str
    reason: str


class Draft(Struct, frozen=True, kw_only=True):
    """A plan whose ids are draft ids, unique in the document: `<scope>:<key in the document>`, such as `goal:1`.

    The scope of a part is its kind; residents and organisations have the scopes `resident` and `organisation`. A part without
    a key in the document gets `<kind>:~<hash of its content>`, the same at every reading of the same content.

    `pointers`: draft id of a part, resident or organisation → RFC 6901 pointer into the document.
    `references`: draft id of a resident → its key in the document. `id_pointer`: where the document names the plan.
    `view_version`: for a view that was edited and sent back, the version that its writer read (0: not said); None for a whole plan.
    """

    plan: SupportPlan
    pointers: dict[str, str]
    references: dict[str, str]
    loss: tuple[Loss, ...]
    id_pointer: str = "/planId"
    view_version: int | None = None


class Form(Protocol):
    """What reads a plan document: a format, or FHIR. `is_slow`: it takes longer than others should wait for."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def version(self) -> str:
        """Which edition of it reads."""

    @property
    def is_slow(self) -> bool:
        """Whether to read in a thread."""

    def read(self, body: bytes) -> Draft:
        """Return the draft plan in `body`. Raises MappingError."""


def with_plain_ids(plan: SupportPlan) -> SupportPlan:
    """Return a draft's plan with ids that FHIR allows, made from the draft ids: for trying out, where no gateway gives real ones."""
    names = {resident: _plain(resident) for resident in plan.residents}
    for resident, name in list(names.items()):
        names[identity_id(resident)], names[contact_id(resident)] = identity_id(name), contact_id(name)
    for item in (*plan.parts, *plan.organisations):
        names.setdefault(item.id, _plain(item.id))
    return replace(renamed(plan, names), id=plan.id or "draft")


def _plain(draft_id: str) -> str:
    """Keep the characters of an R4 id (hl7.org/fhir/R4/datatypes.html#id), at most 64 of them."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", draft_id)[:64]
