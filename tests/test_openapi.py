"""What the gateway says of itself is true: the document is OpenAPI 3.1, holds every route, and every answer fits it."""

import asyncio
import base64
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from described import assert_described, assert_fits, operation_at
from msgspec.structs import fields, replace
from openapi_spec_validator import validate
from world import World, open_world

from gateway.api.openapi import errors_of
from gateway.api.query import Nothing, Page
from gateway.api.route import Route
from gateway.api.routes import ROUTES
from gateway.callers import new_key, public_jwks, write_private_key
from gateway.client import Answered
from gateway.directory import SCOPES, Client
from gateway.errors import ERRORS

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).parent.parent
EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", "0"))
"""How many requests are drawn for each route; a number takes the long way, through every rule of every plan format too."""
FEW_EXAMPLES = 5
SEED = os.environ.get("CONTRACT_SEED", "20261125")
OPTIONS = os.environ.get("CONTRACT_OPTIONS", "").split()

TOLD = [route for route in ROUTES if route.operation]
OPEN_BY_STANDARD = {"PublicKeys", "TokenForm", "Bundle"}
"""RFC 7517 section 5, RFC 6749 section 3.2, and FHIR, whose own schema is elsewhere."""

Document = dict[str, Any]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One world for the whole file."""
    async with open_world(tmp_path_factory.mktemp("openapi")) as opened:
        yield opened


async def document_of(world: World) -> Document:
    """Ask what the gateway says of itself, as anybody."""
    async with world.session.get(f"{world.gateway.public_url}/v1/openapi.json") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        found: Document = await response.json()
    return found


def operations(document: Document) -> Iterator[tuple[str, Document]]:
    """Yield (METHOD path, operation)."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def named(route: Route) -> str:
    """Name a route as the document does."""
    return f"{route.method} {route.path}"


