"""What may happen between a look and its transaction, as another process can do it: the transaction looks once more.

The steps of one attempt are called one by one here, because the locks of one process keep such a moment from being met by chance.
"""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import update
from world import World, example, open_world

from adapters.interface import Answer, Parcel
from gateway.beginning import Attempt, Ended
from gateway.callers import Caller
from gateway.settling import Seen
from gateway.sight import Reader
from gateway.store import deliveries as rows
from gateway.store import tables
from gateway.store.choices import ChoicesRow, add_choices
from gateway.store.deliveries import DeliveryRow
from mappings.plan import SupportPlan


class Held:
    """A world in which one delivery is planned and nobody attempts it, and the looks at it."""

    def __init__(self, world: World, row: DeliveryRow, plan: SupportPlan) -> None:
        self.world = world
        self.row = row
        self.plan = plan
        self.deliverer = world.gateway.deliverer
        self.store = world.gateway.store

    async def look(self) -> Attempt:
        row = await self.store.read(lambda tx: rows.get_delivery(tx, self.row.id))
        assert row is not None
        attempt = await self.deliverer._look(row, self.plan, fresh=True)
        assert attempt is not None
        return attempt

    async def begin(self, attempt: Attempt) -> Any:
        (begun,) = await self.store.write(partial(self.deliverer._beginner.begun, attempts=[attempt]))
        return "ended" if isinstance(begun, Ended) else begun

    async def settle(self, attempt: Attempt, answer: Answer) -> None:
        seen = [Seen(attempt=attempt, answer=answer)]
        await self.store.write(partial(self.deliverer._settler.settled, seen=seen))

    async def state(self, delivery_id: str = "") -> tuple[str, str | None]:
        row = await self.store.read(lambda tx: rows.get_delivery(tx, delivery_id or self.row.id))
        assert row is not None
        return row.state, row.reason

    async def say_something(self) -> None:
        """Keep a new version of Marloes' choices, as another process would."""
        resident = self.plan.residents[0]
        index = (await self.world.gateway.sight.choices_of([resident]))[resident]
        body = await self.world.gateway.choosing._vault.seal_choices(resident, index.version + 1, index.choices)
        now = self.world.gateway.clock.now()
        row = ChoicesRow(resident=resident, version=index.version + 1, body=body, at=now, changed_by="another")
        assert await self.store.write(lambda tx: add_choices(tx, row))

    async def another(self, state: str, *, older: bool = False, parts: frozenset[str] | None = None) -> str:
        """Put another delivery into the lane."""
        name = "0" if older else self.world.gateway.clock.new_id()
        made = replace(self.row, id=name, state=state, due_at=None, parts=parts)
        await self.store.write(lambda tx: rows.add_deliveries(tx, [made]))
        return made.id


@pytest.fixture
async def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Held]:
    """Kompas' delivery of the rich example, held back from the relay."""
    async with open_world(tmp_path) as world:
        monkeypatch.setattr(world.gateway.broker, "publish", _publish_nothing)
        sent = (await world.send(example())).body
        kompas = next(row for row in await world.deliveries(sent["planId"]) if row["recipient"] == "kompas")
        row = await world.gateway.store.read(lambda tx: rows.get_delivery(tx, kompas["id"]))
        plan = await world.gateway.sight.load(sent["planId"])
        assert row is not None
        assert plan is not None
        yield Held(world, row, plan)


async def _publish_nothing(_ids: object) -> frozenset[str]:
    return frozenset()


async def test_what_was_looked_at_begins_when_nothing_changed(held: Held) -> None:
    """The control: the same steps without anything in between give a parcel."""
    parcel = await held.begin(await held.look())
    assert parcel.delivery_id == held.row.id
    assert (await held.state())[0] == "sent"


async def test_a_delivery_that_ended_since_the_look_does_not_begin(held: Held) -> None:
    """Somebody stopped it."""
    attempt = await held.look()
    await held.store.write(lambda tx: rows.stop(tx, held.row.id, held.world.gateway.clock.now()))
    assert await held.begin(attempt) == "ended"
    assert await held.state() == ("parked", "stopped")


async def test_a_newer_delivery_planned_since_the_look_supersedes_this_one(held: Held) -> None:
    """Only the newest of a lane goes."""
    attempt = await held.look()
    await held.another("planned")
    assert await held.begin(attempt) == "ended"
    assert await held.state() == ("superseded", "newer-version")


async def test_a_lane_with_something_in_flight_is_waited_for(held: Held) -> None:
    """Order holds: what began earlier ends first."""
    attempt = await held.look()
    await held.another("sent", older=True)
    assert await held.begin(attempt) == "ended"
    assert await held.state() == ("waiting", "lane-busy")


async def failed(held: Held) -> None:
    """Begin to send and get a 503: bytes left, and the delivery waits."""
    attempt = await held.look()
    assert not isinstance(await held.begin(attempt), str)
    await held.settle(attempt, Answer(signal="status", status=503))
    assert await held.state() == ("waiting", "receiver-failed")


async def test_what_has_begun_waits_for_the_verdict_of_its_successor(held: Held) -> None:
    """Its recipient knows of it: it neither goes with an old plan nor disappears before its successor was looked at."""
    await failed(held)
    await held.another("planned")
    assert await held.begin(await held.look()) == "ended"
    assert await held.state() == ("waiting", "lane-busy")


async def test_a_successor_with_the_same_view_is_not_needed(held: Held) -> None:
    """What has begun stays as it is, for the version of its successor; the recipient sees nothing of it."""
    await failed(held)
    successor = await held.another("planned")
    fresh = replace(held.row, id=successor)
    looked = await held.deliverer._look(fresh, held.plan, fresh=True)
    assert looked is not None
    assert await held.begin(looked) == "ended"
    assert await held.state(successor) == ("unchanged", "same-view")
    assert (await held.state())[0] == "waiting"


