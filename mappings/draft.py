"""What a document becomes when it is read: a plan under draft ids, the way back into the document, and what found no place."""

from msgspec import Struct

from mappings.plan import SupportPlan


class Loss(Struct, frozen=True, kw_only=True):
    """A leaf of the document that the plan does not carry. `pointer` is RFC 6901; `reason` a code: `not-mapped`."""

    pointer: str
    reason: str


class Draft(Struct, frozen=True, kw_only=True):
    """A plan whose ids are draft ids, unique in the document: `<scope>:<key in the document>`, such as `goal:1`.

    The scope of a part is its kind; residents and organisations have the scopes `resident` and `organisation`. A part without
    a key in the document gets `<kind>:~<hash of its content>`, the same at every reading of the same content.

    `pointers`: draft id of a part, resident or organisation → RFC 6901 pointer into the document.
    `references`: draft id of a resident → its key in the document.
    """

    plan: SupportPlan
    pointers: dict[str, str]
    references: dict[str, str]
    loss: tuple[Loss, ...]