class TestDocument:
    """The document is valid, whole and closed."""

    async def test_it_is_openapi(self, world: World) -> None:
        """By the specification's own schema and rules."""
        document = await document_of(world)
        validate(document)
        assert document["openapi"].startswith("3.1.")

    async def test_it_holds_every_route_of_v1_and_the_token_and_nothing_else(self, world: World) -> None:
        """A route without an operation is told nowhere, so it may not be one of these."""
        wanted = {named(route) for route in ROUTES if route.path.startswith("/v1/") or route.path == "/oauth/token"}
        assert wanted == {name for name, _ in operations(await document_of(world))}
        assert {named(route) for route in TOLD} == wanted

    async def test_it_has_what_the_design_rules_of_nl_gov_ask(self, world: World) -> None:
        """Contact, license, version, server, and on each operation a tag, a summary and an id of its own."""
        document = await document_of(world)
        assert {"name", "url", "email"} <= document["info"]["contact"].keys()
        assert document["info"]["license"]["identifier"] == "EUPL-1.2"
        async with world.session.get(f"{world.gateway.public_url}/v1/openapi.json") as response:
            assert response.headers["API-Version"] == document["info"]["version"]
        assert document["servers"] == [{"url": world.gateway.public_url}]
        told = dict(operations(document))
        assert len({each["operationId"] for each in told.values()}) == len(told)
        tags = {tag["name"] for tag in document["tags"]}
        assert {tag for each in told.values() for tag in each["tags"]} == tags
        assert all(each["summary"] for each in told.values())

    async def test_every_operation_names_the_scope_that_its_route_asks(self, world: World) -> None:
        """And the security scheme knows all scopes that there are."""
        document = await document_of(world)
        asked = {name: [way["oauth"] for way in each["security"]] for name, each in operations(document)}
        assert asked == {named(route): [[route.scope]] if route.scope else [] for route in TOLD}
        flow = document["components"]["securitySchemes"]["oauth"]["flows"]["clientCredentials"]
        assert (flow["tokenUrl"], set(flow["scopes"])) == (world.known.token_url, SCOPES)

    async def test_every_parameter_that_is_checked_is_told(self, world: World) -> None:
        """The table that a request is judged by is the one in the document."""
        told = dict(operations(await document_of(world)))
        for route in TOLD:
            found = [each for each in told[named(route)].get("parameters", []) if each["in"] == "query"]
            assert [each["name"] for each in found] == [field.encode_name for field in fields(route.query or Nothing)]
            assert not any("x-planbrug-formats" in each["schema"] for each in found)

    async def test_bodies_take_nothing_that_is_not_named(self, world: World) -> None:
        """All but those whose standard wants them open, and plan documents, whose formats say what becomes of the rest."""
        document = await document_of(world)
        formats = tuple(world.gateway.shelf.names())
        for name, schema in document["components"]["schemas"].items():
            if "properties" in schema and not name.startswith(formats) and name not in OPEN_BY_STANDARD:
                assert schema["additionalProperties"] is False, name

    async def test_a_refusal_says_one_of_the_codes_that_its_route_has(self, world: World) -> None:
        """Problem holds every code of the table; each status of an operation its own."""
        document = await document_of(world)
        assert document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"] == list(ERRORS)
        told = dict(operations(document))
        for route in TOLD:
            found = []
            for status, response in told[named(route)]["responses"].items():
                if schema := response.get("content", {}).get("application/problem+json"):
                    narrowed = schema["schema"]["allOf"][1]["properties"]
                    assert str(narrowed["status"]["const"]) == status
                    found += narrowed["code"]["enum"]
            assert sorted(found) == sorted(errors_of(route))

    async def test_every_example_fits_its_schema(self, world: World) -> None:
        """An example that is refused would teach a fault."""
        document = await document_of(world)
        shown = 0
        for _, operation in operations(document):
            for body in operation.get("requestBody", {}).get("content", {}).values():
                if "example" in body:
                    assert_fits(document, body["schema"], body["example"])
                    shown += 1
        assert shown >= 8

    async def test_every_link_leads_to_an_operation_and_fills_its_parameters(self, world: World) -> None:
        """What can be asked next exists, and has all that it needs in its path."""
        document = await document_of(world)
        by_id = {each["operationId"]: each for _, each in operations(document)}
        for _, operation in operations(document):
            for response in operation["responses"].values():
                for link in response.get("links", {}).values():
                    needed = {each["name"] for each in by_id[link["operationId"]]["parameters"] if each["in"] == "path"}
                    assert link["parameters"].keys() == needed


