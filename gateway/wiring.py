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
from adapters.outbound_http import open_session
from adapters.outbound_webhook import webhook_sender
from consent.catalogue import EnabledGround, GroundSetting, enable_grounds
from consent.errors import ConsentError
from gateway.broker import Broker, open_broker
from gateway.callers import Gatekeeper, load_signing_key
from gateway.choosing import Choosing
from gateway.clock import Clock
from gateway.delivery import WAKES, Deliverer
from gateway.directory import Directory, Entry
from gateway.envelope import EncryptionKey, load_encryption_key
from gateway.errors import Refusal
from gateway.failpoints import failing_at
from gateway.inbound import Inbound
from gateway.intake import Intake
from gateway.locks import ResidentLocks
from gateway.logs import Log, hearing_libraries, open_log
from gateway.metrics import Metrics
from gateway.partner_broker import NoPartners, PartnerBroker
from gateway.preparation import Preparation
from gateway.pulling import Pulling
from gateway.reading import Reading
from gateway.relay import Relay
from gateway.render import Renderer
from gateway.seal import MasterKey, load_master_key
from gateway.settings import Settings, SettingsError
from gateway.shelf import Shelf
from gateway.sight import Sight
from gateway.store.directory import mark
from gateway.store.engine import Store, open_store
from gateway.vault import Vault


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
    pulling: Pulling
    relay: Relay
    broker: Broker
    partners: PartnerBroker | NoPartners
    inbound: Inbound
    encryption_key: EncryptionKey
    gatekeeper: Gatekeeper
    deliverer: Deliverer
    metrics: Metrics
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
        gateway = _assembled(
            settings, public_url, log, clock, store, Vault(keys, master, clock), master, session, grounds
        )
        await _load_directory(gateway.directory, settings.directory_file)
        await gateway.broker.start(gateway.deliverer.attempt, prefetch=WAKES)
        stack.push_async_callback(gateway.broker.stop)
        await gateway.partners.start(gateway.inbound.take)
        stack.push_async_callback(gateway.partners.stop)
        relay = asyncio.create_task(gateway.relay.run(), name="relay")
        stack.push_async_callback(_cancelled, relay)
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
) -> Gateway:
    reach = failing_at(settings.failpoint)
    directory = Directory(store)
    residents = ResidentLocks()
    shelf = Shelf(settings.formats_dir, log)
    renderer = Renderer(shelf, f"{public_url}/fhir")
    sight = Sight(store, vault, master, clock, grounds, signed_is_decision=settings.signed_is_decision)
    partners = _partners(settings, log)
    deliverer = Deliverer(
        store=store,
        sight=sight,
        directory=directory,
        renderer=renderer,
        senders={
            "webhook": webhook_sender(session),
            "fhir": fhir_sender(session),
            "amqp": amqp_sender(partners.notify, public_url, clock.new_id),
        },
        residents=residents,
        clock=clock,
        log=log,
        retry_seconds=settings.retry_seconds,
        send_timeout_seconds=settings.send_timeout_seconds,
        receipt_deadline_seconds=settings.receipt_deadline_seconds,
        reach=reach,
    )
    broker = open_broker(settings.amqp_url or None, report=lambda event, fields: log(event, **fields))

    async def replan(resident: str) -> object:
        return await choosing.replan(resident)

    relay = Relay(store, broker, replan, clock, log, reach)
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
        directory=directory,
        master=master,
        clock=clock,
        log=log,
        test_numbers_only=settings.mode == "demo",
        nudge=relay.nudge,
        reach=reach,
    )
    key = load_signing_key(settings.data_dir / "keys" / "gateway.jwk")
    encryption_key = load_encryption_key(settings.data_dir / "keys" / "gateway-enc.jwk", settings.max_body_bytes)

    async def fetch(url: str) -> dict[str, Any]:
        try:
            async with session.get(url, allow_redirects=False) as response:
                found: dict[str, Any] = msgspec.json.decode(await response.read(), type=dict[str, Any])
        except aiohttp.ClientError as error:
            raise OSError("no keys there") from error
        return found

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
        pulling=Pulling(
            store=store,
            sight=sight,
            directory=directory,
            renderer=renderer,
            residents=residents,
            clock=clock,
            log=log,
            receipt_deadline_seconds=settings.receipt_deadline_seconds,
        ),
        relay=relay,
        broker=broker,
        partners=partners,
        inbound=Inbound(
            store=store,
            directory=directory,
            shelf=shelf,
            intake=intake,
            key=encryption_key,
            master=master,
            clock=clock,
            log=log,
            max_body_bytes=settings.max_body_bytes,
        ),
        encryption_key=encryption_key,
        gatekeeper=Gatekeeper(key, public_url, store, directory, clock, fetch),
        deliverer=deliverer,
        metrics=Metrics(),
        started=asyncio.Event(),
    )


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
