"""A steady load: neighbourhood teams that send plans, new versions and changed choices, and go on until each is answered.

It survives the death of gateways: it asks again under the same Idempotency-Key until there is a 2xx, and notes what was accepted.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import aiohttp
from accounting import Accepted, Books, Listed
from households import SEES, Household, Plan, Wish, changed, choices, chosen, document
from processes import GatewayProcess

from gateway.callers import ASSERTION_TYPE, client_assertion, read_private_key
from gateway.client import Answered, GatewayClient
from gateway.clock import Clock
from gateway.demo.vlinderstad import Party, key_file

AGAIN = {408, 409, 412, 429, 500, 502, 503, 504}
"""Answers after which a caller asks again: it was not taken, or somebody else was first."""

TOKEN_SECONDS = 200
ASK_SECONDS = 20
PATIENCE_SECONDS = 300
AGAIN_SECONDS = 0.05
OPEN_STATES = ("planned", "queued", "sent", "waiting")


class RefusedError(Exception):
    """The gateway refused what it should have taken."""


class Asker:
    """One client of the gateways: asks any of them, until one has answered."""

    def __init__(self, session: aiohttp.ClientSession, gateways: Sequence[GatewayProcess], party: Party) -> None:
        self._session = session
        self._gateways = gateways
        self._party = party
        self._clock = Clock()
        self._token = ""
        self._since = 0.0
        self._chance = random.Random(party.client)
        self.answers: Counter[str] = Counter()

    async def until_answered(self, method: str, path: str, again: set[int] = AGAIN, **asked: Any) -> Answered:
        """Ask until there is an answer that is not one of `again`. Raises RefusedError on any other refusal."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                answered = await self._once(method, path, **asked)
                if answered is not None and answered.status < 300:
                    return answered
                if answered is not None and answered.status not in again | {401}:
                    raise RefusedError(f"{method} {path} was answered with {answered.status}")
                await asyncio.sleep(AGAIN_SECONDS)

    async def _once(self, method: str, path: str, **asked: Any) -> Answered | None:
        url = self._chance.choice(self._gateways).url
        try:
            async with asyncio.timeout(ASK_SECONDS):
                if time.monotonic() - self._since > TOKEN_SECONDS:
                    self._token, self._since = await self._new_token(url), time.monotonic()
                answered = await GatewayClient(self._session, url, self._token).ask(method, path, **asked)
        except (aiohttp.ClientError, TimeoutError, KeyError):
            self.answers["no answer"] += 1
            return None
        self.answers[str(answered.status)] += 1
        if answered.status == 401:
            self._since = 0.0
        return answered

    async def _new_token(self, url: str) -> str:
        client = f"{self._party.organisation}-{self._party.client}"
        gateway = self._gateways[0]
        key = read_private_key(key_file(gateway.folder, self._party.client))
        assertion = client_assertion(key, client, gateway.token_url, self._clock.now(), self._clock.new_id())
        form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE}
        form |= {"client_assertion": assertion, "scope": " ".join(self._party.scopes)}
        async with self._session.post(f"{url}/oauth/token", data=form) as response:
            return str((await response.json(content_type=None))["access_token"])