class TestTable:
    """A handler cannot ask what its route does not tell."""

    async def test_a_handler_that_asks_for_other_parameters_fails(self, world: World) -> None:
        """It is a fault of ours, never an answer."""
        from gateway.api.call import Call

        call = Call(gateway=world.gateway, http=None, route=ROUTES[0], asked=Page())  # type: ignore[arg-type]
        assert call.query(Page) == Page()
        with pytest.raises(TypeError):
            call.query(Nothing)

    async def test_a_handler_that_reads_another_body_fails(self, world: World) -> None:
        """Before it is read."""
        from gateway.api.call import Call

        call = Call(gateway=world.gateway, http=None, route=ROUTES[0])  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            await call.body(Page)

    @pytest.mark.parametrize(
        ("query", "pointer"),
        [
            ("limit=1.0", "/limit"),
            ("limit=null", "/limit"),
            ("limit=1&limit=2", "/limit"),
            ("limit=01", "/limit"),
            ("limit=9999999", "/limit"),
            ("state=null", "/state"),
            ("planId=", "/planId"),
            ("planId=a%0A", "/planId"),
            ("cursor=%C3%A9", "/cursor"),
            (f"recipient={'x' * 65}", "/recipient"),
        ],
    )
    async def test_a_value_that_does_not_fit_is_refused(self, world: World, query: str, pointer: str) -> None:
        """As text, not as JSON: `null` is a text, and 1.0 is no number of rows."""
        refused = await world.team.ask("GET", f"/v1/deliveries?{query}")
        assert (refused.status, refused.body["errors"][0]["pointer"]) == (400, pointer)

    async def test_null_as_text_narrows_like_any_text(self, world: World) -> None:
        """It never means that a filter is left out."""
        plan, _ = await world.family()
        assert (await world.team.want("GET", "/v1/deliveries?planId=null"))["items"] == []
        assert (await world.team.want("GET", f"/v1/deliveries?planId={plan}"))["items"]

    @pytest.mark.parametrize("path", [route.path for route in TOLD if route.path.startswith("/v1") and not route.scope])
    async def test_an_open_route_takes_no_parameter(self, world: World, path: str) -> None:
        """Not even one that does nothing."""
        refused = await world.team.ask("GET", f"{path}?callback=x")
        assert (refused.status, refused.body["code"]) == (400, "parameter")

    @pytest.mark.parametrize(
        ("headers", "body"),
        [
            ({"Content-Type": "multipart/form-data"}, b"grant_type=client_credentials"),
            ({"Content-Type": "application/json"}, b'{"grant_type": "client_credentials"}'),
            ({"Content-Type": "application/x-www-form-urlencoded; charset=zilver"}, b"grant_type=client_credentials"),
            ({"Content-Type": "application/x-www-form-urlencoded"}, b"grant_type=\xff"),
        ],
        ids=["no boundary", "JSON", "an unknown encoding", "no UTF-8"],
    )
    async def test_a_token_request_that_is_no_form_is_refused(
        self, world: World, headers: dict[str, str], body: bytes
    ) -> None:
        """400 invalid_request (RFC 6749 section 5.2), never a fault of the server."""
        async with world.session.post(world.known.token_url, data=body, headers=headers) as response:
            assert (response.status, await response.json()) == (400, {"error": "invalid_request"})

    @pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PATCH"])
    async def test_a_method_of_http_that_is_not_offered_is_told_so(self, world: World, method: str) -> None:
        """405 with Allow on every path, with or without a token."""
        offered: dict[str, set[str]] = {}
        for route in TOLD:
            offered.setdefault(re.sub(r"{\w+}", "x", route.path), set()).add(route.method)
        for path, methods in offered.items():
            async with world.session.request(method, f"{world.gateway.public_url}{path}") as response:
                assert (response.status, set(response.headers["Allow"].split(","))) == (405, methods)

    async def test_a_whole_number_with_a_point_is_a_whole_number(self, world: World) -> None:
        """JSON Schema has 1.0 for an integer, so the gateway has too; 1.5 is none."""
        _, residents = await world.family()
        place = f"/v1/residents/{residents['finn']}/choices"
        now = await world.team.ask("GET", place)
        match = {"If-Match": now.headers["ETag"]}
        kept = [choice for choice in now.body["choices"] if choice.get("recordedBy")]
        refused = await world.team.ask("PUT", place, json_body={"version": 1.5, "choices": kept}, headers=match)
        taken = await world.team.ask("PUT", place, json_body={"version": 1.0, "choices": kept}, headers=match)
        assert (refused.status, refused.body["errors"][0]["pointer"], taken.status) == (422, "/version", 200)


