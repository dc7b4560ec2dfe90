"""What an integrator writes in an afternoon: FastAPI, fhir.resources, casbin, SQLAlchemy's ORM, a confirm awaited per message.

With MISTAKES=no the same service without its four usual mistakes: sets instead of a policy engine per decision, plain dicts instead of
fhir.resources on the hot path, Core and batched writes instead of the ORM per row, confirms gathered instead of awaited one by one.
Its consumers push each recipient's views in order. Environment: PORT, DATABASE_URL, AMQP_URL, RECEIVERS (JSON name → URL), MISTAKES.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import aiohttp
import orjson
import uvicorn
from fastapi import FastAPI, Request
from mapping import MODELS, Labelled, bundle, care_plan, plan_to_resources, without_contact
from models import Plan
from policy import About, May, by_casbin, by_sets
from rows import Base, ChoiceRow, OutboxRow, PlanRow, ResourceRow, open_engine
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

MISTAKES = os.environ.get("MISTAKES", "yes") == "yes"
RECEIVERS: dict[str, str] = json.loads(os.environ["RECEIVERS"])
PREFETCH = 50

engine = open_engine(os.environ["DATABASE_URL"])
sessions = async_sessionmaker(engine, expire_on_commit=False)
running: dict[str, Any] = {}


class Contact:
    """The address and telephone of a Patient, which are a part of their own."""

    kind = "contact"
    domain = None

    def __init__(self, subjects: tuple[str, ...]) -> None:
        self.subjects = subjects


@contextlib.asynccontextmanager
async def life(_app: FastAPI) -> AsyncIterator[None]:
    """Open the database, the broker and the consumers; close them again."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    broker = await aio_pika.connect_robust(os.environ["AMQP_URL"])
    publisher = await broker.channel(publisher_confirms=True)
    running["exchange"] = publisher.default_exchange
    running["receipted"] = asyncio.Queue()
    http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=300))
    tasks = [asyncio.create_task(_consume(broker, http, name, url)) for name, url in RECEIVERS.items()]
    if not MISTAKES:
        tasks.append(asyncio.create_task(_receipt_together()))
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await http.close()
    await broker.close()
    await engine.dispose()


app = FastAPI(lifespan=life)


@app.get("/health/ready")
async def ready() -> dict[str, str]:
    """Say that the service runs."""
    return {"status": "ok"}


@app.put("/residents/{resident}/choices")
async def put_choices(resident: str, request: Request) -> dict[str, str]:
    """Keep a resident's choices."""
    async with sessions() as session, session.begin():
        await session.merge(ChoiceRow(resident=resident, body=(await request.body()).decode()))
    return {"resident": resident}


@app.post("/plans", status_code=201)
async def post_plan(plan: Plan) -> dict[str, Any]:
    """Take a plan in: decide, map, store and publish; answer when the broker has confirmed."""
    async with sessions() as session:
        async with session.begin():
            plan_id, version = await _next_version(session, plan.planNummer)
            may = await _policy(session, [row.ref for row in plan.bewoners])
            resources = plan_to_resources(plan, plan_id, version)
            views = {name: _rendered(_view(plan, plan_id, version, resources, name, may)) for name in RECEIVERS}
            await _keep_resources(session, plan_id, version, resources)
            outbox = await _keep_views(session, plan_id, views)
        await _publish(outbox)
        async with session.begin():
            done = update(OutboxRow).where(OutboxRow.plan == plan_id, OutboxRow.state == 0).values(state=1)
            await session.execute(done)
    return {"planId": plan_id, "version": version, "deliveries": [row["id"] for row in outbox]}


async def _next_version(session: AsyncSession, number: str) -> tuple[str, int]:
    row = await session.get(PlanRow, number)
    if row is None:
        row = PlanRow(number=number, id=str(uuid.uuid4()), version=0)
        session.add(row)
    row.version += 1
    return row.id, row.version


async def _policy(session: AsyncSession, residents: list[str]) -> May:
    found = await session.scalars(select(ChoiceRow).where(ChoiceRow.resident.in_(residents)))
    choices = {row.resident: json.loads(row.body)["choices"] for row in found}
    return (by_casbin if MISTAKES else by_sets)(choices)


def _view(
    plan: Plan, plan_id: str, version: int, resources: list[Labelled], name: str, may: May
) -> list[dict[str, Any]]:
    shown = [row for row in resources if may(name, row)]
    made = [_shown(row, name, may) for row in shown]
    return [*made, care_plan(plan, plan_id, version, shown)]


