"""The tables. Columns that can be searched hold codes, moments and opaque ids only; what a plan says is sealed in `body`."""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Dialect,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

DeliveryState = Literal[
    "planned",
    "queued",
    "sent",
    "acknowledged",
    "waiting",
    "withheld",
    "unchanged",
    "superseded",
    "parked",
    "recalled",
]
DELIVERY_STATES: tuple[DeliveryState, ...] = get_args(DeliveryState)
GROUNDS = (
    "consent",
    "statutory-task",
    "legal-obligation",
    "reporting-right",
    "vital-interest",
    "own-data",
    "authored",
)


class Moment(TypeDecorator[datetime]):
    """An aware UTC moment, kept as microseconds since 1970: the same value and order in both databases."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Turn an aware moment into microseconds."""
        return None if value is None else (value - _EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Turn microseconds into an aware moment."""
        return None if value is None else _EPOCH + timedelta(microseconds=value)


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_is_known")


metadata = MetaData()

meta = Table("meta", metadata, Column("name", String(40), primary_key=True), Column("value", Text, nullable=False))

organisation = Table(
    "organisation",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("body", Text, nullable=False),
    Column("version", Integer, nullable=False),
)

resident_identifier = Table(
    "resident_identifier",
    metadata,
    Column("fingerprint", String(64), primary_key=True),
    Column("resident", String(64), nullable=False, index=True),
)

plan = Table(
    "plan",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("source", String(64), nullable=False, index=True),
    Column("number_fingerprint", String(64), unique=True),
    Column("version", Integer, nullable=False),
)

plan_resident = Table(
    "plan_resident",
    metadata,
    Column("plan", String(64), nullable=False),
    Column("resident", String(64), nullable=False, index=True),
    PrimaryKeyConstraint("plan", "resident"),
)

plan_version = Table(
    "plan_version",
    metadata,
    Column("plan", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("status", String(20), nullable=False),
    Column("format", String(64), nullable=False),
    Column("format_version", String(20), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("source_body", LargeBinary, nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("received_from", String(128), nullable=False),
    PrimaryKeyConstraint("plan", "version"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("client", String(128), nullable=False),
    Column("key", String(255), nullable=False),
    Column("body_fingerprint", String(64), nullable=False),
    Column("plan", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("deliveries", Text, nullable=False),
    Column("at", Moment, nullable=False),
    PrimaryKeyConstraint("client", "key"),
)

inbox = Table(
    "inbox",
    metadata,
    Column("client", String(128), nullable=False),
    Column("message", String(255), nullable=False),
    Column("body_fingerprint", String(64), nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("at", Moment, nullable=False),
    PrimaryKeyConstraint("client", "message"),
)

choices = Table(
    "choices",
    metadata,
    Column("resident", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("at", Moment, nullable=False),
    Column("changed_by", String(128), nullable=False),
    PrimaryKeyConstraint("resident", "version"),
)

choice_resident = Table(
    "choice_resident",
    metadata,
    Column("choice", String(64), primary_key=True),
    Column("resident", String(64), nullable=False),
)
"""Whose a choice is or was: opaque ids only, so that a choice can be found by its own id."""

wakeup = Table(
    "wakeup",
    metadata,
    Column("resident", String(64), nullable=False),
    Column("due_at", Moment, nullable=False),
    PrimaryKeyConstraint("resident", "due_at"),
    Index("wakeup_due", "due_at"),
)

HAS_CODE = text("code IS NOT NULL")
HAS_DATE = text("low IS NOT NULL")
IS_PUT_OFF = text("reason = 'recipient-busy'")
"""The conditions of indexes, and of what uses them, in the same words."""

delivery = Table(
    "delivery",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("plan", String(64), nullable=False),
    Column("plan_version", Integer, nullable=False),
    Column("recipient", String(64), nullable=False),
    Column("lane", String(64), nullable=False),
    Column("adapter", String(20), nullable=False),
    Column("state", String(20), nullable=False),
    Column("reason", String(40)),
    Column("sequence", Integer),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Moment),
    Column("next_attempt_at", Moment),
    Column("parts", Text),
    Column("view_version", Integer),
    Column("receipt", String(64)),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    _one_of("state", DELIVERY_STATES),
    Index("delivery_due", "due_at", "id"),
    Index("delivery_of_lane", "plan", "recipient", "lane"),
    Index("delivery_of_recipient", "recipient", "id"),
    Index("delivery_put_off", "recipient", "id", sqlite_where=IS_PUT_OFF, postgresql_where=IS_PUT_OFF),
)

view = Table(
    "view",
    metadata,
    Column("plan", String(64), nullable=False),
    Column("reader", String(255), nullable=False),
    Column("version", Integer, nullable=False),
    Column("fingerprint", String(64)),
    Column("changed_at", Moment),
    Column("pending_fingerprint", String(64)),
    Column("pending_at", Moment),
    Column("ended", Boolean, nullable=False),
    PrimaryKeyConstraint("plan", "reader"),
)

sequence = Table(
    "sequence",
    metadata,
    Column("recipient", String(64), primary_key=True),
    Column("last", Integer, nullable=False),
)

free_sequence = Table(
    "free_sequence",
    metadata,
    Column("recipient", String(64), nullable=False),
    Column("number", Integer, nullable=False),
    PrimaryKeyConstraint("recipient", "number"),
)

receipt = Table(
    "receipt",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("exit", String(20), nullable=False),
    Column("delivery", String(64)),
    Column("recipient", String(64), nullable=False),
    Column("client", String(128)),
    Column("plan", String(64), nullable=False),
    Column("plan_version", Integer, nullable=False),
    Column("view_version", Integer),
    Column("reader", String(255)),
    Column("sha256", String(64)),
    Column("endpoint", String(64)),
    Column("refused", Boolean, nullable=False),
    Column("code", String(40), nullable=False),
    Column("at", Moment, nullable=False),
    Index("receipt_of_plan", "plan", "recipient"),
    Index("receipt_of_recipient", "recipient", "id"),
    Index("receipt_of_delivery", "delivery"),
)

receipt_ground = Table(
    "receipt_ground",
    metadata,
    Column("receipt", String(64), nullable=False),
    Column("position", Integer, nullable=False),
    Column("ground", String(40), nullable=False),
    Column("article", String(120), nullable=False),
    Column("choices", Text, nullable=False),
    Column("parts", Text, nullable=False),
    PrimaryKeyConstraint("receipt", "position"),
    ForeignKeyConstraint(["receipt"], ["receipt.id"]),
    _one_of("ground", GROUNDS),
)
"""What left on one ground: `parts` are [id, kind, domain] each. Parts cannot be written without a ground."""

used_assertion = Table(
    "used_assertion",
    metadata,
    Column("client", String(128), nullable=False),
    Column("jti", String(64), nullable=False),
    Column("expires_at", Moment, nullable=False),
    PrimaryKeyConstraint("client", "jti"),
    Index("used_assertion_expiry", "expires_at"),
)

fhir_reader = Table(
    "fhir_reader",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("reader", String(255), nullable=False, unique=True),
    Column("organisation", String(64), nullable=False, index=True),
    Column("basis", String(64), nullable=False),
)
"""Who searches. `basis`: the keyed hash of what else a decision rests on: how the directory describes the reader, and the grounds."""

fhir_stale = Table(
    "fhir_stale",
    metadata,
    Column("reader", Integer, nullable=False),
    Column("plan", String(64), nullable=False),
    Column("mark", String(64), nullable=False),
    PrimaryKeyConstraint("reader", "plan"),
)
"""What a reader's index no longer tells right: written in the transaction that changes it, removed by who looked again since."""

fhir_view = Table(
    "fhir_view",
    metadata,
    Column("reader", Integer, nullable=False),
    Column("plan", String(64), nullable=False),
    Column("fingerprint", String(80), nullable=False),
    Column("expires_at", Moment),
    PrimaryKeyConstraint("reader", "plan"),
    Index("fhir_view_of_plan", "plan"),
    Index("fhir_view_expiry", "reader", "expires_at"),
)
"""What a reader's index holds of a plan. `expires_at`: when the answer may change by itself."""

fhir_resource = Table(
    "fhir_resource",
    metadata,
    Column("key", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("reader", Integer, nullable=False),
    Column("type", String(32), nullable=False),
    Column("id", String(64), nullable=False),
    Column("name", BigInteger, nullable=False),
    Column("plan", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    UniqueConstraint("reader", "type", "id"),
    Index("fhir_resource_named", "reader", "name"),
    Index("fhir_resource_in_order", "reader", "type", "key"),
    Index("fhir_resource_changed", "reader", "type", "changed_at", "key"),
    Index("fhir_resource_of_plan", "reader", "plan"),
)
"""The resources that a reader may see: no more than that they are there. `plan` is the one that a resource is read from."""

fhir_share = Table(
    "fhir_share",
    metadata,
    Column("reader", Integer, nullable=False),
    Column("type", String(32), nullable=False),
    Column("id", String(64), nullable=False),
    Column("plan", String(64), nullable=False),
    PrimaryKeyConstraint("reader", "type", "id", "plan"),
    Index("fhir_share_of_plan", "reader", "plan"),
)
"""Which plans show a resource that stands in more than one: a resident, a household, an organisation."""

fhir_value = Table(
    "fhir_value",
    metadata,
    Column("resource", BigInteger, nullable=False),
    Column("reader", Integer, nullable=False),
    Column("field", Integer, nullable=False),
    Column("system", BigInteger),
    Column("code", BigInteger),
    Column("low", BigInteger),
    Column("high", BigInteger),
    Index("fhir_value_found", "reader", "field", "code", "resource", sqlite_where=HAS_CODE, postgresql_where=HAS_CODE),
    Index("fhir_value_dated", "reader", "field", "low", "resource", sqlite_where=HAS_DATE, postgresql_where=HAS_DATE),
    Index("fhir_value_of_resource", "resource", "field"),
)
"""What a resource is found by: codes, references (their target as `code`) and dates, all as numbers (`gateway.store.words`)."""

keys_metadata = MetaData()

data_key = Table(
    "data_key",
    keys_metadata,
    Column("id", String(64), primary_key=True),
    Column("subjects", Text, nullable=False, unique=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("made_on", Date, nullable=False),
)
