"""Who asks too often is told to wait, and keeps nobody else waiting; what is left is told with every answer."""

import re
from ipaddress import ip_network
from pathlib import Path

import pytest
from world import open_world

from gateway.peers import is_trusted, origin
from gateway.rates import Rate, Rates


class Ticks:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def taken(rates: Rates, who: str = "a", times: int = 1) -> Rate:
    """Take so often, and return how it then stands."""
    found = [rates.take(who) for _ in range(times)][-1]
    assert found is not None
    return found


class TestBucket:
    """A bucket holds a minute's worth and fills evenly."""

    def test_a_minute_s_worth_may_come_at_once_and_the_next_is_one_too_many(self) -> None:
        """And whoever waits as long as it says may ask once more."""
        ticks = Ticks()
        rates = Rates("client", 6, ticks)
        assert [taken(rates).exceeded for _ in range(7)] == [False] * 6 + [True]
        assert taken(rates).retry_seconds == 10
        ticks.seconds += 9.9
        assert (taken(rates).exceeded, taken(rates).retry_seconds) == (True, 1)
        ticks.seconds += 0.2
        assert [taken(rates).exceeded for _ in range(2)] == [False, True]

    def test_it_fills_no_further_than_a_minute_s_worth(self) -> None:
        """However long nobody asked."""
        ticks = Ticks()
        rates = Rates("client", 6, ticks)
        taken(rates)
        ticks.seconds += 59
        assert (taken(rates).remaining, taken(rates).remaining) == (5, 4)
        ticks.seconds += 10_000
        assert taken(rates).remaining == 5

    def test_one_who_asks_too_often_keeps_nobody_else_waiting(self) -> None:
        """Each has a bucket."""
        rates = Rates("client", 2, Ticks())
        assert taken(rates, "a", 3).exceeded
        assert not taken(rates, "b").exceeded

    def test_what_is_left_is_told_in_both_forms(self) -> None:
        """The quota, the window, what is left, and the seconds until it is whole again."""
        rates = Rates("client", 120, Ticks())
        assert taken(rates, times=20).headers == {
            "RateLimit-Policy": '"client";q=120;w=60',
            "RateLimit": '"client";r=100;t=10',
            "RateLimit-Limit": "120",
            "RateLimit-Remaining": "100",
            "RateLimit-Reset": "10",
        }

    def test_zero_counts_nobody(self) -> None:
        """And remembers nobody."""
        rates = Rates("client", 0, Ticks())
        assert (rates.take("a"), len(rates)) == (None, 0)

    def test_no_more_are_remembered_than_the_bound(self) -> None:
        """Who asked longest ago is forgotten first; who asks all the time is not."""
        ticks = Ticks()
        rates = Rates("client", 2, ticks, most_in_hand=3)
        for number in range(50):
            ticks.seconds += 0.001
            taken(rates, f"address {number}")
            last = taken(rates, "busy")
        assert (len(rates), last.exceeded) == (3, True)

    def test_who_has_not_asked_for_a_minute_is_forgotten(self) -> None:
        """Its bucket is full again, so there is nothing to remember."""
        ticks = Ticks()
        rates = Rates("client", 2, ticks)
        taken(rates, "a", 3)
        ticks.seconds += 61
        assert (taken(rates, "b").remaining, len(rates)) == (1, 1)


PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        pytest.param("192.0.2.1", [], "192.0.2.1", id="the peer"),
        pytest.param("192.0.2.1", ["198.51.100.7"], "192.0.2.1", id="the header of a stranger is not believed"),
        pytest.param("10.0.0.1", ["198.51.100.7"], "198.51.100.7", id="that of a proxy is"),
        pytest.param("10.0.0.1", ["203.0.113.9, 198.51.100.7"], "198.51.100.7", id="not what the caller put before"),
        pytest.param("10.0.0.1", ["203.0.113.9", "198.51.100.7"], "198.51.100.7", id="also over two headers"),
        pytest.param("10.0.0.1", ["198.51.100.7, 10.0.0.2"], "198.51.100.7", id="through two proxies"),
        pytest.param("10.0.0.1", ["onzin"], "10.0.0.1", id="nonsense ends at the proxy"),
        pytest.param("10.0.0.1", [], "10.0.0.1", id="a proxy that says nothing"),
        pytest.param("::ffff:10.0.0.1", ["198.51.100.7"], "198.51.100.7", id="a proxy over IPv6 with an IPv4 address"),
        pytest.param("2001:db8:1:2:3::4", [], "2001:db8:1:2::/64", id="one IPv6 subscriber counts once"),
        pytest.param("fd00::1", ["2001:db8::1"], "2001:db8::/64", id="behind a proxy too"),
        pytest.param(None, ["198.51.100.7"], "None", id="no peer at all"),
    ],
)
def test_a_token_request_counts_for_the_address_it_comes_from(
    peer: str | None, forwarded: list[str], found: str
) -> None:
    assert origin(peer, forwarded, PROXIES) == found


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [("10.1.2.3", True), ("11.1.2.3", False), ("fd00::9", True), ("::ffff:10.1.2.3", True), ("", False), (None, False)],
)
def test_only_proxies_of_ours_are_trusted(peer: str | None, trusted: bool) -> None:
    assert is_trusted(peer, PROXIES) is trusted


class TestOverHttp:
    """The limit holds for a client as a whole, on both faces."""

    async def test_a_client_over_its_limit_gets_429_and_another_does_not(self, tmp_path: Path) -> None:
        """Before anything is looked up, with when to come back; what is refused for another reason counts too."""
        async with open_world(tmp_path, rate_limit_per_minute=3) as world:
            team = world.team
            ways = (("GET", "/v1/formats"), ("GET", "/v1/deliveries/x"), ("PUT", "/v1/organisations/x"))
            answers = [await team.ask(method, path) for method, path in ways]
            assert [(each.status, each.headers["RateLimit-Remaining"]) for each in answers] == [
                (200, "2"),
                (404, "1"),
                (403, "0"),
            ]
            for each in answers:
                assert each.headers["RateLimit-Policy"] == '"client";q=3;w=60'
                assert re.fullmatch(r'"client";r=[0-2];t=\d+', each.headers["RateLimit"])
            refused = await team.ask("GET", "/v1/formats")
            assert (refused.status, refused.body["code"]) == (429, "rate-limit")
            assert 1 <= int(refused.headers["Retry-After"]) <= 20
            assert refused.headers["RateLimit-Remaining"] == "0"
            outcome = await team.ask("POST", "/fhir", body=b"{}")
            assert (outcome.status, outcome.headers["Content-Type"]) == (429, "application/fhir+json")
            assert outcome.body["issue"][0]["code"] == "throttled"
            assert (await world.clients["admin"].ask("GET", "/v1/deliveries")).status == 200

    async def test_token_requests_are_counted_before_they_are_judged(self, tmp_path: Path) -> None:
        """By address: a header of somebody who is no proxy of ours changes nothing, and naming a client costs it nothing."""
        async with open_world(tmp_path, token_rate_limit_per_minute=8) as world:
            url = world.known.token_url
            statuses = []
            for number in range(6):
                forwarded = {"X-Forwarded-For": f"198.51.100.{number}"}
                async with world.session.post(url, data={"grant_type": "x"}, headers=forwarded) as response:
                    statuses.append(response.status)
            assert (statuses == sorted(statuses), {*statuses}) == (True, {400, 429})
            assert (response.content_type, "Retry-After" in response.headers) == ("application/problem+json", True)
            assert (await world.team.ask("GET", "/v1/formats")).status == 200

    async def test_a_proxy_of_ours_says_whose_token_requests_it_passes_on(self, tmp_path: Path) -> None:
        """Each of them has a limit of its own."""
        async with open_world(tmp_path, token_rate_limit_per_minute=8, trusted_proxies="127.0.0.0/8") as world:
            for number in range(20):
                forwarded = {"X-Forwarded-For": f"198.51.100.{number}"}
                async with world.session.post(
                    world.known.token_url, data={"grant_type": "x"}, headers=forwarded
                ) as response:
                    assert response.status == 400

    async def test_who_is_not_known_is_told_no_limit(self, tmp_path: Path) -> None:
        """A limit is of a client."""
        async with (
            open_world(tmp_path) as world,
            world.session.get(f"{world.gateway.public_url}/v1/formats") as response,
        ):
            assert (response.status, "RateLimit" in response.headers) == (401, False)
