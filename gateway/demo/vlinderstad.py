"""The fictional municipality of Vlinderstad: its organisations, their clients, its grounds, and what the family chose."""

from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from consent.catalogue import GroundSetting
from gateway.directory import Client, Endpoint, Entry, PublicKeys
from mappings.codes import OrganisationKind, Purpose
from mappings.identifiers import AGB_SYSTEM, OIN_SYSTEM
from mappings.plan import Identifier

WMO_BSN_ARTICLE = "Wmo 2015 art. 5.2.9"

GROUNDS = (
    GroundSetting(id="wmo-decision"),
    GroundSetting(id="jeugdwet-decision"),
    GroundSetting(id="wmo-assignment"),
    GroundSetting(id="jeugdwet-assignment"),
)


class Party(Struct, frozen=True, kw_only=True):
    """One client name of the demo with the organisation behind it."""

    client: str
    organisation: str
    name: str
    kind: OrganisationKind
    purpose: Purpose
    scopes: tuple[str, ...]
    identifier: Identifier | None = None
    bsn_article: str | None = None
    endpoint: tuple[Literal["webhook", "fhir"], str] | None = None


_READ = ("plans:read", "deliveries:read", "receipts:read", "system/*.rs")
_PROGRESS = ("system/Task.u", "system/Goal.u")
"""What who carries something out may write: how far it is."""

PARTIES = (
    Party(
        client="team",
        organisation="wijkteam-noord",
        name="Wijkteam Vlinderstad-Noord",
        kind="neighbourhood-team",
        purpose="support",
        scopes=(
            *_READ,
            "plans:write",
            "system/*.crus",
            "choices:read",
            "choices:write",
            "deliveries:write",
            "relocations:read",
            "relocations:write",
        ),
        identifier=Identifier(system=OIN_SYSTEM, value="00000099000000001000"),
        bsn_article=WMO_BSN_ARTICLE,
    ),
    Party(
        client="provider-a",
        organisation="kompas",
        name="Aanbieder Kompas",
        kind="care-provider",
        purpose="support",
        scopes=(*_READ, *_PROGRESS),
        identifier=Identifier(system=AGB_SYSTEM, value="41410001"),
        bsn_article=WMO_BSN_ARTICLE,
        endpoint=("webhook", "plan-van-aanpak"),
    ),
    Party(
        client="provider-b",
        organisation="de-linde",
        name="Zorggroep De Linde",
        kind="care-provider",
        purpose="support",
        scopes=(*_READ, *_PROGRESS),
        identifier=Identifier(system=AGB_SYSTEM, value="41410002"),
        endpoint=("fhir", "fhir"),
    ),
    Party(
        client="backoffice",
        organisation="backoffice",
        name="Backoffice Vlinderstad",
        kind="backoffice",
        purpose="decision",
        scopes=_READ,
        identifier=Identifier(system=OIN_SYSTEM, value="00000099000000002000"),
        bsn_article=WMO_BSN_ARTICLE,
        endpoint=("webhook", "fhir"),
    ),
    Party(
        client="admin",
        organisation="vlinderstad",
        name="Gemeente Vlinderstad, functioneel beheer",
        kind="municipality",
        purpose="support",
        scopes=("organisations:write", "deliveries:read", "deliveries:write", "receipts:read"),
        identifier=Identifier(system=OIN_SYSTEM, value="00000099000000003000"),
    ),
)


def key_file(data_dir: Path, client: str) -> Path:
    """Return where the private key of a demo client stands."""
    return data_dir / "keys" / f"{client}.jwk"


def entry_of(party: Party, jwks: PublicKeys, partner_url: str) -> Entry:
    """Return the directory entry of a party whose receiver listens under `partner_url`."""
    client = Client(
        client_id=f"{party.organisation}-{party.client}",
        purpose=party.purpose,
        scopes=party.scopes,
        jwks=jwks,
    )
    endpoints: tuple[Endpoint, ...] = ()
    if party.endpoint:
        adapter, form = party.endpoint
        url = f"{partner_url}/{party.client}/{adapter}"
        endpoints = (Endpoint(adapter=adapter, url=url, format=form),)
    return Entry(
        id=party.organisation,
        name=party.name,
        kind=party.kind,
        identifiers=(party.identifier,) if party.identifier else (),
        bsn_article=party.bsn_article,
        clients=(client,),
        endpoints=endpoints,
    )


def _choice(
    recipient: str, parts: list[dict[str, Any]], effect: str = "permit", capacity: str = "resident"
) -> dict[str, Any]:
    return {
        "recipient": {"type": "organisation", "organisation": recipient},
        "parts": parts,
        "effect": effect,
        "givenBy": {"capacity": capacity, "person": "marloes"},
        "evidence": "gesprek aan huis, formulier 2026-09-01",
    }


MARLOES_CHOICES = [
    _choice(
        "kompas", [{"domains": ["finances", "housing"]}, {"kinds": ["agreement", "evaluation", "team", "contact"]}]
    ),
    _choice("kompas", [{"kinds": ["worry"], "domains": ["finances"]}], effect="deny"),
    _choice("de-linde", [{"domains": ["parenting"]}, {"kinds": ["evaluation", "household", "team"]}]),
]
"""What Marloes says for herself: Kompas may see money and housing, but not her money worries; De Linde may see parenting."""

FINN_CHOICES = [
    _choice(
        "de-linde",
        [{"domains": ["parenting"]}, {"kinds": ["identity", "evaluation", "household", "team"]}],
        capacity="parent",
    ),
    _choice("kompas", [{"kinds": ["evaluation"]}, {"domains": ["housing"]}], capacity="parent"),
]
"""What she says for Finn, who is nine."""
