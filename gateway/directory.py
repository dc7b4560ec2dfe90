"""The organisations that this gateway exchanges with: who they are, how they call, where they receive."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from adapters.interface import TokenWanted
from adapters.outbound_amqp import queue_of
from consent.index import Recipient
from gateway.batch import Batch
from gateway.errors import Refusal
from gateway.store import directory as rows
from gateway.store.engine import Store
from mappings.codes import OrganisationKind, Purpose
from mappings.errors import Finding
from mappings.identifiers import IdentifierError, check_identifier
from mappings.plan import Identifier, Organisation, Record

SCOPES = frozenset(
    f"{noun}:{verb}"
    for noun, verbs in {
        "plans": ("read", "write"),
        "choices": ("read", "write"),
        "deliveries": ("read", "write"),
        "receipts": ("read",),
        "organisations": ("write",),
        "relocations": ("read", "write"),
    }.items()
    for verb in verbs
)

_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
"""An R4 id, https://hl7.org/fhir/R4/datatypes.html#id: it becomes that of an Organization."""

_FHIR_SCOPE = re.compile(r"system/(\*|[A-Z][A-Za-z]{2,40})\.(?=.)c?r?u?d?s?")
"""SMART App Launch 2.x system scopes, https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html."""


PROFESSIONALS = "oidc:"
"""How the id of the client begins that professionals of an organisation are, who log in at the OpenID provider."""

_ADDRESS = re.compile(r"https?://[A-Za-z0-9.\-_~\[\]:]+(/[!-~]*)?")
_CLIENT_ID = re.compile(r"[!-~]{1,255}")
_SCOPE = re.compile(r"[!#-\[\]-~]+( [!#-\[\]-~]+)*")
"""scope-token, https://www.rfc-editor.org/rfc/rfc6749#section-3.3."""

_SCOPES_KNOWN = "|".join([*sorted(SCOPES), _FHIR_SCOPE.pattern])


def _told(pattern: str, description: str = "") -> Meta:
    """Return what tells the schema how a text must look; `_wrong` judges it, and says all that is wrong at once."""
    return Meta(description=description or None, extra_json_schema={"pattern": f"^({pattern})$"})


Scope = Annotated[str, _told(_SCOPES_KNOWN)]
JWK_PRIVATE = ("d", "k")
Jwk = Annotated[dict[str, Any], Meta(extra_json_schema={"propertyNames": {"not": {"enum": list(JWK_PRIVATE)}}})]


class PublicKeys(Struct, frozen=True):
    """A JWK Set (RFC 7517 section 5); the keys are judged when they are used."""

    keys: list[Jwk]


class Client(Record, frozen=True):
    """A system of an organisation that may ask for tokens. Its role, person and purpose are fixed here, not by the request.

    With `mtls` its tokens are bound to the client certificate that they were asked with (RFC 8705): without one it gets none.
    """

    client_id: str
    purpose: Purpose
    scopes: tuple[Scope, ...]
    role: str | None = None
    person: str | None = None
    jwks: PublicKeys | None = None
    jwks_url: str | None = None
    mtls: bool = False


class Endpoint(Record, frozen=True):
    """Where an organisation receives plans: by which adapter, in which format ("fhir" or a plan format), for which purpose.

    One that admits only who has a token says where that is had (`token_url`), under which client id this gateway is known there,
    and for which scope: SMART Backend Services, https://hl7.org/fhir/smart-app-launch/backend-services.html.

    Over AMQP the queue's name follows from the organisation, and `url` is not used.
    """

    adapter: Literal["webhook", "fhir", "amqp"]
    url: str = ""
    format: str = "fhir"
    purpose: Purpose | None = None
    token_url: Annotated[str, _told(_ADDRESS.pattern)] | None = None
    client_id: Annotated[str, _told(_CLIENT_ID.pattern)] | None = None
    scope: Annotated[str, _told(_SCOPE.pattern)] | None = None

    @property
    def token(self) -> TokenWanted | None:
        """Return what this endpoint asks for before it takes a body; None when it asks for nothing."""
        if self.token_url is None or self.client_id is None:
            return None
        return TokenWanted(url=self.token_url, client_id=self.client_id, scope=self.scope)