class Load:
    """Households, each sent by a worker of its own, and the books of what was accepted."""

    def __init__(
        self, session: aiohttp.ClientSession, gateways: Sequence[GatewayProcess], parties: Mapping[str, Party],
        recipients: tuple[str, ...], seed: int, wish: Wish,
    ) -> None:  # fmt: skip
        self.accepted: list[Accepted] = []
        self.choices_changed = 0
        self._team = Asker(session, gateways, parties["team"])
        self._admin = Asker(session, gateways, parties["admin"])
        self._recipients = recipients
        self._wish = wish
        self._households = [Household(number) for number in range(wish.households)]
        self._chances = [random.Random(f"{seed}-{number}") for number in range(wish.households)]
        self._working = False
        self._turns = asyncio.Semaphore(0)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def answers(self) -> dict[str, int]:
        """How often the team got which answer."""
        return dict(sorted(self._team.answers.items()))

    async def start(self) -> None:
        """Let every worker work, and raise what any of them meets."""
        self._working = True
        self._tasks = [
            asyncio.create_task(self._work(*each)) for each in zip(self._households, self._chances, strict=True)
        ]
        if self._wish.rate:
            self._tasks.append(asyncio.create_task(self._pace()))

    async def stop(self) -> None:
        """Let every worker finish what it asks now."""
        self._working = False
        for _ in self._households:
            self._turns.release()
        await asyncio.gather(*self._tasks)

    async def abandon(self) -> None:
        """End every worker where it is."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def go_on(self, seconds: float) -> None:
        """Let the load go on for a while."""
        await self.during(asyncio.sleep(seconds), PATIENCE_SECONDS + seconds)

    async def during(self, happens: Coroutine[Any, Any, Any], patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Wait for something while the load goes on, and raise what a worker meets meanwhile."""
        task = asyncio.ensure_future(happens)
        try:
            async with asyncio.timeout(patience_seconds):
                done, _ = await asyncio.wait([task, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                ended.result()
        finally:
            task.cancel()

    async def until_accepted(self, count: int) -> None:
        """Wait until so many more plans were accepted."""
        wanted = len(self.accepted) + count

        async def accepted() -> None:
            while len(self.accepted) < wanted:
                await asyncio.sleep(0.02)

        await self.during(accepted())

    async def close(self) -> None:
        """Show everything to everybody, and send every plan once more, so that each recipient gets something new of each."""
        for household, chance in zip(self._households, self._chances, strict=True):
            if household.plans:
                await self._choose(household, {name: SEES[name] for name in self._recipients})
            for plan in household.plans:
                await self._offer(
                    household, plan, {goal: edition + 1 for goal, edition in plan.editions.items()}, chance
                )

    async def settled(self) -> None:
        """Wait until no delivery is open."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while [state for state in OPEN_STATES if await self._one_of(state)]:
                await asyncio.sleep(0.2)

    async def books(self, partners: Any, *, closed: bool) -> Books:
        """Return the books of this moment."""
        listed = await self._listed()
        wanted = {
            (plan.id, recipient): marks
            for household in self._households
            for plan in household.plans
            for recipient, marks in household.wanted(plan).items()
        }
        return Books(
            accepted=tuple(self.accepted),
            listed=listed,
            arrived=tuple(partners.arrived),
            wanted=wanted,
            hidden={
                (plan.id, recipient): household.hidden_from(recipient)
                for household in self._households
                for plan in household.plans
                for recipient in self._recipients
            },
            closed=closed,
        )

    async def _work(self, household: Household, chance: random.Random) -> None:
        await self._begin_plan(household, chance)
        await self._choose(household, chosen(chance, self._recipients))
        while self._working:
            await self._turn()
            draw = chance.random()
            if draw < 0.15:
                await self._choose(household, chosen(chance, self._recipients))
                self._turns.release()  # the rate counts plans
            elif draw < 0.3 and len(household.plans) < self._wish.plans_each:
                await self._begin_plan(household, chance)
            else:
                plan = chance.choice(household.plans)
                await self._offer(household, plan, changed(chance, plan.editions), chance)

    async def _turn(self) -> None:
        if self._wish.rate:
            await self._turns.acquire()
        else:
            await asyncio.sleep(self._wish.pause_seconds)

    async def _pace(self) -> None:
        began, given = time.monotonic(), 0
        while self._working:
            due = int((time.monotonic() - began) * self._wish.rate)
            for _ in range(due - given):
                self._turns.release()
            given = due
            await asyncio.sleep(0.02)

    async def _begin_plan(self, household: Household, chance: random.Random) -> None:
        if len(household.plans) < self._wish.plans_each:
            plan = Plan(f"VL-{household.number}-{len(household.plans)}")
            await self._offer(household, plan, plan.editions, chance)
            household.plans.append(plan)

    async def _offer(self, household: Household, plan: Plan, editions: dict[str, int], chance: random.Random) -> None:
        at = time.monotonic()
        answered = await self._team.until_answered(
            "POST",
            "/v1/plans?format=plan-van-aanpak",
            body=document(household, plan, editions),
            headers={"Idempotency-Key": f"{chance.getrandbits(128):032x}"},
        )
        sent = answered.body
        household.resident = sent["residents"][0]["id"]
        plan.id, plan.editions = sent["planId"], editions
        self.accepted.append(
            Accepted(plan=plan.id, version=sent["version"], deliveries=tuple(sent["deliveries"]), at=at)
        )

    async def _choose(self, household: Household, shown: dict[str, tuple[str, ...]]) -> None:
        """Replace the choices; after a lost connection look whether they were kept before asking again."""
        household.choices_kept += 1
        evidence = f"gesprek {household.choices_kept}"
        place = f"/v1/residents/{household.resident}/choices"
        since = time.monotonic()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                current = await self._team.until_answered("GET", place)
                if any(row.get("evidence") == evidence for row in current.body["choices"]):
                    break
                answered = await self._team._once(
                    "PUT",
                    place,
                    json_body={"choices": choices(shown, evidence)},
                    headers={"If-Match": current.headers["ETag"]},
                )
                if answered is not None and answered.status not in {200, 401, *AGAIN}:
                    raise RefusedError(f"choices were answered with {answered.status}")
        household.choose(shown, since, time.monotonic())
        self.choices_changed += 1

    async def _one_of(self, state: str) -> bool:
        answered = await self._admin.until_answered("GET", f"/v1/deliveries?state={state}&limit=1")
        return bool(answered.body["items"])

    async def _listed(self) -> tuple[Listed, ...]:
        rows: list[Listed] = []
        cursor = ""
        while True:
            answered = await self._admin.until_answered("GET", f"/v1/deliveries?limit=200&cursor={cursor}")
            rows += [
                Listed(
                    id=row["id"],
                    plan=row["planId"],
                    recipient=row["recipient"],
                    state=row["state"],
                    attempts=row["attempts"],
                    sequence=row["sequence"],
                )
                for row in answered.body["items"]
            ]
            cursor = answered.body["next"]
            if cursor is None:
                return tuple(rows)
