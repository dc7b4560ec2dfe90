"""What a resident changes holds under FHIR from the next question on: a withdrawal, a permit, a period, a birthday, a new version."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from asking import ask, entries, found, name_of, next_link, seen_by
from world import World, example, open_world

from consent.voices import amsterdam_day
from gateway.callers import ASSERTION_TYPE, client_assertion, read_private_key
from gateway.client import Answered, GatewayClient
from gateway.demo.vlinderstad import MARLOES_CHOICES

KOMPAS = "provider-a"
TODAY = amsterdam_day(datetime.now(UTC))


@pytest.fixture(params=["sqlite", "postgresql"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """A world of its own on either database."""
    known = {"database_url": request.getfixturevalue("postgres_url")} if request.param == "postgresql" else {}
    async with open_world(tmp_path, **known) as opened:
        yield opened


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    """A world on SQLite, for what does not depend on the database."""
    async with open_world(tmp_path) as opened:
        yield opened


def permit(*domains: str, **more: Any) -> dict[str, Any]:
    """Return a choice of Marloes for Kompas."""
    return MARLOES_CHOICES[0] | {"parts": [{"domains": list(domains)}]} | more


async def kept(world: World) -> tuple[str, str]:
    """Send the example; return the plan, and Marloes."""
    sent = (await world.send(example())).body
    return sent["planId"], {row["reference"]: row["id"] for row in sent["residents"]}["marloes"]


async def add(world: World, resident: str, choice: dict[str, Any]) -> str:
    """Add one choice; return where it stands."""
    answered = await world.team.ask("POST", f"/v1/residents/{resident}/choices", json_body=choice)
    assert answered.status == 201, answered.body
    return f"/v1/residents/{resident}/choices/{answered.body['id']}"


async def goals_of(world: World, plan: str, *domains: str) -> set[str]:
    """Return the ids of the goals in these life domains about Marloes alone."""
    whole = await world.gateway.sight.load(plan)
    assert whole is not None
    return {
        part.id
        for part in whole.parts
        if part.kind == "goal" and part.label.domain in domains and len(part.label.subjects) == 1
    }


async def nothing_of(world: World, name: tuple[str, str], nothing: Answered) -> None:
    """Fail when anything that Kompas can ask tells that this resource is there."""
    kind, end = name
    for path in (f"{kind}/{end}", f"{kind}/{end}/_history", f"{kind}/{end}/_history/1", f"{kind}/{end}/_history/2"):
        answered = await ask(world, KOMPAS, path)
        assert (answered.status, answered.body) == (404, nothing.body), path
    assert (await ask(world, KOMPAS, kind, [("_id", end), ("_total", "accurate")])).body["total"] == 0
    for path, pairs in ((kind, []), ("CarePlan", []), ("CareTeam", []), ("Task", [("_include", "Task:focus")])):
        assert end not in str((await ask(world, KOMPAS, path, pairs)).body), path
    history = await ask(world, KOMPAS, "CarePlan")
    for each in entries(history.body):
        assert end not in str((await ask(world, KOMPAS, f"CarePlan/{each['id']}/_history")).body)


async def test_a_withdrawal_holds_from_the_next_question_on(world: World) -> None:
    """Search, read, version, history, next page, old ETag: nothing of it; and all of it again after a new permit."""
    plan, marloes = await kept(world)
    await add(world, marloes, permit("housing"))
    money = await add(world, marloes, permit("finances"))
    goal = (await goals_of(world, plan, "finances")).pop()
    read = await ask(world, KOMPAS, f"Goal/{goal}")
    assert read.status == 200
    assert (await ask(world, KOMPAS, f"Goal/{goal}/_history")).body["total"] == 1
    before = await seen_by(world, KOMPAS, [plan])
    first = await ask(world, KOMPAS, "Observation", [("_count", "1")])
    following = next_link(world, first.body)
    assert following is not None
    nothing = await ask(world, KOMPAS, "Goal/nergens")
    assert (await world.team.ask("DELETE", money)).status == 204
    page = await world.clients[KOMPAS].ask("GET", following)
    await nothing_of(world, ("Goal", goal), nothing)
    stale = await ask(world, KOMPAS, f"Goal/{goal}", headers={"If-None-Match": read.headers["ETag"]})
    assert (stale.status, stale.body) == (404, nothing.body)
    after = await seen_by(world, KOMPAS, [plan])
    assert {name_of(each) for each in entries(page.body)} <= after.keys()
    assert ("Goal", goal) in before.keys() - after.keys()
    for kind in {kind for kind, _ in before}:
        assert await found(world, KOMPAS, kind) == {end for of, end in after if of == kind}, kind
    await add(world, marloes, permit("finances"))
    again = await ask(world, KOMPAS, f"Goal/{goal}")
    assert (again.status, again.headers["ETag"] > read.headers["ETag"]) == (200, True)
    assert goal in await found(world, KOMPAS, "Goal")


async def test_what_was_never_given_is_in_no_history(here: World) -> None:
    """A goal that was corrected before the permit has one version, and a withdrawal closes also the versions that were given."""
    plan, marloes = await kept(here)
    await add(here, marloes, permit("housing"))
    await here.send(example(edit=lambda document: document["doelen"][0].update(omschrijving="Een correctie.")))
    await ask(here, KOMPAS, "Goal")
    money = await add(here, marloes, permit("finances"))
    goal = (await goals_of(here, plan, "finances")).pop()
    told = (await ask(here, KOMPAS, f"Goal/{goal}/_history")).body
    assert [each["resource"]["description"]["text"] for each in told["entry"]] == ["Een correctie."]
    await here.send(example(edit=lambda document: document["doelen"][0].update(omschrijving="Een tweede correctie.")))
    told = (await ask(here, KOMPAS, f"Goal/{goal}/_history")).body
    texts = [each["resource"]["description"]["text"] for each in told["entry"]]
    assert texts == ["Een tweede correctie.", "Een correctie."]
    versions = [each["resource"]["meta"]["versionId"] for each in told["entry"]]
    for version, text in zip(versions, texts, strict=True):
        assert (await ask(here, KOMPAS, f"Goal/{goal}/_history/{version}")).body["description"]["text"] == text
    await here.team.ask("DELETE", money)
    for version in versions:
        assert (await ask(here, KOMPAS, f"Goal/{goal}/_history/{version}")).status == 404


async def test_a_new_version_and_a_new_plan_are_found_at_once(world: World) -> None:
    """A goal that changed, one that went, and a second plan of the same residents."""
    plan, marloes = await kept(world)
    await add(world, marloes, permit("finances"))
    assert len(await found(world, KOMPAS, "Goal")) == len(
        await found(world, KOMPAS, "Goal", [("lifecycle-status", "active")])
    )
    goal = (await goals_of(world, plan, "finances")).pop()

    def reached(document: dict[str, Any]) -> None:
        document["doelen"][0]["status"] = "behaald"

    assert (await world.send(example(edit=reached))).status == 200
    assert goal not in await found(world, KOMPAS, "Goal", [("lifecycle-status", "active")])
    assert goal in await found(world, KOMPAS, "Goal", [("lifecycle-status", "completed")])

    def another(document: dict[str, Any]) -> None:
        document["planNummer"] = "VL-2026-00888"

    second = (await world.send(example(edit=another))).body["planId"]
    for client in (KOMPAS, "team", "provider-b", "backoffice"):
        assert second in await found(world, client, "CarePlan"), client
        seen = await seen_by(world, client, [plan, second])
        for kind in ("Goal", "Task", "Patient", "ServiceRequest"):
            assert await found(world, client, kind) == {end for of, end in seen if of == kind}

    def without(document: dict[str, Any]) -> None:
        document["doelen"] = document["doelen"][1:]
        for part in (*document["acties"], *document["voorzieningen"]):
            part["doelen"] = [number for number in part["doelen"] if number != 1]

    assert (await world.send(example(edit=without))).status == 200
    assert goal not in await found(world, KOMPAS, "Goal")
    assert (await ask(world, KOMPAS, f"Goal/{goal}")).status == 404


async def test_an_organisation_that_changes_sees_what_it_may_see_now(here: World) -> None:
    """Without the article no BSN, as a school no care plan; and when it is put back all of it again."""
    plan, marloes = await kept(here)
    await add(here, marloes, permit("housing"))
    entry = (await here.gateway.directory.now()).entries["kompas"]
    law = {kind: await found(here, KOMPAS, kind) for kind in ("Patient", "Goal", "ServiceRequest")}
    body = b"identifier=999900006&_summary=count"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}

    async def known_by_bsn() -> int:
        told = await here.clients[KOMPAS].ask("POST", "/fhir/Patient/_search", body=body, headers=headers)
        return int(told.body["total"])

    assert await known_by_bsn() == 1
    await here.gateway.directory.put(msgspec.structs.replace(entry, bsn_article=None))
    assert await known_by_bsn() == 0
    (patient,) = [
        each for each in (await seen_by(here, KOMPAS, [plan])).values() if each.get("birthDate", "").startswith("1989")
    ]
    assert "999900006" not in str(patient)
    await here.gateway.directory.put(msgspec.structs.replace(entry, kind="school"))
    seen = await seen_by(here, KOMPAS, [plan])
    for kind, before in law.items():
        now = await found(here, KOMPAS, kind)
        assert now == {end for of, end in seen if of == kind} <= before
    assert await found(here, KOMPAS, "ServiceRequest") < law["ServiceRequest"]
    await here.gateway.directory.put(entry)
    assert await known_by_bsn() == 1
    assert {kind: await found(here, KOMPAS, kind) for kind in law} == law


@asynccontextmanager
async def later(world: World, days: float) -> AsyncIterator[None]:
    """Let the clock of a running world be ahead."""
    clock = world.gateway.clock
    clock._offset = timedelta(days=days)
    clients = dict(world.clients)
    for name in clients:
        world.clients[name] = await again(world, name)
    try:
        yield
    finally:
        clock._offset = timedelta()
        world.clients.update(clients)


async def again(world: World, name: str) -> GatewayClient:
    """Return a caller with a token of this moment on the gateway's clock."""
    contact, clock = world.known.clients[name], world.gateway.clock
    key = read_private_key(Path(contact["keyFile"]))
    assertion = client_assertion(key, contact["clientId"], world.known.token_url, clock.now(), clock.new_id())
    form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
    async with world.session.post(world.known.token_url, data=form | {"scope": contact["scope"]}) as response:
        return GatewayClient(world.session, world.gateway.public_url, (await response.json())["access_token"])


