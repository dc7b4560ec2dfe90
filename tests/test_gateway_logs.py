"""The log holds the events of the catalogue, with the fields that they may carry, and nothing else."""

import ast
import io
import json
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from receivers import status
from world import example, open_world

from gateway.logs import EVENTS, Log, LogFieldError, open_log

GATEWAY = Path(__file__).parents[1] / "gateway"
PERSONAL = re.compile("name|bsn|birth|address|text|token|body|payload|given|family|assertion|url|path|query")


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return what was logged."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


class TestCatalogue:
    """An event and its fields are allowed, or they are not written."""

    @pytest.mark.parametrize(
        ("event", "fields"),
        [("plan_received", {"bsn": "999900006"}), ("plan_recieved", {}), ("", {"plan": "x"})],
        ids=["a field that is not in the catalogue", "a misspelt event", "no event"],
    )
    def test_what_is_not_in_the_catalogue_raises_where_it_is_strict(self, event: str, fields: dict[str, Any]) -> None:
        """And the message names the field, not its value."""
        stream = io.StringIO()
        with pytest.raises(LogFieldError) as raised:
            Log(stream, strict=True)(event, **fields)
        assert "999900006" not in str(raised.value)
        assert stream.getvalue() == ""

    def test_an_unknown_field_is_dropped_where_it_is_not(self) -> None:
        """The event stays with the fields that it may have."""
        stream = io.StringIO()
        Log(stream)("plan_received", plan="p", bsn="999900006")
        (line,) = lines_of(stream)
        assert line.keys() == {"event", "plan", "timestamp"}

    def test_an_unknown_event_keeps_nothing(self) -> None:
        """Not even its name, which could hold anything."""
        stream = io.StringIO()
        Log(stream)("Marloes is ziek", bsn="999900006")
        (line,) = lines_of(stream)
        assert (line["event"], line.keys()) == ("unknown_event", {"event", "timestamp"})

    def test_no_field_is_called_after_something_personal(self) -> None:
        """The catalogue itself has no place for a name, a number, an address or a text."""
        assert not [(event, field) for event, fields in EVENTS.items() for field in fields if PERSONAL.search(field)]

    def test_a_line_is_json_with_an_aware_moment(self, tmp_path: Path) -> None:
        """One line per event, appended, readable at once."""
        for port in (1, 2):
            log = open_log(tmp_path / "logs")
            log("gateway_started", port=port)
            log.close()
        lines = (tmp_path / "logs" / "planbrug.jsonl").read_text().splitlines()
        assert [json.loads(line)["port"] for line in lines] == [1, 2]
        assert json.loads(lines[0])["timestamp"].endswith("Z")


def log_calls() -> list[tuple[str, str, frozenset[str]]]:
    """Return (where, event, fields) of every call of a log in the gateway, by reading its source."""
    found = []
    for path in sorted(GATEWAY.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"log", "_log"}:
                fields = frozenset(keyword.arg or "**" for keyword in node.keywords)
                found.append((f"{path.name}:{node.lineno}", str(node.args[0].value), fields))
    return found


class TestUse:
    """The program says what the catalogue promises."""

    def test_every_call_in_the_gateway_is_in_the_catalogue(self) -> None:
        """No event and no field is dropped in silence."""
        calls = log_calls()
        assert len(calls) > 8
        wrong = [call for call in calls if call[1] not in EVENTS or not call[2] <= EVENTS[call[1]]]
        assert wrong == []

    async def test_every_request_has_one_line(self, tmp_path: Path) -> None:
        """With its route as it is declared and not as it was asked, its client, its outcome and its id."""
        async with open_world(tmp_path) as world:
            team, before = world.team, len(world.logs().splitlines())
            plan_id = (await world.send(example())).body["planId"]
            asked = [
                await team.ask("GET", f"/v1/plans/{plan_id}"),
                await team.ask("GET", "/v1/plans/999900006"),
                await team.ask("GET", "/Marloes?bsn=999900006"),
                await team.ask("DELETE", "/v1/plans/Marloes"),
                await team.ask("PUT", "/v1/organisations/x", body=b"{}"),
            ]
            rows = [json.loads(line) for line in world.logs().splitlines()[before:]]
            told = {row["request_id"]: row for row in rows if row["event"] == "request_answered"}
            lines = [told[each.headers["X-Request-Id"]] for each in asked]
            assert [(row["route"], row["status"], row["code"]) for row in lines] == [
                ("/v1/plans/{id}", 200, "ok"),
                ("/v1/plans/{id}", 404, "not-found"),
                ("none", 404, "not-found"),
                ("none", 405, "method"),
                ("/v1/organisations/{id}", 403, "scope"),
            ]
            assert [row["client"] for row in lines[:2]] == ["wijkteam-noord-team"] * 2
            assert all(0 <= row["seconds"] < 30 for row in lines)

    async def test_a_delivery_has_one_line_per_outcome(self, tmp_path: Path) -> None:
        """With its state, its reason, the status that came back and the number of the attempt."""
        async with open_world(tmp_path, retry_seconds=(0.05,)) as world:
            world.receivers["provider-a"].answers.append(status(503))
            plan_id = (await world.send(example())).body["planId"]
            rows = await world.rest(plan_id, {"acknowledged", "withheld", "unchanged"})
            (kompas,) = [row["id"] for row in rows if row["recipient"] == "kompas"]
            lines = [json.loads(line) for line in world.logs().splitlines() if f'"{kompas}"' in line]
            told = [(row["state"], row["reason"], row["status"], row["attempt"]) for row in lines]
            assert told == [("waiting", "receiver-failed", 503, 1), ("acknowledged", None, 200, 2)]

    async def test_a_whole_journey_says_nothing_unknown_and_no_secret(self, tmp_path: Path) -> None:
        """Every line is of the catalogue; no token and no assertion is in any."""
        async with open_world(tmp_path) as world:
            await world.family()
            async with aiohttp.ClientSession() as session:
                headers = {"Authorization": "Bearer geheim.geheim.geheim"}
                async with session.get(f"{world.gateway.public_url}/v1/deliveries", headers=headers) as answer:
                    assert answer.status == 401
            rows = [json.loads(line) for line in world.logs().splitlines()]
            assert {row["event"] for row in rows} >= {"plan_received", "choices_changed", "delivery_settled"}
            for row in rows:
                assert row.keys() - {"event", "timestamp"} <= EVENTS[row["event"]]
            assert "eyJ" not in world.logs()
            assert "geheim" not in world.logs()
