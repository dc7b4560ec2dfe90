"""The one place where the parts of a gateway meet: everything is built here, started and stopped in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from msgspec import Struct

from adapters.outbound_amqp import amqp_sender
from adapters.outbound_fhir import fhir_sender
from adapters.outbound_http import fetch_small, open_session
from adapters.outbound_token import token_fetcher
from adapters.outbound_webhook import webhook_sender
from consent.catalogue import EnabledGround, GroundSetting, enable_grounds
from consent.errors import ConsentError
from gateway.broker import Broker, open_broker
from gateway.callers import client_assertion
from gateway.choosing import Choosing
from gateway.clock import Clock
from gateway.delivery import WAKES, Deliverer
from gateway.directory import Directory, Entry
from gateway.envelope import EncryptionKey, load_encryption_key
from gateway.errors import Refusal
from gateway.failpoints import failing_at
from gateway.history import History
from gateway.inbound import Inbound
from gateway.indexing import Indexing
from gateway.intake import Intake
from gateway.locks import ResidentLocks
from gateway.logs import Log, hearing_libraries, open_log
from gateway.metrics import Metrics
from gateway.partner_broker import NoPartners, PartnerBroker
from gateway.preparation import Preparation
from gateway.pressure import Pressure, watching
from gateway.professionals import Professionals, Provider
from gateway.published import Published
from gateway.pulling import Pulling
from gateway.rates import Rates
from gateway.reading import Reading
from gateway.relay import Relay
from gateway.render import Renderer
from gateway.seal import MasterKey, load_master_key
from gateway.searching import Searching
from gateway.settings import Settings, SettingsError
from gateway.shelf import Shelf
from gateway.sight import Sight
from gateway.signing import SigningKeys
from gateway.store.directory import mark
from gateway.store.engine import Store
from gateway.store.opening import open_store
from gateway.store.postgres import PostgresStore
from gateway.store.session_locks import SessionLocks
from gateway.tokens import Gatekeeper
from gateway.vault import Vault
from gateway.writing import Writing

KEYS_LIMIT_BYTES = 100_000
KEYS_TIMEOUT_SECONDS = 5.0
"""How much of a client's `jwksUrl` is read, and how long it may take: somebody waits for a token."""

TOKEN_TIMEOUT_SECONDS = 5.0
"""How long another's token endpoint may take: it counts on top of the send, and fits in the slack of the lease."""


class Gateway(Struct, frozen=True, kw_only=True):
    """The running parts that requests use."""

    settings: Settings
    public_url: str
    log: Log
    clock: Clock
    store: Store
    master: MasterKey
    directory: Directory
    shelf: Shelf
    sight: Sight
    intake: Intake
    choosing: Choosing
    reading: Reading
    indexing: Indexing
    searching: Searching
    history: History
    writing: Writing
    pulling: Pulling
    relay: Relay
    broker: Broker
    partners: PartnerBroker | NoPartners
    inbound: Inbound
    encryption_key: EncryptionKey
    gatekeeper: Gatekeeper
    deliverer: Deliverer
    metrics: Metrics
    pressure: Pressure
    rates: Rates
    token_rates: Rates
    started: asyncio.Event


@asynccontextmanager
async def open_gateway(settings: Settings, public_url: str) -> AsyncIterator[Gateway]:
    """Build a gateway, start its relay and broker, and stop everything again.

    Raises SettingsError, StoreError or SealError before anything was started.
    """
    grounds = _grounds(settings.grounds_file)
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(settings.data_dir.mkdir, 0o700, parents=True, exist_ok=True)
        log = open_log(settings.data_dir / "logs", strict=settings.mode == "demo")
        stack.callback(log.close)
        stack.enter_context(hearing_libraries(log))
        clock = Clock(settings.clock_offset)
        store = await open_store(settings.database)
        stack.push_async_callback(store.close)
        await _claim_database(store, settings)
        keys = await open_store(settings.keys_database, "keys")
        stack.push_async_callback(keys.close)
        master = load_master_key(
            settings.master_key_file or settings.data_dir / "master.key", create=settings.mode == "demo"
        )
        session = await stack.enter_async_context(open_session(settings.targets, settings.send_timeout_seconds))
        between = SessionLocks(store) if isinstance(store, PostgresStore) else None
        if between is not None:
            stack.push_async_callback(between.close)
        gateway = _assembled(
            settings, public_url, log, clock, store, Vault(keys, master, clock), master, session, grounds, between
        )
        await _load_directory(gateway.directory, settings.directory_file)
        stack.push_async_callback(gateway.deliverer.close)
        await gateway.broker.start(gateway.deliverer.attempt, prefetch=WAKES)
        stack.push_async_callback(gateway.broker.stop)
        await gateway.partners.start(gateway.inbound.take)
        stack.push_async_callback(gateway.partners.stop)
        relay = asyncio.create_task(gateway.relay.run(), name="relay")
        stack.push_async_callback(_cancelled, relay)
        indexing = asyncio.create_task(gateway.indexing.run(), name="indexing")
        stack.push_async_callback(_cancelled, indexing)
        yield gateway


