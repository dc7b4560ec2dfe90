"""Receipts: what left, or was refused, to whom, on which ground. A part without a ground cannot be written."""

import json
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, and_, bindparam, delete, insert, or_, select, update

from gateway.store.tables import plan, receipt, receipt_part


class PartLine(Struct, frozen=True, kw_only=True, rename="camel"):
    """One part that left, with the ground on which it left."""

    part_id: str
    kind: str
    domain: str | None
    ground: str
    article: str
    choices: tuple[tuple[str, int], ...]


class ReceiptRow(Struct, frozen=True, kw_only=True):
    """One disclosure or refusal. `exit` is how: delivery, read, view; `code` is how it ended or why it was refused."""

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
    sha256: str | None = None
    endpoint: str | None = None
    parts: tuple[PartLine, ...] = ()


_SETTLE = update(receipt).where(receipt.c.id == bindparam("key")).values(code=bindparam("as_code"))
_ADD = insert(receipt)
_ADD_PARTS = insert(receipt_part)


def add_receipt(tx: Connection, row: ReceiptRow) -> None:
    """Keep a receipt with its parts."""
    tx.execute(_ADD, {name: getattr(row, name) for name in row.__struct_fields__ if name != "parts"})
    if row.parts:
        tx.execute(_ADD_PARTS, [_part(row.id, line) for line in row.parts])


def settle_receipt(tx: Connection, receipt_id: str, code: str) -> None:
    """Say how a disclosure that had begun has ended."""
    tx.execute(_SETTLE, {"key": receipt_id, "as_code": code})


_LEFT = select(receipt.c.id).where(receipt.c.delivery == bindparam("of_delivery")).limit(1)


def has_left(tx: Connection, delivery_id: str) -> bool:
    """Say whether bytes of a delivery left, or may have: then there is a receipt."""
    return tx.execute(_LEFT, {"of_delivery": delivery_id}).first() is not None


def drop_receipt(tx: Connection, receipt_id: str) -> None:
    """Remove the receipt of a disclosure that turned out not to have left: the connection was never made."""
    tx.execute(delete(receipt_part).where(receipt_part.c.receipt == receipt_id))
    tx.execute(delete(receipt).where(receipt.c.id == receipt_id))


def list_receipts(
    tx: Connection, *, plan_id: str | None, recipient: str | None, viewer: str | None, after: str, limit: int
) -> tuple[ReceiptRow, ...]:
    """Return receipts in the order of their ids, `after` left out.

    `viewer` limits them to what an organisation may know of: those of its plans, and what it received or read itself; of a refusal
    the refused would learn that there is something.
    """
    query = select(receipt).where(receipt.c.id > after).order_by(receipt.c.id).limit(limit)
    if plan_id is not None:
        query = query.where(receipt.c.plan == plan_id)
    if recipient is not None:
        query = query.where(receipt.c.recipient == recipient)
    if viewer is not None:
        of_its_plans = receipt.c.plan.in_(select(plan.c.id).where(plan.c.source == viewer))
        query = query.where(or_(of_its_plans, and_(receipt.c.recipient == viewer, receipt.c.refused.is_(False))))
    rows = tx.execute(query).all()
    parts = _parts(tx, [row.id for row in rows])
    return tuple(ReceiptRow(**row._mapping, parts=parts.get(row.id, ())) for row in rows)  # noqa: SLF001


def _part(receipt_id: str, line: PartLine) -> dict[str, Any]:
    return {
        "receipt": receipt_id,
        "part": line.part_id,
        "kind": line.kind,
        "domain": line.domain,
        "ground": line.ground,
        "article": line.article,
        "choices": json.dumps(line.choices),
    }


def _parts(tx: Connection, receipt_ids: list[str]) -> dict[str, tuple[PartLine, ...]]:
    found: dict[str, list[PartLine]] = {}
    for row in tx.execute(select(receipt_part).where(receipt_part.c.receipt.in_(receipt_ids))):
        choices = tuple((choice, version) for choice, version in json.loads(row.choices))
        line = PartLine(part_id=row.part, kind=row.kind, domain=row.domain, ground=row.ground, article=row.article,
                        choices=choices)  # fmt: skip
        found.setdefault(row.receipt, []).append(line)
    return {key: tuple(lines) for key, lines in found.items()}
