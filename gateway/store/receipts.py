"""Receipts: what left, or was refused, to whom, on which ground. A part without a ground cannot be written."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import String, and_, bindparam, delete, insert, or_, select, update

from gateway.store.engine import Transaction
from gateway.store.statements import one_of
from gateway.store.tables import plan, receipt, receipt_ground


class PartLine(Struct, frozen=True, kw_only=True, rename="camel"):
    """One part that left, with the ground on which it left."""

    part_id: str
    kind: str
    domain: str | None
    ground: str
    article: str
    choices: tuple[tuple[str, int], ...]


class ReceiptRow(Struct, frozen=True, kw_only=True):
    """One disclosure or refusal. `exit` is how: delivery, read, search, history; `code` is how it ended or why it was refused.

    `reader` is whose `view_version` it is.
    """

    id: str
    exit: str
    recipient: str
    plan: str
    plan_version: int
    refused: bool
    code: str
    at: datetime
    delivery: str | None = None
    client: str | None = None
    view_version: int | None = None
    reader: str | None = None
    sha256: str | None = None
    endpoint: str | None = None
    parts: tuple[PartLine, ...] = ()


_ADD = insert(receipt)
_ADD_GROUNDS = insert(receipt_ground)
_SETTLE = update(receipt).where(receipt.c.id == bindparam("key")).values(code=bindparam("as_code"))
_LEFT = select(receipt.c.id).where(receipt.c.delivery == bindparam("of_delivery")).limit(1)
_DROP = delete(receipt).where(receipt.c.id == bindparam("key"))
_DROP_GROUNDS = delete(receipt_ground).where(receipt_ground.c.receipt == bindparam("key"))
_GROUNDS = (
    select(receipt_ground)
    .where(one_of(receipt_ground.c.receipt, "receipts"))
    .order_by(receipt_ground.c.receipt, receipt_ground.c.position)
)
_OF_ITS_PLANS = receipt.c.plan.in_(select(plan.c.id).where(plan.c.source == bindparam("viewer")))
_KNOWN = or_(
    bindparam("viewer", type_=String()).is_(None),
    _OF_ITS_PLANS,
    and_(receipt.c.recipient == bindparam("viewer"), receipt.c.refused.is_(False)),
)
"""What a viewer may know of."""

_PAGE = (
    select(receipt)
    .where(
        receipt.c.id > bindparam("after"),
        or_(bindparam("to", type_=String()).is_(None), receipt.c.recipient == bindparam("to", type_=String())),
        _KNOWN,
    )
    .order_by(receipt.c.id)
    .limit(bindparam("most"))
)
_PAGE_OF_PLAN = _PAGE.where(receipt.c.plan == bindparam("of_plan"))
_ONE = select(receipt).where(receipt.c.id == bindparam("key"), _KNOWN)

_GIVEN = (
    select(receipt)
    .where(
        receipt.c.plan == bindparam("of_plan"),
        receipt.c.recipient == bindparam("to"),
        receipt.c.reader == bindparam("by_reader"),
        receipt.c.view_version.is_not(None),
        receipt.c.refused.is_(False),
    )
    .order_by(receipt.c.id)
)

_CHOICES = msgspec.json.Decoder(tuple[tuple[str, int], ...])
_PARTS = msgspec.json.Decoder(list[tuple[str, str, str | None]])


def add_receipts(tx: Transaction, rows: Sequence[ReceiptRow]) -> None:
    """Keep receipts with their parts."""
    if not rows:
        return
    names = [name for name in ReceiptRow.__struct_fields__ if name != "parts"]
    tx.execute(_ADD, [{name: getattr(row, name) for name in names} for row in rows])
    grounds = [made for row in rows for made in _grounds_of(row)]
    if grounds:
        tx.execute(_ADD_GROUNDS, grounds)


def settle_receipts(tx: Transaction, settled: Iterable[tuple[str, str]]) -> None:
    """Say how disclosures that had begun have ended, each (receipt id, code)."""
    rows = [{"key": receipt_id, "as_code": code} for receipt_id, code in settled]
    if rows:
        tx.execute(_SETTLE, rows)


def has_left(tx: Transaction, delivery_id: str) -> bool:
    """Say whether bytes of a delivery left, or may have: then there is a receipt."""
    return bool(tx.execute(_LEFT, {"of_delivery": delivery_id}).all())


def drop_receipt(tx: Transaction, receipt_id: str) -> None:
    """Remove the receipt of a disclosure that turned out not to have left: the connection was never made."""
    tx.execute(_DROP_GROUNDS, {"key": receipt_id})
    tx.execute(_DROP, {"key": receipt_id})


def given(tx: Transaction, plan_id: str, recipient: str, reader: str) -> tuple[ReceiptRow, ...]:
    """Return every disclosure of a plan to a reader that had a version of its own, oldest first."""
    return _with_parts(tx, tx.execute(_GIVEN, {"of_plan": plan_id, "to": recipient, "by_reader": reader}).all())


def list_receipts(
    tx: Transaction, *, plan_id: str | None, recipient: str | None, viewer: str | None, after: str, limit: int
) -> tuple[ReceiptRow, ...]:
    """Return receipts in the order of their ids, `after` left out.

    `viewer` limits them to what an organisation may know of: those of its plans, and what it received or read itself; of a refusal
    the refused would learn that there is something.
    """
    asked = {"of_plan": plan_id, "to": recipient, "viewer": viewer, "after": after, "most": limit}
    rows = tx.execute(_PAGE if plan_id is None else _PAGE_OF_PLAN, asked).all()
    return _with_parts(tx, rows)


def receipt_by_id(tx: Transaction, receipt_id: str, viewer: str | None) -> ReceiptRow | None:
    """Return a receipt that the viewer may know of, as `list_receipts` has it; None when there is none."""
    found = _with_parts(tx, tx.execute(_ONE, {"key": receipt_id, "viewer": viewer}).all())
    return found[0] if found else None


def _with_parts(tx: Transaction, rows: list[Any]) -> tuple[ReceiptRow, ...]:
    parts = _parts(tx, [row.id for row in rows])
    return tuple(ReceiptRow(**row._asdict(), parts=parts.get(row.id, ())) for row in rows)


def _grounds_of(row: ReceiptRow) -> list[dict[str, Any]]:
    """Return the rows of the grounds on which parts left, each with its parts."""
    grouped: dict[tuple[str, str, tuple[tuple[str, int], ...]], list[tuple[str, str, str | None]]] = {}
    for line in row.parts:
        key = (line.ground, line.article, line.choices)
        grouped.setdefault(key, []).append((line.part_id, line.kind, line.domain))
    return [
        {
            "receipt": row.id,
            "position": position,
            "ground": ground,
            "article": article,
            "choices": msgspec.json.encode(choices).decode(),
            "parts": msgspec.json.encode(parts).decode(),
        }
        for position, ((ground, article, choices), parts) in enumerate(grouped.items())
    ]


def _parts(tx: Transaction, receipt_ids: list[str]) -> dict[str, tuple[PartLine, ...]]:
    found: dict[str, list[PartLine]] = {}
    for row in tx.execute(_GROUNDS, {"receipts": receipt_ids}):
        choices = _CHOICES.decode(row.choices)
        found.setdefault(row.receipt, []).extend(
            PartLine(part_id=part_id, kind=kind, domain=domain, ground=row.ground, article=row.article, choices=choices)
            for part_id, kind, domain in _PARTS.decode(row.parts)
        )
    return {key: tuple(sorted(lines, key=lambda line: line.part_id)) for key, lines in found.items()}