async def test_the_edges_of_a_period_take_effect_by_themselves(here: World) -> None:
    """The index does not outlive the day on which a choice begins or ends, though nobody touches anything."""
    plan, marloes = await kept(here)
    starts, ends = TODAY + timedelta(days=2), TODAY + timedelta(days=4)
    await add(here, marloes, permit("finances") | {"from": starts.isoformat(), "until": ends.isoformat()})
    goal = (await goals_of(here, plan, "finances")).pop()
    for days, is_there in ((0, False), (2, True), (4, True), (5, False)):
        async with later(here, days):
            assert (goal in await found(here, KOMPAS, "Goal")) is is_there, days
            assert (await ask(here, KOMPAS, f"Goal/{goal}")).status == (200 if is_there else 404)
            seen = await seen_by(here, KOMPAS, [plan])
            assert await found(here, KOMPAS, "Goal") == {end for kind, end in seen if kind == "Goal"}


async def test_a_birthday_takes_effect_by_itself(here: World) -> None:
    """What a mother chose for her child is over on the day that the child turns sixteen."""
    sixteen = TODAY + timedelta(days=3)

    def young(document: dict[str, Any]) -> None:
        document["bewoners"][1]["geboortedatum"] = sixteen.replace(year=sixteen.year - 16).isoformat()
        document["doelen"][2].update(over=["finn"], wet="wmo")

    sent = (await here.send(example(edit=young))).body
    finn = {row["reference"]: row["id"] for row in sent["residents"]}["finn"]
    choice = permit("parenting") | {"givenBy": {"capacity": "parent", "person": "marloes"}}
    await add(here, finn, choice)
    for days, is_there in ((0, True), (2, True), (3, False)):
        async with later(here, days):
            seen = await seen_by(here, KOMPAS, [sent["planId"]])
            goals = {end for kind, end in seen if kind == "Goal"}
            assert await found(here, KOMPAS, "Goal") == goals
            whole = await here.gateway.sight.load(sent["planId"])
            assert whole is not None
            (goal,) = [part.id for part in whole.parts if part.kind == "goal" and part.label.domain == "parenting"]
            assert (goal in goals) is is_there, days


