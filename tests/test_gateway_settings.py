"""Settings come from the environment, and a set that contradicts itself starts nothing."""

import base64
import json
import os
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from gateway.failpoints import FAILPOINTS
from gateway.server import serving
from gateway.settings import Settings, SettingsError, load_settings
from gateway.wiring import open_gateway


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests."""
    for name in [name for name in os.environ if name.upper().startswith("PLANBRUG_")]:
        monkeypatch.delenv(name)


GOOD: dict[str, Any] = {
    "mode": "production",
    "public_url": "https://brug.vlinderstad.example",
    "master_key_file": Path("/run/secrets/master.key"),
}
PG, KEYS = "postgresql://u:geheim@db/planbrug", "postgresql://u:geheim@db/keys"

CONTRADICTIONS = [
    ("a demo that others can reach", {"mode": "demo", "bind": "0.0.0.0"}, "BIND"),
    ("a demo on a name that is not loopback", {"mode": "demo", "bind": "brug.example"}, "BIND"),
    ("a demo on another address", {"mode": "demo", "bind": "192.168.1.4"}, "BIND"),
    ("a clock that is moved in production", {**GOOD, "clock_offset_seconds": 60}, "CLOCK_OFFSET_SECONDS"),
    ("a failpoint in production", {**GOOD, "failpoint": FAILPOINTS[0]}, "FAILPOINT"),
    ("a failpoint that is none", {"mode": "demo", "failpoint": "geheim"}, "FAILPOINT"),
    ("production without a master key", {**GOOD, "master_key_file": None}, "MASTER_KEY_FILE"),
    ("production without an address", {**GOOD, "public_url": ""}, "PUBLIC_URL"),
    ("production with keys beside the plans", {**GOOD, "database_url": PG}, "KEYS_DATABASE_URL"),
    ("the same database for the keys", {**GOOD, "database_url": PG, "keys_database_url": PG}, "KEYS_DATABASE_URL"),
    ("another database", {"mode": "demo", "database_url": "mysql://geheim@x"}, "DATABASE_URL"),
    ("another broker", {"mode": "demo", "amqp_url": "kafka://geheim@x"}, "AMQP_URL"),
    ("a pause of nothing", {"mode": "demo", "retry_seconds": "1,0"}, "RETRY_SECONDS"),
    ("a pause that is negative", {"mode": "demo", "retry_seconds": (-1.0,)}, "RETRY_SECONDS"),
    ("pauses that are no numbers", {"mode": "demo", "retry_seconds": "1,geheim"}, "RETRY_SECONDS"),
    ("an unknown mode", {"mode": "geheim"}, "MODE"),
    ("a port that is none", {"mode": "demo", "port": 70_000}, "PORT"),
    ("a limit of nothing", {"mode": "demo", "max_body_bytes": 0}, "MAX_BODY_BYTES"),
    ("a timeout of nothing", {"mode": "demo", "send_timeout_seconds": 0}, "SEND_TIMEOUT_SECONDS"),
    ("a certificate header from anybody", {**GOOD, "client_cert_header": "X-Client-Cert"}, "TRUSTED_PROXIES"),
    ("a certificate header that is none", {**GOOD, "client_cert_header": "X geheim"}, "CLIENT_CERT_HEADER"),
    ("a certificate without its key", {**GOOD, "tls_cert_file": "geheim.pem"}, "TLS_KEY_FILE"),
    ("a key without its certificate", {**GOOD, "tls_key_file": "geheim.pem"}, "TLS_CERT_FILE"),
    ("authorities without TLS", {**GOOD, "tls_client_ca_file": "geheim.pem"}, "TLS_CLIENT_CA_FILE"),
    ("proxies that are no networks", {**GOOD, "trusted_proxies": "10.0.0.1/8"}, "TRUSTED_PROXIES"),
    ("a negative limit", {**GOOD, "rate_limit_per_minute": -1}, "RATE_LIMIT_PER_MINUTE"),
    ("a provider without an audience", {**GOOD, "oidc_issuer": "https://id.example"}, "OIDC_AUDIENCE"),
    ("an audience without a provider", {**GOOD, "oidc_audience": "geheim"}, "OIDC_ISSUER"),
    (
        "a provider that anybody could be",
        {**GOOD, "oidc_issuer": "http://id.example", "oidc_audience": "x"},
        "OIDC_ISSUER",
    ),
    (
        "the gateway as its own provider",
        {**GOOD, "oidc_issuer": f"{GOOD['public_url']}/", "oidc_audience": "x"},
        "OIDC_ISSUER",
    ),
    ("targets that are no networks", {"mode": "demo", "allowed_targets": "10.0.0.1/8"}, "ALLOWED_TARGETS"),
]


@pytest.mark.parametrize(
    ("known", "name"), [pytest.param(known, name, id=sentence) for sentence, known, name in CONTRADICTIONS]
)
def test_a_contradiction_is_refused_by_name(known: dict[str, Any], name: str) -> None:
    """The message names the setting, and holds no value of it."""
    with pytest.raises(SettingsError) as raised:
        load_settings(None, **known)
    assert name in str(raised.value)
    assert "geheim" not in str(raised.value)


@pytest.mark.parametrize(
    "known",
    [
        pytest.param({"mode": "demo"}, id="a demo"),
        pytest.param({"mode": "demo", "bind": "::1"}, id="a demo on the other loopback"),
        pytest.param({"mode": "demo", "bind": "localhost", "clock_offset_seconds": 60}, id="a demo of tomorrow"),
        pytest.param({"mode": "demo", "database_url": PG}, id="a demo on PostgreSQL"),
        pytest.param(GOOD, id="production on SQLite"),
        pytest.param({**GOOD, "bind": "0.0.0.0"}, id="production for others"),
        pytest.param({**GOOD, "database_url": PG, "keys_database_url": KEYS}, id="production on PostgreSQL"),
        pytest.param({**GOOD, "database_url": PG, "keys_database_url": "sqlite:///keys.db"}, id="keys on SQLite"),
    ],
)
def test_a_consistent_set_is_taken(known: dict[str, Any]) -> None:
    """Nothing more is asked than the rules."""
    assert load_settings(None, **known).mode == known["mode"]


class TestSources:
    """What is known wins over the environment, and that over the file."""

    def test_the_nearest_source_wins(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """File, environment, argument: each overrides the one before."""
        file = tmp_path / "planbrug.env"
        file.write_text("PLANBRUG_MODE=demo\nPLANBRUG_PORT=1\nPLANBRUG_MAX_BODY_BYTES=1111\nPLANBRUG_BIND=127.0.0.2\n")
        monkeypatch.setenv("PLANBRUG_PORT", "2")
        monkeypatch.setenv("PLANBRUG_MAX_BODY_BYTES", "2222")
        found = load_settings(file, max_body_bytes=3333)
        assert (found.bind, found.port, found.max_body_bytes) == ("127.0.0.2", 2, 3333)

    def test_lists_are_written_with_commas(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Pauses and networks, blanks allowed."""
        monkeypatch.setenv("PLANBRUG_MODE", "demo")
        monkeypatch.setenv("PLANBRUG_RETRY_SECONDS", "1, 2,4 ,")
        monkeypatch.setenv("PLANBRUG_ALLOWED_TARGETS", "10.0.0.0/8, fd00::/8")
        found = load_settings()
        assert found.retry_seconds == (1, 2, 4)
        assert found.allowed_targets == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))

    def test_a_misspelt_setting_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It would silently do nothing."""
        monkeypatch.setenv("PLANBRUG_MODE", "demo")
        monkeypatch.setenv("PLANBRUG_RETRY_SECOND", "geheim")
        with pytest.raises(SettingsError, match="PLANBRUG_RETRY_SECOND: no such setting"):
            load_settings()

    def test_a_file_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        """Starting with defaults instead would be a surprise."""
        with pytest.raises(SettingsError, match="is not there"):
            load_settings(tmp_path / "nergens.env")

    def test_settings_do_not_change(self) -> None:
        """Once loaded they are what they are."""
        with pytest.raises(ValueError, match="frozen"):
            load_settings(None, mode="demo").port = 1  # type: ignore[misc]

    def test_loopback_is_a_target_in_a_demo_only(self) -> None:
        """In production it must be named."""
        loopback = ip_network("127.0.0.0/8")
        assert loopback in load_settings(None, mode="demo").targets
        assert load_settings(None, **GOOD).targets == ()
        assert load_settings(None, **GOOD, allowed_targets="10.0.0.0/8").targets == (ip_network("10.0.0.0/8"),)

    def test_every_setting_is_documented(self) -> None:
        """The README or the runbook names each."""
        texts = [path.read_text() for path in Path(__file__).parents[1].glob("*.md")]
        texts += [path.read_text() for path in (Path(__file__).parents[1] / "deploy").rglob("*.md")]
        missing = [name for name in Settings.model_fields if not any(name.upper() in text for text in texts)]
        assert missing == []


def production(folder: Path, **changed: Any) -> Settings:
    """Return settings of a production gateway on SQLite."""
    key = folder / "master.key"
    key.write_bytes(base64.b64encode(bytes(range(32))))
    return load_settings(None, **{**GOOD, "data_dir": folder / "data", "master_key_file": key, **changed})


class TestStarting:
    """What is not right stops the start, before anything runs."""

    async def test_production_refuses_the_database_of_a_demo(self, tmp_path: Path) -> None:
        """A demo's people are not real, and its keys lie about."""
        database = f"sqlite:///{tmp_path / 'one.db'}"
        demo = load_settings(None, mode="demo", data_dir=tmp_path / "demo", database_url=database)
        async with open_gateway(demo, "http://x"):
            pass
        with pytest.raises(SettingsError, match="made in demo mode"):
            async with open_gateway(production(tmp_path, database_url=database), "http://x"):
                pytest.fail("it started")

    async def test_a_demo_refuses_the_database_of_production(self, tmp_path: Path) -> None:
        """The other way round there are real people in it."""
        settings = production(tmp_path)
        async with open_gateway(settings, "http://x"):
            pass
        demo = load_settings(None, mode="demo", data_dir=tmp_path / "demo", database_url=settings.database)
        with pytest.raises(SettingsError, match="made in production mode"):
            async with open_gateway(demo, "http://x"):
                pytest.fail("it started")

    async def test_a_port_that_is_taken_is_said(self, tmp_path: Path) -> None:
        """With the number, and what to do."""
        async with serving(load_settings(None, mode="demo", port=0, data_dir=tmp_path / "a")) as gateway:
            port = int(gateway.public_url.rpartition(":")[2])
            with pytest.raises(SettingsError, match=f"port {port} on 127.0.0.1 is taken"):
                async with serving(load_settings(None, mode="demo", port=port, data_dir=tmp_path / "b")):
                    pytest.fail("it started")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            pytest.param("geheim", "DIRECTORY_FILE is absent or not", id="no JSON"),
            pytest.param('[{"id": "geheim"}]', "DIRECTORY_FILE is absent or not", id="no organisation"),
            pytest.param(
                json.dumps(
                    [{"id": "a", "name": "A", "kind": "school", "endpoints": [{"adapter": "webhook", "url": "x"}]}]
                ),
                "DIRECTORY_FILE: /endpoints/0/url",
                id="an address that is none",
            ),
        ],
    )
    async def test_a_directory_that_is_not_right_is_refused(self, tmp_path: Path, content: str, message: str) -> None:
        """By its setting, without what it says."""
        file = tmp_path / "directory.json"
        file.write_text(content)
        settings = load_settings(None, mode="demo", data_dir=tmp_path, directory_file=file)
        with pytest.raises(SettingsError, match=message) as raised:
            async with open_gateway(settings, "http://x"):
                pytest.fail("it started")
        assert "geheim" not in str(raised.value)

    @pytest.mark.parametrize("content", ["geheim", "[1]", '[{"id": "geheim"}]'])
    async def test_grounds_that_are_not_right_are_refused(self, tmp_path: Path, content: str) -> None:
        """A ground that nobody knows must not silently be none."""
        file = tmp_path / "grounds.json"
        file.write_text(content)
        settings = load_settings(None, mode="demo", data_dir=tmp_path, grounds_file=file)
        with pytest.raises(SettingsError, match="GROUNDS_FILE") as raised:
            async with open_gateway(settings, "http://x"):
                pytest.fail("it started")
        assert "geheim" not in str(raised.value)

    @pytest.mark.parametrize("missing", ["directory_file", "grounds_file"])
    async def test_a_file_that_is_named_must_be_there(self, tmp_path: Path, missing: str) -> None:
        """Absent is not empty."""
        settings = load_settings(None, mode="demo", data_dir=tmp_path, **{missing: tmp_path / "nergens"})
        with pytest.raises(SettingsError, match=missing.upper()):
            async with open_gateway(settings, "http://x"):
                pytest.fail("it started")
