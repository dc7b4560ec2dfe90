"""Receipts: what left, or was refused, to whom, on which ground. A part without a ground cannot be written."""

import json
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, delete, insert, select, update

from gateway.store.tables import receipt, receipt_part


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


def add_receipt(tx: Connection, row: ReceiptRow) -> None:
    """Keep a receipt with its parts."""
    tx.execute(insert(receipt).values({name: getattr(row, name) for name in row.__struct_fields__ if name != "parts"}))
    if row.parts:
        tx.execute(insert(receipt_part), [_part(row.id, line) for line in row.parts])


def settle_receipt(tx: Connection, receipt_id: str, code: str) -> None:
    """Say how a disclosure that had begun has ended."""
    tx.execute(update(receipt).where(receipt.c.id == receipt_id).values(code=code))


def drop_receipt(tx: Connection, receipt_id: str) -> None:
    """Remove the receipt of a disclosure that turned out not to have left: the connection was never made."""
    tx.execute(delete(receipt_part).where(receipt_part.c.receipt == receipt_id))
    tx.execute(delete(receipt).where(receipt.c.id == receipt_id))


def list_receipts(
    tx: Connection, *, plan: str | None, recipient: str | None, sources: frozenset[str] | None, after: str, limit: int
) -> tuple[ReceiptRow, ...]:
    """Return receipts in the order of their ids, `after` left out; `sources` limits them to plans of these organisations."""
    query = select(receipt).where(receipt.c.id > after).order_by(receipt.c.id).limit(limit)
    if plan is not None:
        query = query.where(receipt.c.plan == plan)
    if recipient is not None:
        query = query.where(receipt.c.recipient == recipient)
    if sources is not None:
        from gateway.store.tables import plan as plans  # noqa: PLC0415 - the parameter has the table's name

        query = query.where(receipt.c.plan.in_(select(plans.c.id).where(plans.c.source.in_(sources))))
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