async def test_a_page_lives_a_quarter_of_an_hour(here: World) -> None:
    """Just before it is there, just after it is gone."""
    await kept(here)
    first = await ask(here, "team", "Goal", [("_count", "1")])
    following = next_link(here, first.body)
    assert following is not None
    async with later(here, 890 / 86_400):
        assert (await here.team.ask("GET", following)).status == 200
    async with later(here, 905 / 86_400):
        assert (await here.team.ask("GET", following)).status == 410


class Busy:
    """Asks and changes at once; what is withheld must not be seen from the answer to the withdrawal on."""

    def __init__(self, world: World, plan: str, marloes: str, goals: set[str]) -> None:
        self.world, self.plan, self.marloes, self.goals = world, plan, marloes, goals
        self.withheld_since = 0
        self.round = 0
        self.is_over = False
        self.statuses: dict[int, int] = {}
        self.shown = 0

    async def choose(self) -> None:
        """Give and withdraw in turn, counting rounds: an odd round begins when the withdrawal was answered."""
        for _ in range(6):
            place = await add(self.world, self.marloes, permit("finances"))
            await asyncio.sleep(0.05)
            assert (await self.world.team.ask("DELETE", place)).status == 204
            self.round += 1
            await asyncio.sleep(0.05)
            self.round += 1
        self.is_over = True

    async def edit(self) -> None:
        number = 0
        while not self.is_over:
            number += 1
            text = f"Versie {number}."

            def edited(document: dict[str, Any], text: str = text) -> None:
                document["doelen"][1]["omschrijving"] = text

            assert (await self.world.send(example(edit=edited))).status in {200, 409}
            await asyncio.sleep(0.02)

    async def ask(self, seed: int) -> None:
        chance = random.Random(seed)
        goal = min(self.goals)
        paths = (
            "Goal",
            "Goal?_total=accurate",
            "Task?_include=Task:focus",
            "Task?_sort=-_lastUpdated&_count=2",
            f"Goal?_id={goal}",
            f"Goal/{goal}",
            f"Goal/{goal}/_history",
            "CarePlan",
        )
        while not self.is_over:
            path = chance.choice(paths)
            began = self.round
            answered = await self.world.clients[KOMPAS].ask("GET", f"/fhir/{path}")
            self.statuses[answered.status] = self.statuses.get(answered.status, 0) + 1
            assert answered.status in {200, 404, 409}, answered.body
            told = {key: value for key, value in answered.body.items() if key != "link"}
            is_shown = any(each in str(told) for each in self.goals)
            self.shown += is_shown
            assert not (is_shown and began % 2 == 1 and self.round == began), path