def _assembled(
    settings: Settings,
    public_url: str,
    log: Log,
    clock: Clock,
    store: Store,
    vault: Vault,
    master: MasterKey,
    session: aiohttp.ClientSession,
    grounds: tuple[EnabledGround, ...],
    between: SessionLocks | None,
) -> Gateway:
    reach = failing_at(settings.failpoint)
    directory = Directory(store)
    residents = ResidentLocks(between)
    shelf = Shelf(settings.formats_dir, log)
    renderer = Renderer(shelf, f"{public_url}/fhir")
    sight = Sight(store, vault, master, clock, grounds, signed_is_decision=settings.signed_is_decision)
    keys = SigningKeys(settings.data_dir / "keys", clock, log)

    def sign(client_id: str, token_url: str) -> str:
        return client_assertion(keys.now()[0], client_id, token_url, clock.now(), clock.new_id())

    authorise = token_fetcher(session, sign, min(TOKEN_TIMEOUT_SECONDS, settings.send_timeout_seconds))
    pressure = Pressure(max_backlog=settings.max_backlog, max_at_once=settings.max_intake_at_once)
    partners = _partners(settings, log)

    def nudge() -> None:
        relay.nudge()

    deliverer = Deliverer(
        store=store,
        sight=sight,
        directory=directory,
        renderer=renderer,
        senders={
            "webhook": webhook_sender(session, authorise),
            "fhir": fhir_sender(session, authorise),
            "amqp": amqp_sender(partners.notify, public_url, clock.new_id),
        },
        residents=residents,
        clock=clock,
        log=log,
        retry_seconds=settings.retry_seconds,
        send_timeout_seconds=settings.send_timeout_seconds,
        receipt_deadline_seconds=settings.receipt_deadline_seconds,
        nudge=nudge,
        reach=reach,
    )
    broker = open_broker(settings.amqp_url or None, report=lambda event, fields: log(event, **fields))

    async def replan(resident: str) -> object:
        return await choosing.replan(resident)

    relay = Relay(
        store=store,
        broker=broker,
        replan=replan,
        clock=clock,
        log=log,
        reach=reach,
        look=watching(pressure, store, clock),
    )
    choosing = Choosing(
        store=store,
        vault=vault,
        sight=sight,
        directory=directory,
        residents=residents,
        clock=clock,
        log=log,
        nudge=relay.nudge,
        reach=reach,
    )
    intake = Intake(
        store=store,
        preparation=Preparation(store=store, vault=vault, sight=sight, master=master, clock=clock),
        sight=sight,
        directory=directory,
        master=master,
        clock=clock,
        log=log,
        test_numbers_only=settings.mode == "demo",
        nudge=relay.nudge,
        reach=reach,
    )
    encryption_key = load_encryption_key(settings.data_dir / "keys" / "gateway-enc.jwk", settings.max_body_bytes)

    async def fetch(url: str) -> dict[str, Any]:
        body = await fetch_small(session, url, limit_bytes=KEYS_LIMIT_BYTES, timeout_seconds=KEYS_TIMEOUT_SECONDS)
        found: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
        return found

    indexing = Indexing(
        store=store,
        sight=sight,
        directory=directory,
        master=master,
        clock=clock,
        log=log,
        signed_is_decision=settings.signed_is_decision,
    )
    searching = Searching(store=store, sight=sight, indexing=indexing, master=master, clock=clock)
    published = Published(fetch, clock.ticks)
    return Gateway(
        settings=settings,
        public_url=public_url,
        log=log,
        clock=clock,
        store=store,
        master=master,
        directory=directory,
        shelf=shelf,
        sight=sight,
        intake=intake,
        choosing=choosing,
        reading=Reading(store=store, sight=sight, renderer=renderer, clock=clock),
        indexing=indexing,
        searching=searching,
        history=History(store=store, sight=sight, indexing=indexing, searching=searching, clock=clock),
        writing=Writing(
            store=store,
            sight=sight,
            indexing=indexing,
            intake=intake,
            master=master,
            clock=clock,
            base_url=f"{public_url}/fhir",
        ),
        pulling=Pulling(
            store=store,
            sight=sight,
            directory=directory,
            renderer=renderer,
            residents=residents,
            clock=clock,
            log=log,
            receipt_deadline_seconds=settings.receipt_deadline_seconds,
            reach=reach,
        ),
        relay=relay,
        broker=broker,
        partners=partners,
        inbound=Inbound(
            store=store,
            directory=directory,
            shelf=shelf,
            intake=intake,
            pressure=pressure,
            key=encryption_key,
            master=master,
            clock=clock,
            log=log,
            max_body_bytes=settings.max_body_bytes,
            reach=reach,
        ),
        encryption_key=encryption_key,
        gatekeeper=Gatekeeper(
            keys, public_url, store, directory, clock, published, _professionals(settings, directory, clock, published)
        ),
        deliverer=deliverer,
        metrics=Metrics(),
        pressure=pressure,
        rates=Rates("client", settings.rate_limit_per_minute, clock.ticks),
        token_rates=Rates("token", settings.token_rate_limit_per_minute, clock.ticks),
        started=asyncio.Event(),
    )


