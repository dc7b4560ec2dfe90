"""Settings from the environment (`PLANBRUG_…`) or an env file; an inconsistent set is refused before anything starts."""

import os
from collections.abc import Iterable
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gateway.failpoints import FAILPOINTS, PARTNER_FAILPOINTS, is_failpoint

_PREFIX = "PLANBRUG_"

Network = IPv4Network | IPv6Network


class SettingsError(Exception):
    """The settings contradict each other or lack something; each line names one setting and its remedy."""


class Settings(BaseSettings):
    """What one gateway needs to know. Times are seconds."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="ignore", frozen=True)

    mode: Literal["demo", "production"] = "production"
    bind: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    public_url: str = ""
    metrics_bind: str = ""
    data_dir: Path = Path("var/planbrug")
    database_url: str = ""
    keys_database_url: str = ""
    amqp_url: str = ""
    partner_amqp_url: str = ""
    directory_file: Path | None = None
    grounds_file: Path | None = None
    formats_dir: Path | None = None
    master_key_file: Path | None = None
    allowed_targets: Annotated[tuple[Network, ...], NoDecode] = ()
    max_body_bytes: int = Field(default=5_000_000, ge=1_000)
    rate_limit_per_minute: int = Field(default=60_000, ge=0)
    token_rate_limit_per_minute: int = Field(default=6_000, ge=0)
    client_cert_header: str = Field(default="", pattern=r"^[A-Za-z0-9-]*$")
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    tls_client_ca_file: Path | None = None
    oidc_issuer: str = ""
    oidc_audience: str = ""
    oidc_organisation_claim: str = Field(default="organisation", min_length=1)
    oidc_role_claim: str = Field(default="role", min_length=1)
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = ()
    retry_seconds: Annotated[tuple[float, ...], NoDecode] = (30, 120, 600, 3_600, 14_400, 43_200, 86_400, 86_400)
    send_timeout_seconds: float = Field(default=20, gt=0)
    max_backlog: int = Field(default=100_000, ge=1)
    max_intake_at_once: int = Field(default=256, ge=1)
    receipt_deadline_seconds: float = Field(default=86_400, gt=0)
    signed_is_decision: bool = False
    clock_offset_seconds: float = 0
    failpoint: str = ""

    @field_validator("retry_seconds", mode="before")
    @classmethod
    def _seconds(cls, text: object) -> object:
        return tuple(part.strip() for part in text.split(",") if part.strip()) if isinstance(text, str) else text

    @field_validator("allowed_targets", "trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, text: object) -> object:
        if not isinstance(text, str):
            return text
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        wrong = [sentence for holds, sentence in self._rules() if not holds]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def _rules(self) -> tuple[tuple[bool, str], ...]:
        demo = self.mode == "demo"
        postgres = self.database_url.startswith(("postgresql://", "postgres://"))
        return (
            (not demo or _is_loopback(self.bind), "MODE=demo needs BIND on a loopback address"),
            (demo or not self.clock_offset_seconds, "CLOCK_OFFSET_SECONDS works in MODE=demo only"),
            (demo or not self.failpoint, "FAILPOINT works in MODE=demo only"),
            (
                not self.failpoint or is_failpoint(self.failpoint),
                "FAILPOINT is one of "
                + ", ".join((*FAILPOINTS, *PARTNER_FAILPOINTS))
                + "; with :k behind it the k-th time",
            ),
            (demo or self.master_key_file is not None, "MODE=production needs MASTER_KEY_FILE (32 bytes, base64)"),
            (demo or bool(self.public_url), "MODE=production needs PUBLIC_URL, the address that callers use"),
            (
                demo or not postgres or self.keys_database_url not in {"", self.database_url},
                "MODE=production on PostgreSQL needs KEYS_DATABASE_URL, another database than DATABASE_URL",
            ),
            (
                not self.database_url or postgres or self.database_url.startswith("sqlite:///"),
                "DATABASE_URL begins with postgresql:// or sqlite:///",
            ),
            (
                not self.amqp_url or self.amqp_url.startswith(("amqp://", "amqps://")),
                "AMQP_URL begins with amqp:// or amqps://",
            ),
            (
                not self.partner_amqp_url or self.partner_amqp_url.startswith(("amqp://", "amqps://")),
                "PARTNER_AMQP_URL begins with amqp:// or amqps://",
            ),
            (
                not self.client_cert_header or bool(self.trusted_proxies),
                "CLIENT_CERT_HEADER needs TRUSTED_PROXIES: anybody else could write it",
            ),
            (
                (self.tls_cert_file is None) == (self.tls_key_file is None),
                "TLS_CERT_FILE and TLS_KEY_FILE go together",
            ),
            (
                self.tls_client_ca_file is None or self.tls_cert_file is not None,
                "TLS_CLIENT_CA_FILE needs TLS_CERT_FILE and TLS_KEY_FILE",
            ),
            (
                bool(self.oidc_issuer) == bool(self.oidc_audience),
                "OIDC_ISSUER and OIDC_AUDIENCE go together",
            ),
            (
                not self.oidc_issuer or self.oidc_issuer.startswith(("https://", "http://") if demo else "https://"),
                "OIDC_ISSUER begins with https://",
            ),
            (
                not self.oidc_issuer or self.oidc_issuer.rstrip("/") != self.public_url.rstrip("/"),
                "OIDC_ISSUER is another than PUBLIC_URL: the gateway gives tokens of its own",
            ),
            (all(seconds > 0 for seconds in self.retry_seconds), "RETRY_SECONDS holds positive numbers"),
        )

    @property
    def clock_offset(self) -> timedelta:
        """How far the demo's clock is moved."""
        return timedelta(seconds=self.clock_offset_seconds)

    @property
    def targets(self) -> tuple[Network, ...]:
        """Networks that outgoing calls may reach beside public addresses; the demo talks to itself."""
        loopback = (ip_network("127.0.0.0/8"),) if self.mode == "demo" else ()
        return self.allowed_targets + loopback

    @property
    def sees_certificates(self) -> bool:
        """Whether client certificates reach the gateway: by its own TLS, or from a proxy."""
        return self.tls_client_ca_file is not None or bool(self.client_cert_header)

    @property
    def database(self) -> str:
        """The database URL; embedded: SQLite in the data folder."""
        return self.database_url or f"sqlite:///{self.data_dir / 'planbrug.db'}"

    @property
    def keys_database(self) -> str:
        """The URL of the store of wrapped keys, apart from the plans so that its backups can be short-lived."""
        return self.keys_database_url or f"sqlite:///{self.data_dir / 'keys.db'}"