async def test_searches_amid_changes_show_nothing_withheld_and_never_fail(world: World) -> None:
    """Four callers ask while choices and the plan change: no 5xx, and after a withdrawal was answered nothing of it."""
    plan, marloes = await kept(world)
    await add(world, marloes, permit("housing"))
    busy = Busy(world, plan, marloes, await goals_of(world, plan, "finances"))
    async with asyncio.timeout(60):
        await asyncio.gather(busy.choose(), busy.edit(), *(busy.ask(seed) for seed in range(4)))
    assert busy.shown > 0
    assert busy.statuses[200] > 20


async def test_progress_is_found_at_once_by_who_may_see_it(world: World) -> None:
    """Kompas completes its own task; the team's next search, and its own, find it so."""
    plan, _ = await world.family()
    owned = [("owner", "Organization/kompas"), ("status", "in-progress")]
    before = entries((await ask(world, "team", "Task", owned)).body)
    assert [each["resourceType"] for each in before] == ["Task"]
    place = f"/fhir/Task/{before[0]['id']}"
    read = await world.clients[KOMPAS].ask("GET", place)
    done = await world.clients[KOMPAS].ask(
        "PATCH",
        place,
        body=b'[{"op": "replace", "path": "/status", "value": "completed"}]',
        headers={"Content-Type": "application/json-patch+json", "If-Match": read.headers["ETag"]},
    )
    assert done.status == 200, done.body
    for client in ("team", KOMPAS):
        told = (await ask(world, client, "Task", [("owner", "Organization/kompas"), ("status", "completed")])).body
        assert before[0]["id"] in {each["id"] for each in entries(told)}
    assert (await world.gateway.sight.load(plan)).version == 2  # type: ignore[union-attr]
