"""The store keeps whole transactions only, the same on SQLite and PostgreSQL."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
import services
from msgspec.structs import replace
from sqlalchemy import create_engine, delete, func, insert, inspect, select

from gateway.clock import Clock
from gateway.store import (
    assertions,
    choices,
    deliveries,
    directory,
    plans,
    receipts,
    schedule,
    sequences,
    tables,
    views,
)
from gateway.store.choices import ChoicesRow
from gateway.store.deliveries import DeliveryRow
from gateway.store.engine import RuleError, Store, StoreError, Transaction
from gateway.store.migrate import migrate
from gateway.store.opening import open_store
from gateway.store.plans import KeyUse, NewVersion, VersionRow
from gateway.store.receipts import PartLine, ReceiptRow
from gateway.store.sqlite import GROUP_COMMIT
from gateway.store.views import Disclosure

NOW = datetime(2026, 11, 2, 9, 0, 0, 123456, UTC)
LATER = NOW + timedelta(minutes=1)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new' / 'planbrug.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="module")
def shared_url(postgres_server: services.PostgreSql) -> Iterator[str]:
    """The address of a PostgreSQL database that the tests of this file clear and use in turn."""
    name = postgres_server.create_database()
    yield postgres_server.url_of(name)
    postgres_server.drop_database(name)


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store of either kind."""
    on_sqlite = request.param == "sqlite"
    opened = await open_store(f"sqlite:///{tmp_path / 'x.db'}" if on_sqlite else request.getfixturevalue("shared_url"))
    yield opened
    await opened.write(cleared)
    await opened.close()


def cleared(tx: Transaction) -> None:
    """Empty every table."""
    for table in reversed(tables.metadata.sorted_tables):
        tx.execute(delete(table))


def mark(name: str) -> object:
    """Return work that writes one row."""
    return lambda tx: directory.mark(tx, name, name)


def marks(tx: Transaction) -> set[str]:
    """Return what was marked."""
    return set(tx.execute(select(tables.meta.c.name)).scalars())


def taken(tx: Transaction, recipient: str) -> int:
    """Take one number."""
    return sequences.take(tx, {recipient: 1})[recipient][0]


class TestTransactions:
    """A piece of work is kept whole or not at all, whoever is written with it."""

    async def test_work_that_fails_leaves_nothing_and_spoils_nobody(self, store: Store) -> None:
        """Of forty pieces at once those that raise are undone, each for itself, and the others are kept."""

        def failing(number: int) -> object:
            def work(tx: Transaction) -> None:
                directory.mark(tx, f"slecht-{number}", "x")
                raise LookupError(number)

            return work

        def clashing(tx: Transaction) -> None:
            directory.mark(tx, "botsing", "x")
            tx.execute(insert(tables.meta).values(name="botsing", value="y"))

        work = [failing(number) if number % 3 == 0 else mark(f"goed-{number}") for number in range(40)]
        told = await asyncio.gather(*(store.write(each) for each in [*work, clashing]), return_exceptions=True)
        assert [str(each) for each in told[:40] if isinstance(each, Exception)] == [str(n) for n in range(0, 40, 3)]
        assert isinstance(told[40], RuleError)
        assert await store.read(marks) == {f"goed-{number}" for number in range(40) if number % 3}

    async def test_what_was_written_is_read_at_once(self, store: Store) -> None:
        """A write that returned is committed: the next read sees it."""
        for number in range(20):
            await store.write(mark(f"rij-{number}"))
            assert f"rij-{number}" in await store.read(marks)

    async def test_a_counter_under_load_counts_everybody(self, store: Store) -> None:
        """Fifty transactions that read and write the same row lose none."""
        numbers = await asyncio.gather(*(store.write(lambda tx: taken(tx, "kompas")) for _ in range(50)))
        assert sorted(numbers) == list(range(1, 51))


async def test_sqlite_commits_what_waits_together(tmp_path: Path) -> None:
    """Another reader of the file sees nothing of a group until all of it is there; what does not fit makes the next group."""
    url = f"sqlite:///{tmp_path / 'planbrug.db'}"
    store = await open_store(url)
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    before = connection.execute("PRAGMA data_version").fetchone()
    seen: list[object] = []

    def work(tx: Transaction) -> None:
        taken(tx, "kompas")
        seen.append(connection.execute("SELECT last FROM sequence").fetchall())

    await asyncio.gather(*(store.write(work) for _ in range(GROUP_COMMIT + 10)))
    assert before != connection.execute("PRAGMA data_version").fetchone()
    connection.close()
    await store.close()
    assert seen == [[]] * GROUP_COMMIT + [[(GROUP_COMMIT,)]] * 10


async def test_a_database_that_is_not_there_is_said_in_one_word(tmp_path: Path) -> None:
    """Without the address, which may hold a password."""
    for address in ("postgresql://u:geheim@127.0.0.1:1/x", f"sqlite:///{tmp_path}"):
        with pytest.raises(StoreError) as raised:
            await open_store(address)
        assert "geheim" not in str(raised.value)
        assert str(tmp_path) not in str(raised.value)


async def tables_in(url: str) -> set[str]:
    """Return the names of the tables of a database."""
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    connection = await asyncpg.connect(url)
    try:
        return {
            row["tablename"]
            for row in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        }
    finally:
        await connection.close()


class TestMigrations:
    """From empty to today's tables, once, however many start at once."""

    async def test_an_empty_database_gets_every_table(self, url: str) -> None:
        """Those of `tables.py`, with the mark of the migration."""
        store = await open_store(url)
        await store.close()
        found = await tables_in(url)
        assert found == set(tables.metadata.tables) | {"planbrug_migration"}

    async def test_opening_again_changes_nothing(self, url: str) -> None:
        """What was kept is still there."""
        for _ in range(2):
            opened = await open_store(url)
            await opened.write(mark("blijft"))
            assert await opened.read(marks) == {"blijft"}
            await opened.close()

    async def test_gateways_that_start_together_migrate_once(self, postgres_url: str) -> None:
        """Each finds its tables, none fails."""
        opened = await asyncio.gather(*(open_store(postgres_url) for _ in range(4)))
        for each in opened:
            assert await each.read(marks) == set()
            await each.close()

    async def test_plans_and_keys_live_apart(self, url: str, tmp_path: Path) -> None:
        """The store of keys has one table, and no plan table has a key in it."""
        address = f"sqlite:///{tmp_path / 'keys.db'}"
        await (await open_store(address, "keys")).close()
        found = await tables_in(address)
        assert found == {"data_key", "keys_migration"}
        assert "data_key" not in tables.metadata.tables

    def test_the_migration_makes_the_tables_of_the_code(self, tmp_path: Path) -> None:
        """Columns and nullability of what Alembic made equal `tables.py`."""
        engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}")
        with engine.begin() as connection:
            migrate(connection, "planbrug")
            seen = inspect(connection)
            for name, table in tables.metadata.tables.items():
                made = {column["name"]: column["nullable"] for column in seen.get_columns(name)}
                assert made == {column.name: column.nullable for column in table.columns}
        engine.dispose()


def receipt(name: str, *parts: PartLine) -> ReceiptRow:
    """Return a receipt."""
    return ReceiptRow(
        id=name,
        exit="delivery",
        recipient="kompas",
        plan="p",
        plan_version=1,
        refused=False,
        code="begun",
        at=NOW,
        parts=parts,
    )


def line(ground: str | None) -> PartLine:
    """Return a part that left on a ground."""
    return PartLine(part_id="d", kind="goal", domain=None, ground=ground, article="x", choices=())  # type: ignore[arg-type]


class TestReceipts:
    """A part cannot be written as left without the ground on which it left."""

    @pytest.mark.parametrize("ground", [None, "", "zomaar", "Consent"])
    async def test_a_part_without_a_known_ground_is_refused(self, store: Store, ground: str | None) -> None:
        """By the database itself, and the receipt goes with it."""
        with pytest.raises(RuleError):
            await store.write(lambda tx: receipts.add_receipts(tx, [receipt("r", line(ground))]))
        assert await self.count(store) == (0, 0)

    @pytest.mark.parametrize("ground", tables.GROUNDS)
    async def test_a_part_with_a_ground_is_kept(self, store: Store, ground: str) -> None:
        """Whole, in both directions."""
        row = receipt("r", line(ground))
        await store.write(lambda tx: receipts.add_receipts(tx, [row]))
        asked = {"plan_id": "p", "recipient": "kompas", "viewer": None, "after": "", "limit": 9}
        assert await store.read(lambda tx: receipts.list_receipts(tx, **asked)) == (row,)

    async def test_a_part_without_a_receipt_is_refused(self, store: Store) -> None:
        """There is no part that belongs to nothing."""
        orphan = {
            "receipt": "nergens",
            "position": 0,
            "ground": "consent",
            "article": "x",
            "choices": "[]",
            "parts": "[]",
        }
        with pytest.raises(RuleError):
            await store.write(lambda tx: tx.execute(insert(tables.receipt_ground).values(orphan)).rowcount)

    async def test_a_receipt_of_what_never_left_is_gone_with_its_parts(self, store: Store) -> None:
        """Dropped as it was added."""
        await store.write(lambda tx: receipts.add_receipts(tx, [receipt("r", line("consent"))]))
        await store.write(lambda tx: receipts.drop_receipt(tx, "r"))
        assert await self.count(store) == (0, 0)

    async def count(self, store: Store) -> tuple[int, int]:
        """Return how many receipts and parts there are."""

        def work(tx: Transaction) -> tuple[int, int]:
            both = (tables.receipt, tables.receipt_ground)
            first, second = (tx.execute(select(func.count()).select_from(table)).scalar_one() for table in both)
            return first, second

        return await store.read(work)


def delivery(number: int, **changed: object) -> DeliveryRow:
    """Return a delivery that is due."""
    made = DeliveryRow(
        id=f"d{number:02d}",
        plan=f"p{number:02d}",
        plan_version=1,
        recipient="kompas",
        lane="webhook/fhir/support",
        adapter="webhook",
        created_at=NOW,
        updated_at=NOW,
        due_at=NOW + timedelta(microseconds=number),
    )
    return replace(made, **changed)


class TestSchedule:
    """What is due is taken once, and comes back when its lease ends."""

    async def test_a_claim_takes_what_is_due_for_as_long_as_its_lease(self, store: Store) -> None:
        """Oldest first, at most so many, nobody else until the lease ends, and then again."""
        await store.write(lambda tx: deliveries.add_deliveries(tx, [delivery(3), delivery(1), delivery(2)]))
        taken = await store.write(lambda tx: schedule.claim_due(tx, LATER, LATER + timedelta(seconds=60), 2))
        assert set(taken) == {"d01", "d02"}
        assert await store.write(lambda tx: schedule.claim_due(tx, LATER, LATER, 9)) == ("d03",)
        row = await store.read(lambda tx: deliveries.get_delivery(tx, "d01"))
        assert row is not None
        assert (row.state, row.due_at) == ("queued", LATER + timedelta(seconds=60))
        after = LATER + timedelta(seconds=60)
        assert set(await store.write(lambda tx: schedule.claim_due(tx, after, after, 9))) == {"d01", "d02", "d03"}

    async def test_claims_at_once_share_the_work(self, store: Store) -> None:
        """No delivery goes to two."""
        await store.write(lambda tx: deliveries.add_deliveries(tx, [delivery(number) for number in range(40)]))
        lease = LATER + timedelta(seconds=60)
        claims = (store.write(lambda tx: schedule.claim_due(tx, LATER, lease, 10)) for _ in range(8))
        taken = [each for claim in await asyncio.gather(*claims) for each in claim]
        assert len(taken) == len(set(taken))
        left = await store.write(lambda tx: schedule.claim_due(tx, LATER, lease, 99))
        assert {*taken, *left} == {f"d{number:02d}" for number in range(40)}

    @pytest.mark.parametrize("state", ["acknowledged", "withheld", "unchanged", "superseded", "parked", "recalled"])
    async def test_what_has_ended_is_never_due(self, store: Store, state: str) -> None:
        """An ended delivery has no moment any more."""
        await store.write(lambda tx: deliveries.add_deliveries(tx, [delivery(1)]))
        row = await store.read(lambda tx: deliveries.get_delivery(tx, "d01"))
        assert row is not None
        await store.write(lambda tx: deliveries.finish(tx, row, state=state, reason="same-view", now=LATER))
        assert await store.read(lambda tx: schedule.due(tx, LATER + timedelta(days=400), 9)) == ()

    async def test_what_the_broker_did_not_take_is_due_soon_again(self, store: Store) -> None:
        """Before its lease would end."""
        await store.write(lambda tx: deliveries.add_deliveries(tx, [delivery(1)]))
        await store.write(lambda tx: schedule.claim_due(tx, LATER, LATER + timedelta(hours=1), 9))
        await store.write(lambda tx: schedule.look_again(tx, ["d01"], LATER + timedelta(seconds=1)))
        assert await store.read(lambda tx: schedule.due(tx, LATER + timedelta(seconds=1), 9)) == ("d01",)

    async def test_who_comes_late_moves_nothing(self, store: Store) -> None:
        """What was read as sent and has been acknowledged since is neither parked nor made to wait, and keeps its number."""
        row = delivery(1, state="sent", sequence=7, due_at=None)
        await store.write(lambda tx: deliveries.add_deliveries(tx, [row]))
        await store.write(lambda tx: deliveries.acknowledge(tx, [row.id], NOW))
        assert not await store.write(lambda tx: deliveries.finish(tx, row, state="parked", reason="stopped", now=LATER))
        await store.write(lambda tx: deliveries.wait(tx, row, reason="timeout", until=LATER, now=LATER))
        assert not await store.write(lambda tx: deliveries.stop(tx, row.id, LATER))
        kept = await store.read(lambda tx: deliveries.get_delivery(tx, row.id))
        assert kept is not None
        assert (kept.state, kept.reason, kept.sequence, kept.due_at) == ("acknowledged", None, 7, None)

    async def test_an_unknown_state_is_refused(self, store: Store) -> None:
        """The set of states is closed in the database too."""
        with pytest.raises(RuleError):
            await store.write(lambda tx: deliveries.add_deliveries(tx, [delivery(1, state="zoek")]))


class TestSequences:
    """Numbers per recipient start at 1 and leave no gap."""

    async def test_each_recipient_counts_for_itself(self, store: Store) -> None:
        """And what is given back is taken first."""

        def work(tx: Transaction) -> list[int]:
            return [taken(tx, who) for who in ("a", "a", "b", "a", "b")]

        assert await store.write(work) == [1, 2, 1, 3, 2]
        await store.write(lambda tx: sequences.give_back(tx, "d", "a", 2))
        assert [await store.write(lambda tx: taken(tx, "a")) for _ in range(2)] == [2, 4]

    async def test_a_number_of_a_transaction_that_failed_is_not_lost(self, store: Store) -> None:
        """The next takes it."""

        def work(tx: Transaction) -> None:
            taken(tx, "a")
            raise LookupError

        with pytest.raises(LookupError):
            await store.write(work)
        assert await store.write(lambda tx: taken(tx, "a")) == 1


def version(number: int, plan: str = "p") -> VersionRow:
    """Return a version of a plan."""
    return VersionRow(
        plan=plan,
        version=number,
        status="decided",
        format="plan-van-aanpak",
        format_version="1",
        fingerprint="f" * 64,
        body=b"\x00sealed",
        source_body=b"\xffsealed",
        received_at=NOW,
        received_from="team",
    )


def new_version(row: VersionRow, number: str | None, *residents: str) -> NewVersion:
    """Return a version to keep."""
    return NewVersion(row=row, source="team", number_fingerprint=number, residents=residents)


async def kept(store: Store, *versions: NewVersion) -> bool:
    """Keep versions together; say whether they were kept."""

    def work(tx: Transaction) -> None:
        if not plans.add_versions(tx, versions):
            raise LookupError

    try:
        await store.write(work)
    except LookupError:
        return False
    return True


class TestPlans:
    """Versions follow each other, and a plan number is one plan."""

    async def test_versions_follow_each_other(self, store: Store) -> None:
        """The next is kept; one that is not the next is not, and takes along what it came with."""
        added = [await kept(store, new_version(version(n), "n", "a", "b")) for n in (1, 3, 2, 2)]
        assert added == [True, False, True, False]
        assert not await kept(store, new_version(version(1, "q"), "q"), new_version(version(2), "n"))
        assert await store.read(lambda tx: plans.version_of(tx, "p")) == version(2)
        assert await store.read(lambda tx: plans.version_of(tx, "p", 1)) == version(1)
        assert await store.read(lambda tx: plans.version_of(tx, "p", 3)) is None
        assert [row.version for row in await store.read(lambda tx: plans.plans_of_resident(tx, "a"))] == [2]
        assert await store.read(plans.count_plans) == 1

    async def test_versions_come_together(self, store: Store) -> None:
        """First ones and next ones in one transaction."""
        assert await kept(store, new_version(version(1), "n"))
        assert await kept(store, new_version(version(2), "n"), new_version(version(1, "q"), None, "a"))
        assert await store.read(lambda tx: plans.version_of(tx, "p")) == version(2)
        assert await store.read(lambda tx: plans.version_of(tx, "q")) == version(1, "q")

    async def test_a_number_names_one_plan(self, store: Store) -> None:
        """A second plan under it is not written, and what is without a number does not clash."""
        for plan, number in (("p", "n"), ("q", "n"), ("r", None), ("s", None)):
            assert await kept(store, new_version(version(1, plan), number, "a")) is (plan != "q")
        found = await store.read(lambda tx: plans.plans_by_number(tx, ["n", "x"]))
        assert {number: row.id for number, row in found.items()} == {"n": "p"}
        assert await store.read(plans.count_plans) == 3

    async def test_whoever_is_first_names_the_resident(self, store: Store) -> None:
        """The second learns who it is."""
        assert await store.write(lambda tx: plans.add_resident(tx, "hash", "a")) == "a"
        assert await store.write(lambda tx: plans.add_resident(tx, "hash", "b")) == "a"

    async def test_a_key_is_used_once_per_client(self, store: Store) -> None:
        """Whatever it is used for."""
        use = KeyUse(body_fingerprint="f", plan="p", version=1, outcome="created")
        for client, first in (("a", True), ("a", False), ("b", True)):
            assert await store.write(lambda tx, c=client: plans.add_key_use(tx, c, "k", use, NOW)) is first
        assert await store.read(lambda tx: plans.key_use(tx, "a", "k")) == use
        assert await store.read(lambda tx: plans.key_use(tx, "c", "k")) is None


class TestChoices:
    """Every version is kept, and the newest counts."""

    async def test_versions_follow_each_other(self, store: Store) -> None:
        """A version that is not the next is not written."""
        row = ChoicesRow(resident="a", version=1, body=b"1", at=NOW, changed_by="team")
        for number, added in ((2, False), (1, True), (1, False), (2, True)):
            made = replace(row, version=number, body=str(number).encode())
            assert await store.write(lambda tx, made=made: choices.add_choices(tx, made)) is added
        assert await store.read(lambda tx: choices.choice_versions(tx, ["a", "b"])) == {"a": 2, "b": 0}
        found = await store.read(lambda tx: choices.current_choices(tx, ["a", "b"]))
        assert {who: kept.body for who, kept in found.items()} == {"a": b"2"}

    async def test_a_choice_leads_to_its_resident(self, store: Store) -> None:
        """Also once it is withdrawn, and whoever names it again."""
        for resident, names in (("a", ["1", "2"]), ("a", ["2"]), ("b", ["3"]), ("b", [])):
            await store.write(lambda tx, who=resident, ids=names: choices.name_choices(tx, who, ids))
        found = await store.read(lambda tx: choices.residents_of_choices(tx, ["1", "3", "4"]))
        assert found == {"1": "a", "3": "b"}

    async def test_each_version_has_its_moment(self, store: Store) -> None:
        for number, at in ((1, NOW), (2, LATER)):
            row = ChoicesRow(resident="a", version=number, body=b"", at=at, changed_by="team")
            await store.write(lambda tx, made=row: choices.add_choices(tx, made))
        assert await store.read(lambda tx: choices.moments_of(tx, "a", [2, 9])) == {2: LATER}

    async def test_a_wake_up_is_answered_once(self, store: Store) -> None:
        """At its moment, and those that come later stay."""
        for due_at in (NOW, NOW, LATER):
            await store.write(lambda tx, at=due_at: choices.add_wakeups(tx, [("a", at)]))
        assert await store.read(lambda tx: choices.due_wakeups(tx, NOW - timedelta(microseconds=1), 9)) == ()
        assert await store.read(lambda tx: choices.due_wakeups(tx, LATER, 9)) == ("a",)
        await store.write(lambda tx: choices.remove_wakeups(tx, "a", NOW))
        assert await store.read(lambda tx: choices.due_wakeups(tx, NOW, 9)) == ()
        assert await store.read(lambda tx: choices.due_wakeups(tx, LATER, 9)) == ("a",)


class TestViews:
    """A reader's version counts what was disclosed to it, and nothing else."""

    async def test_a_version_is_counted_when_it_is_disclosed(self, store: Store) -> None:
        """Looking changes nothing; the same content keeps its number; what comes back after an end is a change."""

        def look(content: str, at: datetime = NOW, *, disclose: bool = True) -> int:
            def work(tx: Transaction) -> int:
                state = views.look(tx, "p", "r", content, at)
                if disclose:
                    views.disclose(tx, [Disclosure(plan="p", reader="r", fingerprint=content, state=state)])
                return state.version

            return work  # type: ignore[return-value]

        told = [
            await store.write(look("a", disclose=False)),
            await store.write(look("b", disclose=False)),
            await store.write(look("a")),
            await store.write(look("a")),
            await store.write(look("b", disclose=False)),
            await store.write(look("a")),
            await store.write(look("b")),
        ]
        assert told == [1, 1, 1, 1, 2, 1, 2]
        await store.write(lambda tx: views.end(tx, "p", "r"))
        assert await store.write(look("b")) == 3

    async def test_a_change_has_the_date_on_which_it_was_first_seen(self, store: Store) -> None:
        """Also when it goes out later, and an end forgets what was never shown."""

        def look(at: datetime) -> datetime:
            return lambda tx: views.look(tx, "p", "r", "a", at).changed_at  # type: ignore[return-value]

        assert await store.write(look(NOW)) == NOW
        assert await store.write(look(LATER)) == NOW
        await store.write(lambda tx: views.end(tx, "p", "r"))
        assert await store.write(look(LATER)) == LATER


async def test_an_assertion_is_used_once_until_it_expires(store: Store) -> None:
    """Remembered for as long as it could be used, and then forgotten."""

    def use(jti: str, now: datetime) -> bool:
        return lambda tx: assertions.use_assertion(tx, "c", jti, now + timedelta(minutes=6), now)  # type: ignore[return-value]

    told = [await store.write(use("j", NOW)), await store.write(use("j", LATER)), await store.write(use("k", LATER))]
    assert told == [True, False, True]
    much_later = NOW + timedelta(hours=1)
    assert await store.write(use("x", much_later)) is True
    assert (
        await store.read(lambda tx: tx.execute(select(func.count()).select_from(tables.used_assertion)).scalar_one())
        == 1
    )


async def test_a_moment_comes_back_to_the_microsecond(store: Store) -> None:
    """Aware, in UTC, in both databases; and the clock gives nothing else."""
    await store.write(lambda tx: deliveries.add_deliveries(tx, [delivery(1)]))
    row = await store.read(lambda tx: deliveries.get_delivery(tx, "d01"))
    assert row is not None
    assert (row.created_at, row.created_at.tzinfo) == (NOW, UTC)
    assert Clock().now().tzinfo is UTC
