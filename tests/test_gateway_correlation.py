"""A request is found again by ids that say nothing about a person; what does not fit is replaced, and refuses nothing."""

import json
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from world import World, open_world

from gateway.correlation import correlated

OWN = "01a0f3d2-0000-7000-8000-00000000000a"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"
UUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"


def made(size: int) -> str:
    """Make a hex text of this many bytes that is the same every time."""
    return "ab" * size


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        pytest.param(GOOD, f"00-{TRACE}-abababababababab-01", id="a trace goes on, with a span of our own"),
        pytest.param(f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-abababababababab-00", id="not sampled stays not sampled"),
        pytest.param(f"00-{TRACE}-{SPAN}-fe", f"00-{TRACE}-abababababababab-00", id="unknown flags are left out"),
        pytest.param(f"01-{TRACE}-{SPAN}-01", f"00-{TRACE}-abababababababab-01", id="a later version is read as ours"),
        pytest.param(f"01-{TRACE}-{SPAN}-01-x", f"00-{TRACE}-abababababababab-01", id="also with more behind it"),
        *(
            pytest.param(bad, f"00-{'ab' * 16}-abababababababab-01", id=f"a new trace: {why}")
            for why, bad in {
                "none": "",
                "version ff": f"ff-{TRACE}-{SPAN}-01",
                "more behind version 00": f"{GOOD}-x",
                "more without a dash": f"01-{TRACE}-{SPAN}-01x",
                "capitals": GOOD.upper(),
                "a zero trace": f"00-{'0' * 32}-{SPAN}-01",
                "a zero span": f"00-{TRACE}-{'0' * 16}-01",
                "too short": f"00-{TRACE[:-1]}-{SPAN}-01",
                "no hex": f"00-{TRACE[:-1]}g-{SPAN}-01",
                "a line feed behind it": f"{GOOD}\n",
                "a name": "Marloes de Bruin",
            }.items()
        ),
    ],
)
def test_a_trace_goes_on_or_begins(sent: str, answered: str) -> None:
    """W3C Trace Context 3.2 and 4.3: one that is not right is as if there were none."""
    assert correlated({"traceparent": sent}, OWN, made).headers["traceparent"] == answered


@pytest.mark.parametrize(
    ("sent", "echoed"),
    [
        ("x", "x"),
        (UUID, UUID),
        ("!" + "~" * 63, "!" + "~" * 63),
        ("x" * 65, OWN),
        ("", OWN),
        ("a b", OWN),
        ("Zoë", OWN),
        ("a\x00", OWN),
        ("a\n", OWN),
    ],
)
def test_an_id_of_the_caller_comes_back_when_it_is_visible_ascii(sent: str, echoed: str) -> None:
    """Up to 64 characters; otherwise ours takes its place."""
    found = correlated({"X-Request-Id": sent}, OWN, made)
    assert (found.headers["X-Request-Id"], found.headers["X-Correlation-Id"]) == (echoed, echoed)
    assert found.request_id == OWN
    conversation = correlated({"X-Correlation-Id": sent}, OWN, made)
    assert (conversation.headers["X-Request-Id"], conversation.headers["X-Correlation-Id"]) == (OWN, echoed)


@pytest.mark.parametrize("name", ["X-Request-Id", "X-Correlation-Id"])
@pytest.mark.parametrize(("sent", "logged"), [(UUID, True), ("999900006", False), ("jan.jansen", False), ("x", False)])
def test_of_the_ids_of_callers_only_a_uuid_is_logged(name: str, sent: str, logged: bool) -> None:
    """Anything else may be a number or a name of somebody."""
    found = correlated({name: sent}, OWN, made)
    assert (sent in {found.told(found.echoed), found.told(found.correlation_id)}) is logged


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One world for the whole file."""
    async with open_world(tmp_path_factory.mktemp("correlation")) as opened:
        yield opened


@pytest.mark.asyncio(loop_scope="module")
class TestOverHttp:
    """Every answer says what it is known by, and its line in the log says the same."""

    @pytest.mark.parametrize(
        "path", ["/v1/deliveries", "/v1/deliveries/x", "/v1/nergens", "/fhir/Patient/x", "/health/live"]
    )
    async def test_every_answer_carries_what_was_sent(self, world: World, path: str) -> None:
        """Of good answers and of errors, on both faces."""
        sent = {"traceparent": GOOD, "X-Request-Id": UUID, "X-Correlation-Id": "zaak-1"}
        headers = (await world.team.ask("GET", path, headers=sent)).headers
        assert (headers["X-Request-Id"], headers["X-Correlation-Id"]) == (UUID, "zaak-1")
        span = re.fullmatch(rf"00-{TRACE}-([0-9a-f]{{16}})-01", headers["traceparent"])
        assert span
        assert span[1] != SPAN
        line = json.loads(world.logs().splitlines()[-1])
        assert (line["trace_id"], line["span_id"], line["asked_id"]) == (TRACE, span[1], UUID)
        assert line["request_id"] not in {UUID, None}
        assert line["correlation_id"] is None

    async def test_who_sends_nothing_gets_ids_of_its_own(self, world: World) -> None:
        """The request id and the correlation id are those of the log; two requests have two traces."""
        first, second = [(await world.team.ask("GET", "/health/live")).headers for _ in range(2)]
        line = json.loads(world.logs().splitlines()[-1])
        assert second["X-Request-Id"] == second["X-Correlation-Id"] == line["request_id"]
        assert first["traceparent"][3:35] != second["traceparent"][3:35] == line["trace_id"]

    async def test_personal_data_in_an_id_reaches_no_log(self, world: World) -> None:
        """Though it comes back to who sent it; a header that comes twice, or is no ASCII, is replaced."""
        for value in ("999900006", "Marloes", "Bruin\tx"):
            await world.team.ask("GET", "/health/live", headers={"X-Request-Id": value, "traceparent": value})
            assert value not in world.logs()
        twice = [("X-Request-Id", "een"), ("X-Request-Id", "twee"), ("traceparent", GOOD), ("traceparent", GOOD)]
        async with world.session.get(f"{world.gateway.public_url}/health/live", headers=twice) as response:
            assert response.status == 200
            assert response.headers["X-Request-Id"] not in {"een", "twee"}
            assert TRACE not in response.headers["traceparent"]