def _professionals(
    settings: Settings, directory: Directory, clock: Clock, published: Published
) -> Professionals | None:
    if not settings.oidc_issuer:
        return None
    provider = Provider(
        issuer=settings.oidc_issuer,
        audience=settings.oidc_audience,
        organisation_claim=settings.oidc_organisation_claim,
        role_claim=settings.oidc_role_claim,
    )
    return Professionals(provider, directory, clock, published)


def _partners(settings: Settings, log: Log) -> PartnerBroker | NoPartners:
    if not settings.partner_amqp_url:
        return NoPartners()
    return PartnerBroker(
        settings.partner_amqp_url,
        report=lambda event, fields: log(event, **fields, **({"broker": "partners"} if "host" in fields else {})),
    )


async def _claim_database(store: Store, settings: Settings) -> None:
    """Mark a new database with the mode that made it, and refuse one that another mode made."""
    made_by = await store.write(lambda tx: mark(tx, "mode", settings.mode))
    if made_by != settings.mode:
        raise SettingsError(
            f"this database was made in {made_by} mode; give MODE={settings.mode} a database of its own"
        )


async def _load_directory(directory: Directory, path: Path | None) -> None:
    if path is None:
        return
    try:
        entries = msgspec.json.decode(await asyncio.to_thread(path.read_bytes), type=list[Entry])
        for entry in entries:
            await directory.put(entry)
    except (OSError, msgspec.MsgspecError) as error:
        raise SettingsError("DIRECTORY_FILE is absent or not a list of organisations") from error
    except Refusal as error:
        places = ", ".join(f"{finding.pointer}: {finding.remedy}" for finding in error.findings)
        raise SettingsError(f"DIRECTORY_FILE: {places}") from error


def _grounds(path: Path | None) -> tuple[EnabledGround, ...]:
    if path is None:
        return ()
    try:
        return enable_grounds(msgspec.json.decode(path.read_bytes(), type=list[GroundSetting]))
    except (OSError, msgspec.MsgspecError) as error:
        raise SettingsError("GROUNDS_FILE is absent or not a list of grounds") from error
    except ConsentError as error:
        places = ", ".join(f"{finding.pointer}: {finding.remedy}" for finding in error.findings)
        raise SettingsError(f"GROUNDS_FILE: {places}") from error


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