async def test_a_successor_with_another_view_supersedes_what_has_begun(held: Held) -> None:
    """And the number under which bytes left stays with what carried them."""
    await failed(held)
    one = frozenset({held.plan.parts[0].id})
    successor = await held.another("planned", parts=one)
    less = await held.deliverer._look(replace(held.row, id=successor, parts=one), held.plan, fresh=True)
    assert less is not None
    parcel = await held.begin(less)
    old = await held.store.read(lambda tx: rows.get_delivery(tx, held.row.id))
    assert old is not None
    assert (old.state, old.sequence, parcel.sequence) == ("superseded", 1, 2)


async def test_a_choice_kept_since_the_look_asks_for_another_look(held: Held) -> None:
    """And with the new look it begins."""
    attempt = await held.look()
    await held.say_something()
    assert await held.begin(attempt) == "look-again"
    assert not isinstance(await held.begin(await held.look()), str)


async def test_what_was_attempted_since_the_look_asks_for_another_look(held: Held) -> None:
    """Another wake-up of the same delivery was first: the parts that it carried bound every later attempt."""
    attempt = await held.look()
    await failed(held)
    assert await held.begin(attempt) == "look-again"
    row = await held.store.read(lambda tx: rows.get_delivery(tx, held.row.id))
    assert row is not None
    again = await held.deliverer._look(row, held.plan, fresh=True)
    assert again is not None
    assert isinstance(await held.begin(again), Parcel)


async def test_a_version_that_came_since_the_look_asks_for_another_look(held: Held) -> None:
    """The delivery goes on for a newer version of the plan."""
    attempt = await held.look()
    newer = update(tables.delivery).where(tables.delivery.c.id == held.row.id).values(plan_version=2)
    await held.store.write(lambda tx: tx.execute(newer))
    assert await held.begin(attempt) == "look-again"


async def test_a_directory_changed_since_the_look_asks_for_another_look(held: Held) -> None:
    """The endpoint that was looked up may be gone."""
    attempt = await held.look()
    entry = (await held.world.gateway.directory.now()).entries["kompas"]
    await held.world.gateway.directory.put(replace(entry, name="Kompas bv"))
    assert await held.begin(attempt) == "look-again"
    assert not isinstance(await held.begin(await held.look()), str)


async def test_two_of_a_group_that_show_one_reader_different_views_go_one_by_one(held: Held) -> None:
    """One reader has one view with one version: the second looks again, after the first has been counted."""
    whole = await held.look()
    less = replace(whole, look=replace(whole.look, fingerprint="another view"))
    begun = await held.store.write(partial(held.deliverer._beginner.begun, attempts=[whole, less]))
    assert isinstance(begun[0], Parcel)
    assert begun[1] == "look-again"


async def test_what_is_permitted_again_after_an_end_is_sent_again(held: Held) -> None:
    """A view that ended at an attempt counts as changed when it comes back, even with the same content."""
    seen = await held.look()
    first = await held.begin(seen)
    await held.settle(seen, Answer(signal="receipt", status=200))
    second = await held.another("planned")
    later = replace(held.row, id=second)
    nothing = replace(seen, delivery=second, look=replace(seen.look, plan=None))
    assert await held.begin(nothing) == "ended"
    third = await held.another("planned")
    again = await held.deliverer._look(replace(later, id=third), held.plan, fresh=True)
    assert again is not None
    parcel = await held.begin(again)
    assert (await held.state(second))[0] == "withheld"
    assert parcel.sequence == first.sequence + 1


async def caller(held: Held) -> Caller:
    """Return the team as the gateway knows it."""
    entry, client = (await held.world.gateway.directory.now()).clients["wijkteam-noord-team"]
    return Caller(entry=entry, client=client, scopes=frozenset(client.scopes))


async def disclosed(held: Held) -> Any:
    """Look as the team reads, let something happen, and return how the read's transaction answers."""
    reading, team = held.world.gateway.reading, await caller(held)
    look = await held.world.gateway.sight.look(held.plan, Reader(recipient=team.entry.recipient(), purpose="support"))
    return partial(reading._disclosed, look=look, caller=team, form="fhir")


async def test_a_read_looks_again_when_a_choice_was_kept_since_the_look(held: Held) -> None:
    """The read's transaction gives nothing."""
    read = await disclosed(held)
    await held.say_something()
    assert await held.store.write(read) is None


async def test_a_read_looks_again_when_the_plan_changed_since_the_look(held: Held) -> None:
    """An old version is not shown once there is a newer one."""
    read = await disclosed(held)

    def edit(document: dict[str, Any]) -> None:
        document["doelen"][0]["omschrijving"] = "Iets anders."

    assert (await held.world.send(example(edit=edit))).body["version"] == 2
    assert await held.store.write(read) is None


async def test_a_read_that_nothing_came_between_is_a_page(held: Held) -> None:
    """The control: a page, of the version that it says."""
    page = await held.store.write(await disclosed(held))
    assert page.version == 1


async def test_a_receipt_outlives_a_later_attempt_of_which_nothing_left(held: Held) -> None:
    """After a 503 and then no connection, the delivery still names the receipt of the bytes that left."""
    await failed(held)
    first = await held.store.read(lambda tx: rows.get_delivery(tx, held.row.id))
    again = await held.look()
    assert not isinstance(await held.begin(again), str)
    await held.settle(again, Answer(signal="not-connected", left=False))
    row = await held.store.read(lambda tx: rows.get_delivery(tx, held.row.id))
    assert first is not None
    assert row is not None
    assert row.reason == "not-connected"
    assert row.receipt == first.receipt is not None
