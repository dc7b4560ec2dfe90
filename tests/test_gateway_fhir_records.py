"""`/fhir` beside plans: where a view comes from, what left on which ground, and what residents chose; each for who may know it."""

import asyncio
import copy
import json
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
import pytest_asyncio
from fhir.resources.R4B import get_fhir_model_class
from households import bsns
from msgspec import structs
from world import World, example, open_world

from consent.choice import Choice
from consent.fhir import choice_to_consent, consent_to_choice
from gateway.callers import Caller
from gateway.client import Answered, GatewayClient, fetch_token
from gateway.demo.vlinderstad import MARLOES_CHOICES
from mappings.edge import check_resource

FHIR = {"Content-Type": "application/fhir+json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PERMIT = MARLOES_CHOICES[0]
BSNS = iter(bsns()[200:])
pytestmark = pytest.mark.asyncio(loop_scope="module")


class Home:
    """A world with the family of the demo in it: one plan, which two providers see in part."""

    def __init__(self, world: World, plan: str, residents: dict[str, str]) -> None:
        self.world, self.plan = world, plan
        self.marloes, self.finn = residents["marloes"], residents["finn"]

    async def get(self, place: str, client: str = "team") -> Answered:
        return await self.world.clients[client].ask("GET", f"/fhir/{place}")

    async def found(self, place: str, client: str = "team") -> list[dict[str, Any]]:
        """Return the matches of a search, page after page."""
        resources, asked = [], f"/fhir/{place}"
        while asked:
            answered = await self.world.clients[client].ask("GET", asked)
            assert answered.status == 200, answered.body
            entries = answered.body.get("entry", [])
            resources += [each["resource"] for each in entries if each["search"]["mode"] == "match"]
            links = {each["relation"]: each["url"] for each in answered.body["link"]}
            asked = links.get("next", "").removeprefix(self.world.gateway.public_url)
        return resources

    async def receipts(self, client: str, plan: str | None = None) -> list[dict[str, Any]]:
        place = f"/v1/receipts?planId={plan or self.plan}&limit=200"
        return list((await self.world.clients[client].want("GET", place))["items"])

    async def limited(self, scope: str, client: str = "team") -> GatewayClient:
        """Return a client whose token has this scope only."""
        known = structs.replace(
            self.world.known,
            clients=self.world.known.clients | {client: self.world.known.clients[client] | {"scope": scope}},
        )
        token = await fetch_token(self.world.session, known, client)
        return GatewayClient(self.world.session, self.world.gateway.public_url, token)

    async def put(self, consent: dict[str, Any], version: str | None = None, **headers: str) -> Answered:
        wanted = {"If-Match": f'W/"{version or consent["meta"]["versionId"]}"'}
        place = f"/fhir/Consent/{consent['id']}"
        return await self.world.team.ask("PUT", place, json_body=consent, headers=FHIR | wanted | headers)

    async def post(self, consent: dict[str, Any], **headers: str) -> Answered:
        return await self.world.team.ask("POST", "/fhir/Consent", json_body=consent, headers=FHIR | headers)

    async def choices(self, resident: str) -> list[dict[str, Any]]:
        return list((await self.world.team.want("GET", f"/v1/residents/{resident}/choices"))["choices"])

    async def other_family(self) -> tuple[str, str]:
        """Send a plan of its own for a test that changes choices; return its id and that of its first resident."""
        document = example(edit=lambda plan: plan.update(planNummer=f"nummer {uuid.uuid4()}"))
        document["voorzieningen"] = []  # so that no provider sees anything by law
        for person in document["bewoners"]:
            person["bsn"] = next(BSNS)
        sent = (await self.world.send(document)).body
        await self.world.rest(sent["planId"])
        return sent["planId"], sent["residents"][0]["id"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    """One world and one family for this file; a test that changes choices brings residents of its own."""
    async with open_world(tmp_path_factory.mktemp("records")) as world:
        plan, residents = await world.family()
        yield Home(world, plan, residents)


def expressions(answered: Answered) -> list[list[str] | None]:
    """Return where an OperationOutcome says that it is wrong."""
    assert answered.body["resourceType"] == "OperationOutcome"
    return [each.get("expression") for each in answered.body["issue"]]


def consent_of(resident: str, choice: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    """Return a choice as a client would send it."""
    made = msgspec.convert((choice or PERMIT) | changed, Choice)
    return choice_to_consent(made, resident=resident)


class TestProvenance:
    async def test_it_is_read_in_every_way_with_the_version_of_its_plan(self, home: Home) -> None:
        plan = await home.get(f"CarePlan/{home.plan}", "provider-a")
        read = await home.get(f"Provenance/{home.plan}", "provider-a")
        assert (read.status, read.headers["ETag"]) == (200, plan.headers["ETag"])
        assert check_resource(read.body) == []
        version = read.body["meta"]["versionId"]
        assert read.body["target"] == [{"reference": f"CarePlan/{home.plan}/_history/{version}"}]
        again = await home.get(f"Provenance/{home.plan}/_history/{version}", "provider-a")
        assert again.body == read.body
        told = await home.get(f"Provenance/{home.plan}/_history", "provider-a")
        assert told.body["entry"][0]["resource"] == read.body

    @pytest.mark.parametrize(
        ("place", "count"),
        [
            ("Provenance?target=CarePlan/{plan}", 1),
            ("Provenance?agent=Organization/wijkteam-noord&target:CarePlan=CarePlan/{plan}", 1),
            ("Provenance?target=CarePlan/{plan}&recorded=lt2020", 0),
            ("Provenance?target:CarePlan._id={plan}", 1),
            ("Provenance?target=CarePlan/nergens", 0),
        ],
    )
    async def test_it_is_found_as_any_other_resource(self, home: Home, place: str, count: int) -> None:
        assert len(await home.found(place.format(plan=home.plan), "provider-a")) == count

    async def test_it_comes_along_with_its_plan(self, home: Home) -> None:
        answered = await home.get(f"CarePlan?_id={home.plan}&_revinclude=Provenance:target", "provider-b")
        assert [each["resource"]["resourceType"] for each in answered.body["entry"]] == ["CarePlan", "Provenance"]

    async def test_its_receipt_names_no_part(self, home: Home) -> None:
        await home.get(f"Provenance/{home.plan}", "provider-b")
        last = (await home.receipts("provider-b"))[-1]
        assert (last["exit"], last["parts"]) == ("read", [])

    async def test_its_history_needs_no_part_to_have_been_given(self, home: Home) -> None:
        plan, _ = await home.other_family()
        told = await home.get(f"Provenance/{plan}/_history")
        assert [each["resource"]["meta"]["versionId"] for each in told.body["entry"]] == ["1"]

    async def test_nobody_is_sent_one(self, home: Home) -> None:
        sent = [json.loads(each.body) for each in home.world.receivers["provider-b"].arrivals]
        types = {entry["resource"]["resourceType"] for bundle in sent for entry in bundle["entry"]}
        assert "CarePlan" in types
        assert "Provenance" not in types

    async def test_who_sees_nothing_of_a_plan_reads_none(self, home: Home) -> None:
        plan, _ = await home.other_family()
        assert (await home.get(f"Provenance/{plan}", "provider-a")).status == 404


def as_receipt(event: dict[str, Any]) -> dict[str, Any]:
    """Return what an AuditEvent says in the words of a receipt."""
    plan, *parts = event["entity"]
    _, plan_id, *version = plan["what"]["reference"].split("/")
    told = [{each["type"]: each["valueString"] for each in part["detail"]} for part in parts]
    return {
        "id": event["id"],
        "recipient": event["agent"][0]["who"]["reference"].removeprefix("Organization/"),
        "planId": plan_id,
        "planVersion": int(version[1]) if version else None,
        "sha256": plan["detail"][0]["valueString"] if "detail" in plan else None,
        "at": event["recorded"],
        "refused": event["outcome"] == "8",
        "code": event["outcomeDesc"],
        "parts": [
            {"partId": part["what"]["identifier"]["value"], "domain": None}
            | {name: said[name] for name in ("kind", "domain", "ground", "article") if name in said}
            | {"choiceIds": [v["valueString"].split("/")[1] for v in part["detail"] if v["type"] == "choice"]}
            for part, said in zip(parts, told, strict=True)
        ],
    }


class TestAuditEvent:
    @pytest.mark.parametrize("client", ["team", "provider-a", "provider-b", "backoffice"])
    async def test_it_tells_what_a_receipt_tells_and_no_more(self, home: Home, client: str) -> None:
        """The same receipts, of each the same; only its own client is named to an organisation."""
        for reader in ("provider-a", client):
            await home.get(f"CarePlan?_id={home.plan}", reader)
        events = await home.found(f"AuditEvent?entity=CarePlan/{home.plan}", client)
        listed = await home.receipts(client)
        assert listed
        told = {"exit", "deliveryId", "ground", "article", "choices"}
        expected = [{name: value for name, value in each.items() if name not in told} for each in listed]
        found = [as_receipt(each) for each in events]
        for each in (*found, *expected):
            each["at"] = each["at"].replace("Z", "+00:00")
        assert found == expected
        assert [each for event in events for each in check_resource(event)] == []
        own = home.world.known.clients[client]["organisation"]
        named = {each["agent"][0]["who"]["reference"] for each in events if "altId" in each["agent"][0]}
        assert named == {f"Organization/{own}"}

    async def test_every_exit_is_told(self, home: Home) -> None:
        await home.get(f"CarePlan?_id={home.plan}", "provider-a")
        await home.get(f"CarePlan/{home.plan}", "provider-a")
        await home.get(f"CarePlan/{home.plan}/_history", "provider-a")
        events = await home.found(f"AuditEvent?entity=CarePlan/{home.plan}")
        told = {each["subtype"][0]["code"] for each in events}
        assert told == {"transmit", "read", "search-type", "history"}

    async def test_one_is_read_by_who_may_know_of_it(self, home: Home) -> None:
        """A recipient reads its own; what another received does not exist for it, and the team reads both."""
        for client, organisation in (("provider-a", "kompas"), ("provider-b", "de-linde")):
            own = [each["id"] for each in await home.receipts(client)]
            read = await home.get(f"AuditEvent/{own[0]}", client)
            assert read.body["agent"][0]["who"]["reference"] == f"Organization/{organisation}"
            assert (read.headers["ETag"], read.body["meta"]["lastUpdated"]) == ('W/"1"', read.body["recorded"])
            other = "provider-b" if client == "provider-a" else "provider-a"
            assert (await home.get(f"AuditEvent/{own[0]}", other)).status == 404
            assert (await home.get(f"AuditEvent/{own[0]}")).status == 200

    async def test_a_refusal_is_told_to_who_made_the_plan_only(self, home: Home) -> None:
        plan, _ = await home.other_family()
        assert (await home.world.clients["provider-a"].ask("GET", f"/v1/plans/{plan}")).status == 404
        told = await home.found(f"AuditEvent?entity=CarePlan/{plan}&outcome=8")
        assert [each["agent"][0]["who"]["reference"] for each in told] == ["Organization/kompas"]
        assert await home.found(f"AuditEvent?entity=CarePlan/{plan}", "provider-a") == []
        assert (await home.get(f"AuditEvent/{told[0]['id']}", "provider-a")).status == 404

    @pytest.mark.parametrize(
        ("asked", "meant"),
        [
            ("action=R", lambda each: each["action"] == "R"),
            ("subtype=read,transmit", lambda each: each["subtype"][0]["code"] in {"read", "transmit"}),
            ("subtype:not=read", lambda each: each["subtype"][0]["code"] != "read"),
            ("agent=Organization/kompas", lambda each: "kompas" in each["agent"][0]["who"]["reference"]),
            ("entity-type=Goal", lambda each: any(part["type"]["code"] == "Goal" for part in each["entity"])),
            ("outcome=8", lambda each: each["outcome"] == "8"),
            ("date=ge2020-01-01", lambda _: True),
            ("_lastUpdated=lt2020", lambda _: False),
            ("altid:missing=true", lambda each: "altId" not in each["agent"][0]),
            ("site:missing=false", lambda _: False),
        ],
    )
    async def test_each_condition_finds_what_it_means(
        self, home: Home, asked: str, meant: Callable[[dict[str, Any]], bool]
    ) -> None:
        place = f"AuditEvent?entity=CarePlan/{home.plan}"
        expected = [each["id"] for each in await home.found(place) if meant(each)]
        assert [each["id"] for each in await home.found(f"{place}&{asked}")] == expected

    async def test_pages_follow_one_another_and_are_counted(self, home: Home) -> None:
        place = f"AuditEvent?entity=CarePlan/{home.plan}&action=C"
        whole = await home.found(place)
        assert len(whole) > 2
        assert await home.found(f"{place}&_count=1") == whole
        for shape in ("_summary=count", "_count=0", "_count=1&_total=accurate"):
            assert (await home.get(f"{place}&{shape}")).body["total"] == len(whole), shape

    async def test_a_page_that_looked_enough_goes_on_with_the_next(
        self, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However little it found; and what cannot be counted within that is refused."""
        place = f"AuditEvent?entity=CarePlan/{home.plan}&action=C"
        whole = await home.found(place)
        monkeypatch.setattr("gateway.api.audits.LOOKED_MOST", 2)
        assert await home.found(place) == whole
        refused = await home.get(f"{place}&_summary=count")
        assert (refused.status, expressions(refused)) == (400, [["http._summary"]])

    async def test_a_search_by_post_finds_the_same(self, home: Home) -> None:
        body = urlencode({"entity": f"CarePlan/{home.plan}"}).encode()
        posted = await home.world.team.ask("POST", "/fhir/AuditEvent/_search", body=body, headers=FORM)
        got = await home.get(f"AuditEvent?entity=CarePlan/{home.plan}")
        assert [each["resource"] for each in posted.body["entry"]] == [each["resource"] for each in got.body["entry"]]


class TestConsent:
    async def test_each_choice_is_one_consent_that_reads_back(self, home: Home) -> None:
        consents = await home.found(f"Consent?patient={home.marloes}")
        choices = {each["id"]: each for each in await home.choices(home.marloes)}
        assert {each["id"] for each in consents} == choices.keys()
        for consent in consents:
            assert check_resource(consent) == []
            read = await home.get(f"Consent/{consent['id']}")
            assert (read.body, read.headers["ETag"]) == (consent, f'W/"{choices[consent["id"]]["version"]}"')
            assert consent_to_choice(consent) == msgspec.convert(choices[consent["id"]], Choice)

    async def test_what_was_read_and_sent_back_changes_nothing(self, home: Home) -> None:
        _, resident = await home.other_family()
        made = (await home.post(consent_of(resident))).body
        again = await home.put(made)
        assert (again.status, again.body) == (200, made)

    async def test_one_that_is_created_opens_what_it_says(self, home: Home) -> None:
        """What a provider's next search finds follows each change: created, denied, permitted again, withdrawn."""
        plan, resident = await home.other_family()
        place = f"Goal?_has:CarePlan:goal:_id={plan}"
        assert await home.found(place, "provider-a") == []
        created = await home.post(consent_of(resident))
        made = created.body
        assert created.status == 201
        assert created.headers["Location"].endswith(f"/fhir/Consent/{made['id']}/_history/{made['meta']['versionId']}")
        assert [each["id"] for each in await home.choices(resident)] == [made["id"]]
        opened = await home.found(place, "provider-a")
        assert {goal["meta"]["tag"][0]["code"] for goal in opened} <= {"finances", "housing"}
        assert opened
        closed = await home.put(copy.deepcopy(made) | consent_of(resident, effect="deny") | {"id": made["id"]}, "1")
        assert (closed.status, closed.headers["ETag"]) == (200, 'W/"2"')
        assert await home.found(place, "provider-a") == []
        assert (await home.put(made, "2")).headers["ETag"] == 'W/"3"'
        assert [each["id"] for each in await home.found(place, "provider-a")] == [each["id"] for each in opened]
        withdrawn = await home.put(made | {"status": "inactive"}, "3")
        assert (withdrawn.status, withdrawn.body["status"]) == (200, "inactive")
        assert await home.found(place, "provider-a") == []
        assert (await home.get(f"Consent/{made['id']}")).status == 404
        assert await home.found(f"Consent?patient={resident}") == []
        assert (await home.put(made, "3")).status == 404

    async def test_one_of_several_is_changed_alone(self, home: Home) -> None:
        _, resident = await home.other_family()
        ids = [(await home.post(consent_of(resident))).body["id"] for _ in range(3)]
        before = await home.choices(resident)
        assert (await home.put(consent_of(resident, effect="deny") | {"id": ids[1]}, "2")).status == 200
        after = await home.choices(resident)
        assert [each["effect"] for each in after] == ["permit", "deny", "permit"]
        assert [after[0], after[2]] == [before[0], before[2]]
        assert [each["id"] for each in await home.found(f"Consent?patient={resident}&_count=1")] == ids

    @pytest.mark.parametrize(
        ("asked", "count"),
        [
            ("actor=Organization/kompas", 2),
            ("actor=Organization/kompas,Organization/de-linde", 3),
            ("status=active", 3),
            ("status=inactive", 0),
            ("consentor=Patient/{marloes}", 3),
            ("purpose:missing=true", 3),
            ("date=ge2020", 3),
            ("_lastUpdated=lt2020", 0),
            ("patient={finn}", 0),
        ],
    )
    async def test_each_condition_finds_what_it_means(self, home: Home, asked: str, count: int) -> None:
        asked = asked.format(marloes=home.marloes, finn=home.finn)
        assert len(await home.found(f"Consent?patient={home.marloes}&{asked}")) == count

    async def test_several_residents_are_searched_together(self, home: Home) -> None:
        found = await home.found(f"Consent?patient={home.marloes},{home.finn}")
        assert len(found) == 5
        named = await home.found(f"Consent?_id={found[0]['id']},{found[-1]['id']},nergens")
        assert named == [found[0], found[-1]]
        told = await home.get(f"Consent?patient={home.marloes}&_summary=count")
        assert (told.body["total"], "entry" in told.body) == (3, False)

    async def test_a_choice_that_fhir_cannot_say_is_left_out_and_told(self, home: Home) -> None:
        """Such as one that was kept before its texts were checked; read by itself it is a 406."""
        _, resident = await home.other_family()
        made = (await home.post(consent_of(resident))).body
        (kept,) = (await home.world.gateway.choosing.get(resident)).choices
        entry, client = (await home.world.gateway.directory.now()).clients["wijkteam-noord-team"]
        odd = structs.replace(kept, id="vreemd", evidence=" ", version=2)
        caller = Caller(entry=entry, client=client, scopes=frozenset())
        await home.world.gateway.choosing._keep(resident, (kept, odd), caller)
        told = (await home.get(f"Consent?patient={resident}")).body
        assert [(each["search"]["mode"], each["resource"].get("id")) for each in told["entry"]] == [
            ("match", made["id"]),
            ("outcome", None),
        ]
        assert (await home.get("Consent/vreemd")).status == 406
        assert "entry" not in (await home.get(f"Consent?patient={resident}&_id=nergens")).body

    async def test_who_has_no_plan_with_a_resident_finds_nothing(self, home: Home) -> None:
        """Another team with every scope: neither reads, finds, adds nor changes."""
        consent = (await home.found(f"Consent?patient={home.marloes}"))[0]
        directory = home.world.gateway.directory
        entry = (await directory.now()).entries["kompas"]
        (client,) = entry.clients
        wider = structs.replace(client, scopes=(*client.scopes, "system/*.crus", "choices:read", "choices:write"))
        await directory.put(structs.replace(entry, clients=(wider,)))
        other = await home.limited("system/*.crus choices:read choices:write", "provider-a")
        assert (await other.ask("GET", f"/fhir/Consent/{consent['id']}")).status == 404
        searched = (await other.ask("GET", f"/fhir/Consent?patient={home.marloes}")).body
        assert (searched["total"], "entry" in searched) == (0, False)
        assert (await other.ask("POST", "/fhir/Consent", json_body=consent, headers=FHIR)).status == 404
        headers = FHIR | {"If-Match": f'W/"{consent["meta"]["versionId"]}"'}
        gone = consent | {"status": "inactive"}
        assert (await other.ask("PUT", f"/fhir/Consent/{consent['id']}", json_body=gone, headers=headers)).status == 404
        await directory.put(entry)

    async def test_of_two_changes_at_once_one_is_stale(self, home: Home) -> None:
        """Neither a change nor a withdrawal overwrites what its sender has not seen."""
        _, resident = await home.other_family()
        made = (await home.post(consent_of(resident))).body
        denied = consent_of(resident, effect="deny") | {"id": made["id"]}
        gone = made | {"status": "inactive"}
        for pair in ((denied, denied), (denied, gone)):
            version = (await home.get(f"Consent/{made['id']}")).body["meta"]["versionId"]
            answered = await asyncio.gather(*(home.put(each, version) for each in pair))
            first, second = sorted(each.status for each in answered)
            assert (first, second in {404, 412}) == (200, True)
            denied = consent_of(resident) | {"id": made["id"]}

    async def test_a_part_is_referred_to_as_the_resource_that_it_is(self, home: Home) -> None:
        """So that a search by `data` finds the choices about it; of a Patient the part by its identifier alone."""
        plan, resident = await home.other_family()
        goal = (await home.found(f"Goal?_has:CarePlan:goal:_id={plan}&patient={resident}"))[0]["id"]
        choice = PERMIT | {"parts": [{"partIds": [goal, f"{resident}.identity"]}]}
        made = (await home.post(consent_of(resident, choice))).body
        references = [each["reference"].get("reference") for each in made["provision"]["data"]]
        assert references == [f"Goal/{goal}", None]
        assert await home.found(f"Consent?patient={resident}&data=Goal/{goal}") == [made]
        assert (await home.put(made)).body == made

    async def test_no_transaction_takes_one_in(self, home: Home) -> None:
        """A transaction is of parts of a plan: a choice beside them would pass by what keeps choices."""
        entry = {"request": {"method": "POST", "url": "Consent"}, "resource": consent_of(home.marloes)}
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
        refused = await home.world.team.ask("POST", "/fhir", json_body=bundle, headers=FHIR)
        assert refused.status == 422
        assert ["Bundle.entry[0].resource"] in expressions(refused)

    async def test_an_include_of_anything_needs_no_scope_for_records(self, home: Home) -> None:
        """They never come along: who may read all of a plan asks no more than that."""
        types = ("Task", "Goal", "CarePlan", "CareTeam", "ClinicalImpression", "Condition", "Group", "Observation")
        types += ("Organization", "Patient", "Practitioner", "PractitionerRole", "Provenance", "RelatedPerson")
        client = await home.limited(" ".join(f"system/{each}.rs" for each in (*types, "ServiceRequest")))
        for place in ("Task?_include=Task:focus", f"Patient/{home.marloes}/$everything"):
            assert (await client.ask("GET", f"/fhir/{place}")).status == 200, place

    async def test_prefer_says_what_comes_back(self, home: Home) -> None:
        _, resident = await home.other_family()
        minimal = await home.post(consent_of(resident), Prefer="return=minimal")
        assert (minimal.status, minimal.body, minimal.headers["ETag"]) == (201, b"", 'W/"1"')
        outcome = await home.post(consent_of(resident), Prefer="return=OperationOutcome")
        assert (outcome.status, outcome.body["resourceType"]) == (201, "OperationOutcome")

    async def test_a_batch_takes_consents(self, home: Home) -> None:
        _, resident = await home.other_family()
        made = (await home.post(consent_of(resident))).body
        entries = [
            {"request": {"method": "POST", "url": "Consent"}, "resource": consent_of(resident)},
            {
                "request": {"method": "PUT", "url": f"Consent/{made['id']}", "ifMatch": 'W/"1"'},
                "resource": made | {"status": "inactive"},
            },
            {"request": {"method": "GET", "url": f"Consent?patient={resident}"}},
        ]
        bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}
        answered = (await home.world.team.ask("POST", "/fhir", json_body=bundle, headers=FHIR)).body["entry"]
        assert [each["response"]["status"] for each in answered] == ["201", "200", "200"]
        assert answered[2]["resource"]["total"] == 1


NEEDED = {
    "a read of a Consent": ("GET", "Consent/{id}", "system/Consent.r", "choices:read"),
    "a search of Consents": ("GET", "Consent?patient={marloes}", "system/Consent.s", "choices:read"),
    "a new Consent": ("POST", "Consent", "system/Consent.cr choices:read", "choices:write"),
    "a changed Consent": ("PUT", "Consent/{id}", "system/Consent.ru choices:read", "choices:write"),
    "a changed Consent that is shown": ("PUT", "Consent/{id}", "system/Consent.ru choices:write", "choices:read"),
    "a search of AuditEvents": ("GET", "AuditEvent?entity=CarePlan/{plan}", "system/AuditEvent.s", "receipts:read"),
    "a read of an AuditEvent": ("GET", "AuditEvent/{receipt}", "system/AuditEvent.r", "receipts:read"),
}


@pytest.mark.parametrize(("method", "place", "smart", "own"), NEEDED.values(), ids=NEEDED)
async def test_there_is_no_side_door(home: Home, method: str, place: str, smart: str, own: str) -> None:
    """Each half of the scopes alone is a 403 that names the other; both are enough."""
    consent = (await home.found(f"Consent?patient={home.marloes}"))[0]
    receipt = (await home.receipts("team"))[0]["id"]
    names = {"id": consent["id"], "marloes": home.marloes, "plan": home.plan, "receipt": receipt}
    place = f"/fhir/{place.format(**names)}"
    few = smart.split(maxsplit=1)[0]
    for scope, lacking in ((smart, own), (f"system/Task.r {own}", few.partition(".")[0])):
        client = await home.limited(scope)
        refused = await client.ask(method, place, json_body=consent, headers=FHIR)
        assert (refused.status, refused.body["issue"][0]["code"]) == (403, "forbidden"), scope
        assert lacking in refused.body["issue"][0]["details"]["text"]
    both = await home.limited(f"{smart} {own}")
    body = consent_of(home.marloes, evidence=None) if method == "POST" else consent
    headers = FHIR | ({"If-Match": 'W/"999"'} if method == "PUT" else {})
    answered = await both.ask(method, place, json_body=None if method == "GET" else body, headers=headers)
    assert answered.status == {"GET": 200, "POST": 422, "PUT": 412}[method], answered.body


ASKED_WRONG = {
    "AuditEvents of no plan": ("AuditEvent", "http.entity", "too-costly"),
    "AuditEvents of a plan among others": ("AuditEvent?entity={plan}", "http.entity", "too-costly"),
    "AuditEvents of another entity": ("AuditEvent?entity=Goal/x", "http.entity", "too-costly"),
    "AuditEvents in an order": ("AuditEvent?entity=CarePlan/{plan}&_sort=date", "http._sort", "invalid"),
    "AuditEvents with a chain": ("AuditEvent?entity:CarePlan.status=active", "http.entity:CarePlan.status", "invalid"),
    "AuditEvents with an include": ("AuditEvent?_include=AuditEvent:entity", "http._include", "invalid"),
    "AuditEvents by a name": ("AuditEvent?agent-name=x", "http.agent-name", "invalid"),
    "Consents of nobody": ("Consent", "http.patient", "too-costly"),
    "Consents of too many": ("Consent?patient=" + ",".join(map(str, range(21))), "http.patient", "too-costly"),
    "Consents by a status only": ("Consent?status=active", "http.patient", "too-costly"),
    "Consents with a _has": ("Consent?_has:Task:focus:status=x", "http._has:Task:focus:status", "invalid"),
    "plans by their AuditEvents": ("CarePlan?_has:AuditEvent:entity:action=R", None, "invalid"),
    "plans with their AuditEvents": ("CarePlan?_revinclude=AuditEvent:entity", "http._revinclude", "invalid"),
    "what Consents are about": ("Task?focus:Consent.status=active", "http.focus:Consent.status", "invalid"),
}


@pytest.mark.parametrize(("place", "expression", "code"), ASKED_WRONG.values(), ids=ASKED_WRONG)
async def test_a_search_that_is_wrong_says_where(home: Home, place: str, expression: str | None, code: str) -> None:
    """400, with the parameter and a remedy."""
    refused = await home.get(quote(place.format(plan=home.plan), safe=":/?&=,"))
    assert refused.status == 400, refused.body
    assert refused.body["issue"][0]["code"] == code
    assert [expression or "http._has:AuditEvent:entity:action"] in expressions(refused)


NOT_OFFERED = [
    ("GET", "AuditEvent/{receipt}/_history"),
    ("PUT", "AuditEvent/{receipt}"),
    ("POST", "AuditEvent"),
    ("GET", "Consent/{id}/_history"),
    ("GET", "Consent/{id}/_history/1"),
    ("PATCH", "Consent/{id}"),
    ("PUT", "Provenance/{plan}"),
    ("POST", "Provenance"),
]


@pytest.mark.parametrize(("method", "place"), NOT_OFFERED)
async def test_what_is_not_offered_is_a_405(home: Home, method: str, place: str) -> None:
    refused = await home.world.team.ask(
        method, f"/fhir/{place.format(receipt='x', id='x', plan=home.plan)}", json_body={}, headers=FHIR
    )
    assert (refused.status, refused.body["issue"][0]["code"]) == (405, "not-supported")


def without(*path: str) -> Callable[[dict[str, Any]], None]:
    """Return an edit that takes an element away."""

    def edit(consent: dict[str, Any]) -> None:
        inner: Any = consent
        for step in path[:-1]:
            inner = inner[int(step) if step.isdecimal() else step]
        del inner[path[-1]]

    return edit


def with_(**changed: Any) -> Callable[[dict[str, Any]], None]:
    """Return an edit that sets elements."""
    return lambda consent: consent.update(changed)


def to_nobody(consent: dict[str, Any]) -> None:
    consent["provision"]["actor"][0]["reference"]["reference"] = "Organization/nergens"


def backwards(consent: dict[str, Any]) -> None:
    consent["provision"]["period"] = {"start": "2026-02-01", "end": "2026-01-01"}


def with_an_exception(consent: dict[str, Any]) -> None:
    consent["provision"]["provision"].append({"type": "deny"})


SENT_WRONG = {
    "no evidence": (without("verification"), "Consent.verification"),
    "nobody of the directory": (to_nobody, "Consent.provision.actor[0].reference"),
    "a period that ends before it begins": (backwards, "Consent.provision.period"),
    "an exception": (with_an_exception, "Consent.provision"),
    "a status that is no choice": (with_(status="proposed"), "Consent.status"),
    "a new one that is withdrawn": (with_(status="inactive"), "Consent.status"),
    "no patient": (without("patient"), "Consent"),
    "no profile": (without("meta"), "Consent"),
    "no performer": (without("performer"), "Consent"),
    "a status that does not exist": (with_(status="bogus"), "Consent.status"),
    "what a choice does not hold": (with_(sourceAttachment={"title": "x"}), "Consent.sourceAttachment"),
}


@pytest.mark.parametrize(("edit", "expression"), SENT_WRONG.values(), ids=SENT_WRONG)
async def test_a_consent_that_is_wrong_is_refused_with_its_place(
    home: Home, edit: Callable[[dict[str, Any]], None], expression: str
) -> None:
    """422, and nothing is kept."""
    before = await home.choices(home.marloes)
    consent = consent_of(home.marloes)
    edit(consent)
    refused = await home.post(consent)
    assert refused.status == 422, refused.body
    assert any(each and each[0].startswith(expression) for each in expressions(refused)), expressions(refused)
    assert await home.choices(home.marloes) == before


CHANGED_WRONG: dict[str, tuple[Callable[[dict[str, Any]], None], dict[str, str], int, str | None]] = {
    "without If-Match": (lambda _: None, {"If-Match": ""}, 428, None),
    "with an old version": (lambda _: None, {"If-Match": 'W/"99"'}, 412, None),
    "with another's version": (lambda _: None, {"If-Match": 'W/"a.b"'}, 412, None),
    "withdrawn by an old version": (with_(status="inactive"), {"If-Match": 'W/"99"'}, 412, None),
    "with another id": (with_(id="ander"), {}, 400, "Consent.id"),
    "for another resident": (with_(patient={"reference": "Patient/ander"}), {}, 422, "Consent.patient"),
    "without evidence": (without("verification"), {}, 422, "Consent.verification"),
    "in error": (with_(status="entered-in-error"), {}, 422, "Consent.status"),
}


@pytest.mark.parametrize(("edit", "headers", "status", "expression"), CHANGED_WRONG.values(), ids=CHANGED_WRONG)
async def test_a_change_that_is_wrong_is_refused(
    home: Home,
    edit: Callable[[dict[str, Any]], None],
    headers: dict[str, str],
    status: int,
    expression: str | None,
) -> None:
    before = await home.choices(home.marloes)
    consent = (await home.found(f"Consent?patient={home.marloes}"))[0]
    place = f"/fhir/Consent/{consent['id']}"
    wanted = FHIR | {"If-Match": f'W/"{consent["meta"]["versionId"]}"'} | headers
    edit(consent)
    sent = {name: value for name, value in wanted.items() if value}
    refused = await home.world.team.ask("PUT", place, json_body=consent, headers=sent)
    assert refused.status == status, refused.body
    if expression:
        assert [expression] in expressions(refused)
    assert await home.choices(home.marloes) == before


@pytest.mark.parametrize("name", ["If-None-Exist", "Idempotency-Key"])
async def test_a_new_consent_takes_no_condition(home: Home, name: str) -> None:
    """A header that would be passed over in silence would leave two permits where its sender sees one."""
    refused = await home.post(consent_of(home.marloes), **{name: "x"})
    assert (refused.status, expressions(refused)) == (400, [[f"http.{name}"]])


async def test_the_capability_statement_says_what_works(home: Home) -> None:
    """No includes and no chains of what stands in no index, and which more it takes to ask for it."""
    told = (await home.get("metadata")).body
    get_fhir_model_class("CapabilityStatement").model_validate(told)
    rows = {each["type"]: each for each in told["rest"][0]["resource"]}
    for name in ("AuditEvent", "Consent"):
        assert not rows[name].keys() & {"searchInclude", "searchRevInclude"}
        assert not rows[name]["readHistory"]
        assert not rows[name]["conditionalCreate"]
        assert "scope" in rows[name]["documentation"]
    shown = {source for row in rows.values() for source in row.get("searchRevInclude", ())}
    assert not [each for each in shown if each.startswith(("AuditEvent", "Consent"))]
    assert "Provenance:target" in rows["CarePlan"]["searchRevInclude"]
