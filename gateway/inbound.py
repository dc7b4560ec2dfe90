"""Take in what partners send over AMQP: open it, know its sender, and hand it to the same intake as over HTTP, once.

A message is kept, or has a fault that stays, or is to come again later. Only what was kept is remembered: a message that was refused may
be sent again under the same id.
"""

from functools import partial

from adapters.inbound_amqp import Arrival, Fault, Letter, format_named, judge
from gateway.callers import Caller
from gateway.clock import Clock
from gateway.directory import Directory
from gateway.envelope import EncryptionKey, EnvelopeError, Opened, sealed_limit
from gateway.errors import Refusal
from gateway.failpoints import Reach
from gateway.intake import Intake
from gateway.logs import Log
from gateway.pressure import Pressure
from gateway.seal import MasterKey
from gateway.shelf import Shelf
from gateway.store import inbox as rows
from gateway.store.engine import Store, StoreError
from gateway.store.inbox import InboxRow

SCOPE = "plans:write"
PASSING = frozenset({"busy", "too-busy", "unavailable"})
"""Refusals that say nothing about the message."""


REASONS = (
    "unauthenticated",
    "parameter",
    "media-type",
    "too-large",
    "scope",
    "envelope",
    "format",
    "key-reused",
    "json",
    "document",
    "internal",
)
"""Every reason of a dead letter: rows of the table of errors."""


class LaterError(Exception):
    """The message cannot be taken now; nothing is wrong with it."""


class Inbound:
    """Takes messages."""

    def __init__(
        self,
        *,
        store: Store,
        directory: Directory,
        shelf: Shelf,
        intake: Intake,
        pressure: Pressure,
        key: EncryptionKey,
        master: MasterKey,
        clock: Clock,
        log: Log,
        max_body_bytes: int,
        reach: Reach,
    ) -> None:
        self._store = store
        self._directory = directory
        self._shelf = shelf
        self._intake = intake
        self._pressure = pressure
        self._key = key
        self._master = master
        self._clock = clock
        self._log = log
        self._max_body_bytes = max_body_bytes
        self._reach = reach

    async def take(self, arrival: Arrival) -> Fault | None:
        """Take one message. None: its plan is kept. A fault: it never will be. Raises LaterError."""
        started = self._clock.ticks()
        try:
            outcome = await self._taken(arrival)
        except Refusal as error:
            if error.code in PASSING:
                raise LaterError from error
            outcome = Fault(error.code)
        except StoreError as error:
            raise LaterError from error
        except Exception as error:  # noqa: BLE001 - the top of a message: set aside, sealed, for a person to look at
            self._log("message_failed", error=type(error).__name__)
            outcome = Fault("internal")
        fault = outcome if isinstance(outcome, Fault) else None
        told = outcome if isinstance(outcome, str) else "dead-lettered"
        code = fault.code if fault else "ok"
        self._log(
            "message_taken",
            client=arrival.user_id,
            outcome=told,
            code=code,
            seconds=round(self._clock.ticks() - started, 6),
        )
        return fault

    async def _taken(self, arrival: Arrival) -> str | Fault:
        """Return what became of the plan. Raises Refusal, StoreError."""
        letter = judge(arrival, sealed_limit(self._max_body_bytes))
        if isinstance(letter, Fault):
            return letter
        caller = await self._caller(letter)
        opened = self._opened(letter)
        name = format_named(opened.content_type) or ""
        fingerprint = self._master.fingerprint("message", name, opened.body.hex())
        client = caller.client.client_id
        known = await self._store.read(lambda tx: rows.message_of(tx, client, letter.key))
        if known is not None:
            return "repeated" if known.body_fingerprint == fingerprint else Fault("key-reused")
        form = self._shelf.get(name)
        if form is None:
            return Fault("format")
        with self._pressure.admitted():
            received = await self._intake.receive(opened.body, form, caller, letter.key)
        self._reach("message-kept")
        row = InboxRow(
            client=client,
            message=letter.key,
            body_fingerprint=fingerprint,
            outcome=received.outcome,
            at=self._clock.now(),
        )
        await self._store.write(partial(rows.add_message, row=row))
        self._reach("message-remembered")
        return received.outcome

    async def _caller(self, letter: Letter) -> Caller:
        """Return the client whose RabbitMQ user sent this. Raises Refusal when there is none, or it may not send plans."""
        found = (await self._directory.now()).clients.get(letter.sender)
        if found is None:
            raise Refusal("unauthenticated")
        entry, client = found
        caller = Caller(entry=entry, client=client, scopes=frozenset(client.scopes))
        caller.require(SCOPE)
        return caller

    def _opened(self, letter: Letter) -> Opened:
        try:
            opened = self._key.open(letter.sealed)
        except EnvelopeError as error:
            raise Refusal("envelope") from error
        if len(opened.body) > self._max_body_bytes:
            raise Refusal("too-large")
        return opened