class Entry(Record, frozen=True):
    """One organisation of the directory. `bsn_article` is the article that lets it have a BSN; without it it never gets one."""

    id: Annotated[str, _told(_ID.pattern, "The id of the address.")]
    name: str
    kind: OrganisationKind
    identifiers: tuple[Identifier, ...] = ()
    bsn_article: str | None = None
    clients: tuple[Client, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()

    def recipient(self, *, role: str | None = None, person: str | None = None) -> Recipient:
        """Return this organisation, or somebody in it, as a decision sees it."""
        return Recipient(organisation=self.id, kind=self.kind, role=role, person=person, bsn_article=self.bsn_article)

    def as_named(self) -> Organisation:
        """Return this organisation as a plan names it."""
        return Organisation(id=self.id, name=self.name, kind=self.kind, identifiers=self.identifiers)

    def purpose_of(self, endpoint: Endpoint) -> Purpose:
        """Return what an endpoint receives for: its own purpose, or that of the organisation's first client."""
        if endpoint.purpose:
            return endpoint.purpose
        return self.clients[0].purpose if self.clients else "support"


class Lane(Struct, frozen=True, kw_only=True):
    """One endpoint of one organisation. `name` is stable while the endpoint moves to another address."""

    name: str
    entry: Entry
    endpoint: Endpoint
    purpose: Purpose

    @property
    def is_pulled(self) -> bool:
        """Whether the recipient is notified and pulls, instead of being sent to."""
        return self.endpoint.adapter == "amqp"

    @property
    def address(self) -> str:
        """Where it is sent or notified: a URL, or the name of a queue."""
        return queue_of(self.entry.id) if self.is_pulled else self.endpoint.url


class Snapshot(Struct, frozen=True):
    """The directory at one version."""

    version: int
    entries: dict[str, Entry]
    clients: dict[str, tuple[Entry, Client]]
    by_identifier: dict[tuple[str, str], Entry]

    def lanes(self, organisation: str) -> tuple[Lane, ...]:
        """Return the endpoints of an organisation; none when it is unknown."""
        entry = self.entries.get(organisation)
        if entry is None:
            return ()
        named: dict[str, Lane] = {}
        for endpoint in entry.endpoints:
            purpose = entry.purpose_of(endpoint)
            stem = f"{endpoint.adapter}/{endpoint.format}/{purpose}"
            name = stem if stem not in named else f"{stem}/{len(named)}"
            named[name] = Lane(name=name, entry=entry, endpoint=endpoint, purpose=purpose)
        return tuple(named.values())

    def lane(self, organisation: str, name: str) -> Lane | None:
        """Return one endpoint as the directory has it now, or None when it is gone."""
        return next((lane for lane in self.lanes(organisation) if lane.name == name), None)


class Directory:
    """Reads and writes the directory; keeps a snapshot for as long as the database says that nothing changed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._snapshot = Snapshot(-1, {}, {}, {})
        self._looking = Batch(self._looked, most=1_000)

    async def now(self, *, fresh: bool = True) -> Snapshot:
        """Return the directory as it is now: one small query, for everybody who asks at this moment, tells whether the kept one holds.

        Without `fresh` it may be as it was: only for who checks its version in the transaction that acts on it.
        """
        if not fresh and self._snapshot.version >= 0:
            return self._snapshot
        return await self._looking.ask(None)

    async def _looked(self, asked: Sequence[None]) -> list[Snapshot]:
        return [await self._current()] * len(asked)

    async def _current(self) -> Snapshot:
        version = await self._store.read(rows.directory_version)
        if version != self._snapshot.version:
            bodies = await self._store.read(rows.all_organisations)
            self._snapshot = _snapshot(version, [msgspec.json.decode(body, type=Entry) for body in bodies])
        return self._snapshot

    async def put(self, entry: Entry) -> bool:
        """Write one entry; say whether it changed anything. Raises Refusal when it is not right."""
        findings = list(_wrong(entry, await self.now()))
        if findings:
            raise Refusal("document", findings)
        body = msgspec.json.encode(entry, order="deterministic").decode()
        return await self._store.write(lambda tx: rows.put_organisation(tx, entry.id, body))


def _snapshot(version: int, entries: list[Entry]) -> Snapshot:
    return Snapshot(
        version,
        {entry.id: entry for entry in entries},
        {client.client_id: (entry, client) for entry in entries for client in entry.clients},
        {(name.system, name.value): entry for entry in entries for name in entry.identifiers},
    )


def _wrong(entry: Entry, snapshot: Snapshot) -> list[Finding]:
    findings = []
    if not _ID.fullmatch(entry.id):
        remedy = "an id has 1 to 64 letters, digits, dots and dashes"
        findings.append(Finding(pointer="/id", code="id", remedy=remedy))
    for position, identifier in enumerate(entry.identifiers):
        try:
            check_identifier(identifier.system, identifier.value)
        except IdentifierError as error:
            findings.append(Finding(pointer=f"/identifiers/{position}/value", code="identifier", remedy=str(error)))
        owner = snapshot.by_identifier.get((identifier.system, identifier.value))
        if owner and owner.id != entry.id:
            remedy = "another organisation of the directory has this identifier"
            findings.append(Finding(pointer=f"/identifiers/{position}/value", code="duplicate", remedy=remedy))
    for position, client in enumerate(entry.clients):
        findings += _wrong_client(client, f"/clients/{position}", entry, snapshot)
    for position, endpoint in enumerate(entry.endpoints):
        if endpoint.adapter != "amqp" and not endpoint.url.startswith(("https://", "http://")):
            remedy = "give an http or https address"
            findings.append(Finding(pointer=f"/endpoints/{position}/url", code="url", remedy=remedy))
        if endpoint.adapter == "fhir" and endpoint.format != "fhir":
            remedy = "a FHIR server takes the format fhir"
            findings.append(Finding(pointer=f"/endpoints/{position}/format", code="format", remedy=remedy))
        findings += _wrong_token(endpoint, f"/endpoints/{position}")
    return findings


def _wrong_token(endpoint: Endpoint, pointer: str) -> list[Finding]:
    """Say what is wrong with how an endpoint's tokens are had; nothing where it has none."""
    if endpoint.token_url is None:
        if endpoint.client_id is None and endpoint.scope is None:
            return []
        remedy = "give tokenUrl too, or leave clientId and scope out"
        return [Finding(pointer=f"{pointer}/tokenUrl", code="token", remedy=remedy)]
    checks = (
        ("tokenUrl", _ADDRESS.fullmatch(endpoint.token_url), "give an http or https address"),
        ("url", "@" not in urlsplit(endpoint.url).netloc, "give an address without a user: the token says who calls"),
        ("clientId", _CLIENT_ID.fullmatch(endpoint.client_id or ""), "give the id that the gateway has there"),
        ("scope", endpoint.scope is None or _SCOPE.fullmatch(endpoint.scope), "give scopes with one space between"),
    )
    return [
        Finding(pointer=f"{pointer}/{name}", code="token", remedy=remedy) for name, holds, remedy in checks if not holds
    ]


def _wrong_client(client: Client, pointer: str, entry: Entry, snapshot: Snapshot) -> list[Finding]:
    findings = []
    owner = snapshot.clients.get(client.client_id)
    if owner and owner[0].id != entry.id:
        remedy = "another organisation has a client with this id"
        findings.append(Finding(pointer=f"{pointer}/clientId", code="duplicate", remedy=remedy))
    if any(scope not in SCOPES and not _FHIR_SCOPE.fullmatch(scope) for scope in client.scopes):
        remedy = "the scopes are system/Type.cruds and " + " ".join(sorted(SCOPES))
        findings.append(Finding(pointer=f"{pointer}/scopes", code="scope", remedy=remedy))
    if client.client_id.startswith(PROFESSIONALS):
        return findings + _wrong_professionals(client, pointer, entry)
    if (client.jwks is None) == (client.jwks_url is None):
        remedy = "give the public keys as jwks, or their address as jwksUrl"
        findings.append(Finding(pointer=f"{pointer}/jwks", code="keys", remedy=remedy))
    if client.jwks is not None and any(name in key for key in client.jwks.keys for name in JWK_PRIVATE):
        remedy = "leave private keys at home: a directory holds public keys only"
        findings.append(Finding(pointer=f"{pointer}/jwks", code="private-key", remedy=remedy))
    return findings


def _wrong_professionals(client: Client, pointer: str, entry: Entry) -> list[Finding]:
    """Say what is wrong with what an organisation's professionals may do: who they are, their tokens say."""
    checks = (
        ("clientId", client.client_id == f"{PROFESSIONALS}{entry.id}", "it is oidc: and the id of this organisation"),
        ("jwks", client.jwks is None and client.jwks_url is None, "leave keys out: the provider has them"),
        ("person", client.person is None, "leave it out: the token says who it is"),
        ("role", client.role is None, "leave it out: the token says in which role"),
    )
    return [
        Finding(pointer=f"{pointer}/{name}", code="professionals", remedy=remedy)
        for name, holds, remedy in checks
        if not holds
    ]