def load_settings(env_file: Path | None = None, **known: object) -> Settings:
    """Read the settings; `known` wins over the environment, which wins over `env_file`.

    Raises SettingsError with one sentence per contradiction, never with a value.
    """
    if env_file is not None and not env_file.is_file():
        raise SettingsError(f"the settings file {env_file} is not there")
    _refuse_unknown(os.environ)
    try:
        return Settings(_env_file=env_file, **known)  # type: ignore[arg-type,call-arg] # pydantic reads texts, and _env_file has no type
    except ValidationError as error:
        lines = [
            f"{str(row['loc'][0]).upper()} does not fit: {row['type']}"
            if row["loc"]
            else row["msg"].removeprefix("Value error, ")
            for row in error.errors()
        ]
        raise SettingsError("\n".join(lines)) from error


def _refuse_unknown(environment: Iterable[str]) -> None:
    """Refuse a PLANBRUG_ variable that is no setting: a misspelt one would silently do nothing."""
    known = {f"{_PREFIX}{name.upper()}" for name in Settings.model_fields} | {"PLANBRUG_SHARED"}
    unknown = sorted(name for name in environment if name.upper().startswith(_PREFIX) and name.upper() not in known)
    if unknown:
        raise SettingsError(f"{', '.join(unknown)}: no such setting")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