def _shown(row: Labelled, name: str, may: May) -> dict[str, Any]:
    contact: About = Contact(row.subjects)
    hidden = row.kind == "identity" and not may(name, contact)
    return without_contact(row.resource) if hidden else row.resource


def _rendered(resources: list[dict[str, Any]]) -> bytes:
    view = bundle(resources)
    if MISTAKES:
        body: bytes = MODELS["Bundle"].model_validate(view).model_dump_json().encode()
        return body
    return orjson.dumps(view)


def _written(resource: dict[str, Any]) -> str:
    if MISTAKES:
        text: str = MODELS[resource["resourceType"]].model_validate(resource).model_dump_json()
        return text
    return orjson.dumps(resource).decode()


async def _keep_resources(session: AsyncSession, plan_id: str, version: int, resources: list[Labelled]) -> None:
    rows = [
        {
            "type": row.resource["resourceType"],
            "id": row.resource["id"],
            "plan": plan_id,
            "version": version,
            "body": _written(row.resource),
        }
        for row in resources
    ]
    if MISTAKES:
        session.add_all([ResourceRow(**row) for row in rows])
    else:
        await session.execute(insert(ResourceRow.__table__), rows)


async def _keep_views(session: AsyncSession, plan_id: str, views: dict[str, bytes]) -> list[dict[str, Any]]:
    rows = [
        {
            "id": str(uuid.uuid4()),
            "plan": plan_id,
            "recipient": name,
            "payload": body,
            "sha256": hashlib.sha256(body).hexdigest(),
            "state": 0,
        }
        for name, body in views.items()
    ]
    if MISTAKES:
        made = [OutboxRow(**row) for row in rows]
        session.add_all(made)
        await session.flush()
        return [{**row, "seq": kept.seq} for row, kept in zip(rows, made, strict=True)]
    kept_numbers = (
        await session.execute(insert(OutboxRow).returning(OutboxRow.seq, sort_by_parameter_order=True), rows)
    ).scalars()
    return [{**row, "seq": seq} for row, seq in zip(rows, kept_numbers, strict=True)]


async def _publish(outbox: list[dict[str, Any]]) -> None:
    sending = [_publish_one(row) for row in outbox]
    if MISTAKES:
        for each in sending:
            await each
    else:
        await asyncio.gather(*sending)


async def _publish_one(row: dict[str, Any]) -> None:
    message = aio_pika.Message(
        row["payload"],
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        content_type="application/fhir+json",
        message_id=row["id"],
        headers={"seq": row["seq"], "sha256": row["sha256"]},
    )
    await running["exchange"].publish(message, routing_key=f"naive.{row['recipient']}")


async def _consume(broker: Any, http: aiohttp.ClientSession, name: str, url: str) -> None:
    channel = await broker.channel()
    await channel.set_qos(prefetch_count=PREFETCH)
    queue = await channel.declare_queue(f"naive.{name}", durable=True, arguments={"x-queue-type": "quorum"})
    async with queue.iterator() as messages:
        async for message in messages:
            await _push(http, url, message)
            await _receipted(message)


async def _push(http: aiohttp.ClientSession, url: str, message: Any) -> None:
    headers = {
        "Content-Type": "application/fhir+json",
        "Planbrug-Delivery": message.message_id,
        "Planbrug-Sequence": str(message.headers["seq"]),
        "Planbrug-Sha256": message.headers["sha256"],
    }
    async with http.post(url, data=message.body, headers=headers) as response:
        receipt = await response.json()
    if receipt != {"deliveryId": message.message_id, "sha256": message.headers["sha256"]}:
        raise ValueError("not the receipt of this view")


async def _receipted(message: Any) -> None:
    if not MISTAKES:
        running["receipted"].put_nowait(message)
        return
    async with sessions() as session, session.begin():
        await session.execute(update(OutboxRow).where(OutboxRow.id == message.message_id).values(state=2))
    await message.ack()


async def _receipt_together() -> None:
    """Keep receipts, as many at once as there are."""
    table: Any = OutboxRow.__table__
    kept = update(table).where(table.c.id == bindparam("key")).values(state=2)
    waiting: asyncio.Queue[Any] = running["receipted"]
    while True:
        messages = [await waiting.get()]
        while not waiting.empty() and len(messages) < PREFETCH:
            messages.append(waiting.get_nowait())
        async with engine.begin() as connection:
            await connection.execute(kept, [{"key": message.message_id} for message in messages])
        for message in messages:
            await message.ack()


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )
