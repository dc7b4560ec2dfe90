"""Plans and choices are sealed per set of subjects: a destroyed key takes its own parts and nobody else's."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import delete, select
from world import example

from consent.choice import Choice, GivenBy, RecipientSelector
from gateway.clock import Clock
from gateway.logs import open_log
from gateway.render import media_type
from gateway.seal import MasterKey, SealError, load_master_key, new_data_key, seal, unseal
from gateway.shelf import Shelf
from gateway.store.engine import Store
from gateway.store.opening import open_store
from gateway.store.tables import data_key
from gateway.vault import Vault
from mappings.plan import SupportPlan

MASTER = MasterKey(bytes(range(32)))
OTHER = MasterKey(bytes(range(1, 33)))


@pytest.fixture
async def keys(tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store of wrapped keys."""
    opened = await open_store(f"sqlite:///{tmp_path / 'keys.db'}", "keys")
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
def plan() -> SupportPlan:
    """The plan of the family: parts of Marloes, of Finn and of both."""
    form = Shelf(None, open_log(None)).get("plan-van-aanpak")
    assert form is not None
    draft = form.read(msgspec.json.encode(example()))
    return msgspec.structs.replace(draft.plan, id="plan-1", version=1)


def vault(keys: Store, master: MasterKey = MASTER) -> Vault:
    """Return a vault that has no key in memory yet."""
    return Vault(keys, master, Clock())


async def destroy(keys: Store, subjects: tuple[str, ...]) -> None:
    """Destroy the key of one set of subjects."""
    gone = delete(data_key).where(data_key.c.subjects == " ".join(sorted(subjects)))
    assert await keys.write(lambda tx: tx.execute(gone).rowcount) == 1


def subjects_of(plan: SupportPlan) -> set[frozenset[str]]:
    """Return the sets of people that the parts of a plan are about."""
    return {frozenset(part.label.subjects) for part in plan.parts}


class TestPlans:
    """A plan is kept as blocks, one per set of people."""

    async def test_a_plan_comes_back_as_it_went_in(self, keys: Store, plan: SupportPlan) -> None:
        """Part by part in the same order, also for a process that starts without keys in memory."""
        body, _ = await vault(keys).seal_plan(plan, b"source")
        assert await vault(keys).open_plan("plan-1", 1, body) == plan

    async def test_a_destroyed_key_takes_the_parts_of_that_person_alone(self, keys: Store, plan: SupportPlan) -> None:
        """What is about the other, and what is about both, stays readable."""
        marloes, finn = plan.residents
        assert subjects_of(plan) == {frozenset({marloes}), frozenset({finn}), frozenset({marloes, finn})}
        body, _ = await vault(keys).seal_plan(plan, b"source")
        await destroy(keys, (marloes,))
        left = await vault(keys).open_plan("plan-1", 1, body)
        assert left.parts == tuple(part for part in plan.parts if part.label.subjects != (marloes,))
        assert (left.residents, left.number) == (plan.residents, plan.number)

    async def test_a_destroyed_joint_key_leaves_what_is_about_one(self, keys: Store, plan: SupportPlan) -> None:
        """A set of people has a key of its own, that no member's key opens."""
        body, _ = await vault(keys).seal_plan(plan, b"source")
        found = await keys.read(lambda tx: dict(tx.execute(select(data_key.c.subjects, data_key.c.wrapped)).all()))
        assert len(found) == len(set(found.values())) == 3
        assert set(found) == {" ".join(sorted(who)) for who in subjects_of(plan)}
        assert b"Marloes" not in body

    async def test_a_key_is_made_once_per_set(self, keys: Store, plan: SupportPlan) -> None:
        """The next version, and another process, use the same."""
        await vault(keys).seal_plan(plan, b"source")
        await vault(keys).seal_plan(msgspec.structs.replace(plan, version=2), b"source")
        assert len(await keys.read(lambda tx: tx.execute(select(data_key.c.id)).all())) == 3

    @pytest.mark.parametrize(("name", "version"), [("plan-2", 1), ("plan-1", 2), ("plan-1", 11)])
    async def test_a_sealed_plan_opens_as_that_version_of_that_plan_only(
        self, keys: Store, plan: SupportPlan, name: str, version: int
    ) -> None:
        """Bytes that were put in another row do not open."""
        body, _ = await vault(keys).seal_plan(plan, b"source")
        with pytest.raises(SealError):
            await vault(keys).open_plan(name, version, body)

    async def test_another_master_key_opens_nothing(self, keys: Store, plan: SupportPlan) -> None:
        """Not one data key can be unwrapped."""
        body, _ = await vault(keys).seal_plan(plan, b"source")
        with pytest.raises(SealError):
            await vault(keys, OTHER).open_plan("plan-1", 1, body)

    async def test_a_bit_that_fell_over_is_seen(self, keys: Store, plan: SupportPlan) -> None:
        """Altered bytes are not opened as something else."""
        body, _ = await vault(keys).seal_plan(plan, b"source")
        altered = body[:-1] + bytes([body[-1] ^ 1])
        with pytest.raises(SealError):
            await vault(keys).open_plan("plan-1", 1, altered)

    async def test_the_same_plan_is_never_the_same_bytes(self, keys: Store, plan: SupportPlan) -> None:
        """So that nobody sees which versions are equal."""
        one = vault(keys)
        assert (await one.seal_plan(plan, b"s"))[0] != (await one.seal_plan(plan, b"s"))[0]

    async def test_the_source_is_sealed_too(self, keys: Store, plan: SupportPlan) -> None:
        """The document as it came is not readable beside the plan."""
        source = msgspec.json.encode(example())
        body, kept = await vault(keys).seal_plan(plan, source)
        for text in (b"Marloes", b"999900006", b"planNummer", b"VL-2026"):
            assert text in source
            assert text not in body
            assert text not in kept


CHOICE = Choice(
    recipient=RecipientSelector(type="organisation", organisation="kompas"),
    effect="deny",
    given_by=GivenBy(capacity="resident", person="marloes"),
    evidence="formulier 7",
)


class TestChoices:
    """Choices are sealed under the key of the resident alone."""

    async def test_choices_come_back(self, keys: Store) -> None:
        """At the version that they were kept at, for that resident."""
        body = await vault(keys).seal_choices("a", 3, [CHOICE])
        assert b"formulier" not in body
        assert await vault(keys).open_choices("a", 3, body) == (CHOICE,)
        for who, version in (("a", 2), ("b", 3)):
            with pytest.raises(SealError):
                await vault(keys).open_choices(who, version, body)

    async def test_choices_go_with_their_resident(self, keys: Store) -> None:
        """And another's stay."""
        first = await vault(keys).seal_choices("a", 1, [CHOICE])
        second = await vault(keys).seal_choices("b", 1, [CHOICE])
        await destroy(keys, ("a",))
        assert await vault(keys).open_choices("a", 1, first) == ()
        assert await vault(keys).open_choices("b", 1, second) == (CHOICE,)


class TestMasterKey:
    """One secret, and from it a key for each use."""

    def test_names_differ_per_use_and_per_key(self) -> None:
        """The hash that finds, the id of a part and the number for a recipient tell nothing about each other."""
        made = {
            MASTER.fingerprint("bsn", "999900006"),
            OTHER.fingerprint("bsn", "999900006"),
            MASTER.fingerprint("body", "999900006"),
            MASTER.fingerprint("bsn999900006"),
            MASTER.part_id("bsn", "999900006"),
            MASTER.pseudonym("bsn", "999900006"),
            MASTER.pseudonym("kompas", "999900006"),
        }
        assert len(made) == 7
        assert MASTER.pseudonym("kompas", "a") == MASTER.pseudonym("kompas", "a") != MASTER.pseudonym("de-linde", "a")

    def test_a_wrapped_key_opens_under_its_own_master_only(self) -> None:
        """Wrapping is sealing."""
        secret = new_data_key()
        assert MASTER.unwrap(MASTER.wrap(secret)) == secret
        with pytest.raises(SealError):
            OTHER.unwrap(MASTER.wrap(secret))

    def test_a_seal_holds_its_context(self) -> None:
        """The same bytes open in one place."""
        key = new_data_key()
        sealed = seal(key, b"tekst", b"hier")
        assert unseal(key, sealed, b"hier") == b"tekst"
        for wrong in (b"daar", b""):
            with pytest.raises(SealError):
                unseal(key, sealed, wrong)

    @pytest.mark.parametrize("content", [b"", b"kort", b"!!!", b"QUJD"])
    def test_a_file_that_is_no_master_key_is_refused(self, tmp_path: Path, content: bytes) -> None:
        """Without saying what is in it."""
        path = tmp_path / "master.key"
        path.write_bytes(content)
        with pytest.raises(SealError):
            load_master_key(path, create=True)

    def test_an_absent_master_key_is_made_in_a_demo_only(self, tmp_path: Path) -> None:
        """In production losing it must not look like a fresh start."""
        path = tmp_path / "geheim" / "master.key"
        with pytest.raises(SealError):
            load_master_key(path, create=False)
        made = load_master_key(path, create=True)
        assert made.fingerprint("x") == load_master_key(path, create=False).fingerprint("x")
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_media_type_names_its_format() -> None:
    """One scheme for all formats."""
    assert media_type("plan-van-aanpak") == "application/vnd.planbrug.plan-van-aanpak+json"