class TestDescribedClient:
    """The caller of the tests would notice an answer that is not described."""

    @pytest.mark.parametrize(
        ("status", "headers", "body"),
        [
            (418, {}, {}),
            (200, {"Content-Type": "application/json"}, {"items": [], "next": None}),
            (200, {"Content-Type": "application/json", "API-Version": "1.0.0"}, {"items": []}),
            (200, {"Content-Type": "application/json", "API-Version": "1.0.0"}, {"items": [], "next": None, "x": 1}),
            (200, {"Content-Type": "text/plain", "API-Version": "1.0.0"}, b"{}"),
            (404, {"Content-Type": "application/problem+json", "API-Version": "1.0.0"}, {}),
        ],
        ids=["a status", "no version", "a field less", "a field more", "another type", "a refusal it has not"],
    )
    async def test_what_is_not_described_is_noticed(
        self, world: World, status: int, headers: dict[str, str], body: Any
    ) -> None:
        """Each of these is no answer of GET /v1/deliveries."""
        right = {"Content-Type": "application/json", "API-Version": "1.0.0"}
        assert_described(world.gateway, "GET", "/v1/deliveries", Answered(200, {"items": [], "next": None}, right))
        with pytest.raises(AssertionError):
            assert_described(world.gateway, "GET", "/v1/deliveries", Answered(status, body, headers))

    async def test_an_exact_path_goes_before_one_with_parameters(self) -> None:
        """So that no answer is held to the promise of another."""
        document = {"paths": {"/x/{id}": {"get": {"operationId": "one"}}, "/x/all": {"get": {"operationId": "all"}}}}
        found = [operation_at(document, "GET", path) for path in ("/x/all", "/x/7", "/x/7/y")]
        assert found == [{"operationId": "all"}, {"operationId": "one"}, None]


class PageRead(HTMLParser):
    """What of a page a browser would act on."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.styles: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Note a style."""
        if self.tags and self.tags[-1][0] == "style" and not self.styles:
            self.styles.append(data)


class TestDocs:
    """The page for people."""

    async def page(self, world: World) -> tuple[PageRead, str, str]:
        """Return the page, its text and its policy."""
        async with world.session.get(f"{world.gateway.public_url}/v1/docs") as response:
            assert (response.status, response.content_type) == (200, "text/html")
            text = await response.text()
            return PageRead(text), text, response.headers["Content-Security-Policy"]

    async def test_it_fetches_and_runs_nothing(self, world: World) -> None:
        """No script, no frame, no address elsewhere; the policy lets through its one style and nothing else."""
        page, _, policy = await self.page(world)
        assert {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "form", "object", "base"} == set()
        assert not [
            name for _, attributes in page.tags for name in attributes if name.startswith("on") or name == "style"
        ]
        digest = base64.b64encode(hashlib.sha256(page.styles[0].encode()).digest()).decode()
        assert f"style-src 'sha256-{digest}'" in policy
        assert policy.startswith("default-src 'none';")
        assert "url(" not in page.styles[0]
        assert "@import" not in page.styles[0]

    async def test_every_link_of_the_page_leads_somewhere_on_it(self, world: World) -> None:
        """But the one to the document, which is beside it."""
        page, _, _ = await self.page(world)
        places = [each["id"] for _, each in page.tags if "id" in each]
        assert len(places) == len(set(places))
        targets = {str(each["href"]) for tag, each in page.tags if tag == "a"}
        assert {target for target in targets if target.removeprefix("#") not in places} == {"openapi.json"}

    async def test_it_tells_every_operation_and_every_error(self, world: World) -> None:
        """Each with its method and path, its scope, its parameters and its codes."""
        _, text, _ = await self.page(world)
        for name, operation in operations(await document_of(world)):
            article = text.partition(f'<h3 id="{operation["operationId"]}">')[2].partition("</article>")[0]
            assert name in article
            for each in operation.get("parameters", []):
                assert f"<code>{each['name']}</code>" in article
            for way in operation["security"]:
                assert f"Scope: <code>{way['oauth'][0]}</code>" in article
        for route in TOLD:
            assert route.operation
            article = text.partition(f'<h3 id="{route.operation.id}">')[2].partition("</article>")[0]
            assert all(f"<code>{code}</code>" in article for code in errors_of(route))
        assert all(f"<code>{code}</code>" in text.partition('id="errors"')[2] for code in ERRORS)

    async def test_it_can_be_read_without_eyes(self, world: World) -> None:
        """A language, a title, one first heading, no level of headings skipped, and tables with captions and scopes."""
        page, _, _ = await self.page(world)
        assert ("html", {"lang": "en"}) in page.tags
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
        assert (levels[0], levels.count(1)) == (1, 1)
        assert all(after - before <= 1 for before, after in pairwise(levels))
        count = [tag for tag, _ in page.tags].count
        assert count("table") == count("caption") > 0
        assert all("scope" in each for tag, each in page.tags if tag == "th")


async def facts_of(world: World, folder: Path) -> Path:
    """Write what the hooks need to know: a client with every scope, and ids that exist."""
    plan, residents = await world.family()
    entries = (await world.gateway.directory.now()).entries
    home, key = entries["wijkteam-noord"], new_key()
    client = Client(client_id="contract", purpose="support", scopes=tuple(sorted(SCOPES)), jwks=public_jwks(key))
    await world.gateway.directory.put(replace(home, clients=(*home.clients, client)))
    write_private_key(folder / "contract.jwk", key)
    deliveries = [row["id"] for row in await world.deliveries(plan)]
    choices = (await world.team.want("GET", f"/v1/residents/{residents['marloes']}/choices"))["choices"]
    people = {"id": sorted(residents.values())}
    of_delivery = ("showDelivery", "retryDelivery", "stopDelivery", "pullDocument", "confirmDocument")
    by_operation = {
        "showPlan": {"id": [plan]},
        **dict.fromkeys(("getChoices", "putChoices", "addChoice"), people),
        "withdrawChoice": {"id": [residents["marloes"]], "choiceId": [choice["id"] for choice in choices]},
        "showView": {**people, "organisationId": ["kompas", "de-linde", "backoffice"]},
        **{name: {"id": deliveries} for name in of_delivery},
    }
    facts = {
        "clientId": client.client_id,
        "keyFile": str(folder / "contract.jwk"),
        "tokenUrl": world.known.token_url,
        "baseUrl": world.gateway.public_url,
        "organisations": sorted(entries),
        "plan": plan,
        "ids": by_operation,
    }
    (folder / "facts.json").write_text(json.dumps(facts))
    return folder / "facts.json"


def configured(folder: Path) -> Path:
    """Write how Schemathesis asks. No check is off; the short way leaves out the thousands of cases that a format's schema has."""
    text = """
[checks.missing_required_header]
# 428 Precondition Required (RFC 6585 section 3) is what an absent If-Match gets.
expected-statuses = [400, 401, 403, 406, 415, 422, 428]
"""
    if not EXAMPLES:
        text += """
[[operations]]
include-operation-id = "sendPlan"
phases.coverage.enabled = false
"""
    (folder / "schemathesis.toml").write_text(text)
    return folder / "schemathesis.toml"


@pytest.mark.timeout(240 + EXAMPLES * 60)
async def test_schemathesis_finds_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every check of Schemathesis on every route, with data that fits and data that does not, none disabled."""
    folder = tmp_path / "run"
    folder.mkdir()
    async with open_world(tmp_path / "world") as world:
        facts = await facts_of(world, folder)
        run = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(configured(folder)),
            "run", f"{world.gateway.public_url}/v1/openapi.json", "--checks", "all", "--seed", SEED,
            "--max-examples", str(EXAMPLES or FEW_EXAMPLES), "--continue-on-failure", "--output-truncate", "false", *OPTIONS,
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
                "SCHEMATHESIS_HOOKS": "contract_hooks",
                "CONTRACT_FACTS": str(facts),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        printed = (await run.communicate())[0].decode()
    assert run.returncode == 0, printed
    cases = re.search(r"(\d+) generated, (\d+) passed", printed)
    tested = re.search(r"Tested: (\d+)", printed)
    assert cases, printed
    assert tested, printed
    assert int(tested.group(1)) == len(TOLD) - 1, "all but the document itself, which it has already"
    with capsys.disabled():
        print(f"\nSchemathesis: {cases.group(1)} cases on {tested.group(1)} operations, seed {SEED}")
