"""Structured logs: an event is a constant with an allow-list of fields, so that no personal value can slip in.

No event carries a name, a BSN, an address, plan text, a token or a payload. A disclosure is a receipt, not a log line.
"""

import io
import logging  # noqa: TID251 - the one place that hears what libraries log
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import structlog

EVENTS: dict[str, frozenset[str]] = {
    "gateway_started": frozenset({"mode", "port", "database", "broker", "seconds"}),
    "gateway_stopped": frozenset({"seconds"}),
    "request_answered": frozenset(
        {
            *("request_id", "trace_id", "span_id", "asked_id", "correlation_id"),
            *("method", "route", "status", "client", "code", "seconds"),
        }
    ),
    "request_failed": frozenset({"request_id", "trace_id", "route", "error"}),
    "plan_received": frozenset({"plan", "version", "outcome", "format", "deliveries", "seconds"}),
    "choices_changed": frozenset({"resident", "version", "deliveries"}),
    "delivery_settled": frozenset(
        {"delivery", "recipient", "adapter", "state", "reason", "status", "attempt", "seconds"}
    ),
    "delivery_failed": frozenset({"delivery", "error"}),
    "relay_published": frozenset({"published", "confirmed"}),
    "relay_failed": frozenset({"error"}),
    "bell_failed": frozenset({"error"}),
    "replan_failed": frozenset({"resident", "error"}),
    "indexing_failed": frozenset({"error"}),
    "broker_connected": frozenset({"host", "broker"}),
    "broker_disconnected": frozenset({"host", "broker"}),
    "broker_unreachable": frozenset({"host", "broker", "error"}),
    "publish_unconfirmed": frozenset({"count"}),
    "message_taken": frozenset({"client", "outcome", "code", "seconds"}),
    "message_held": frozenset({"error"}),
    "message_failed": frozenset({"error"}),
    "wake_failed": frozenset({"error"}),
    "delivery_dead_lettered": frozenset({"reason"}),
    "library_warned": frozenset({"library", "level"}),
    "format_refused": frozenset({"format", "error"}),
    "formats_loaded": frozenset({"formats"}),
    "signing_keys_changed": frozenset({"keys"}),
    "signing_keys_refused": frozenset({"error"}),
    "token_refused": frozenset({"client", "reason"}),
    "partner_received": frozenset({"partner", "parts", "status"}),
}
"""Every event of this program and the fields that it may carry; ids are opaque, durations are seconds."""


class LogFieldError(Exception):
    """An event or field that is not in the catalogue: add it to EVENTS, or leave it out."""


class Log:
    """Writes events of the catalogue as JSON lines. `strict` raises on an unknown field; otherwise it is dropped."""

    def __init__(self, stream: Any, *, strict: bool = False) -> None:
        self._strict = strict
        self._stream = stream
        self._logger = structlog.wrap_logger(
            structlog.WriteLogger(stream),
            processors=[
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(_to_json),
            ],
            wrapper_class=structlog.BoundLogger,
        )

    def __call__(self, event: str, **fields: object) -> None:
        """Write one event."""
        allowed = EVENTS.get(event)
        if allowed is None or not allowed.issuperset(fields):
            if self._strict:
                unknown = sorted(fields.keys() - (allowed or frozenset()))
                raise LogFieldError(f"event {event} does not allow {unknown}")
            fields = {name: value for name, value in fields.items() if name in (allowed or ())}
            event = event if allowed is not None else "unknown_event"
        self._logger.info(event, **fields)

    def close(self) -> None:
        """Close the stream; nothing is logged after this."""
        self._stream.close()


def _to_json(event: object, **_: object) -> str:
    return msgspec.json.encode(event, order="sorted", enc_hook=repr).decode()


class LibraryWarnings(logging.Handler):
    """Says that a library had something to say, and not what: its message may hold anything."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one event for one record."""
        self._log("library_warned", library=record.name, level=record.levelname.lower())


@contextmanager
def hearing_libraries(log: Log) -> Iterator[None]:
    """Take over what libraries log, for as long as the gateway runs."""
    handler, root = LibraryWarnings(log), logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def open_log(folder: Path | None, *, strict: bool = False) -> Log:
    """Log to `folder`/planbrug.jsonl, appending; without a folder to nowhere."""
    if folder is None:
        return Log(io.StringIO(), strict=strict)
    folder.mkdir(parents=True, exist_ok=True)
    return Log((folder / "planbrug.jsonl").open("a", buffering=1, encoding="utf-8"), strict=strict)
