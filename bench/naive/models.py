"""Pydantic models of the incoming plan van aanpak, as an integrator writes them for FastAPI."""

from pydantic import BaseModel


class Address(BaseModel):
    """Where a resident lives."""

    straat: str
    huisnummer: str
    postcode: str
    plaats: str
    gemeentecode: str


class Resident(BaseModel):
    """Somebody whom the plan is for."""

    ref: str
    voornaam: str
    achternaam: str
    geboortedatum: str
    geslacht: str
    adres: Address
    telefoon: str


class Organisation(BaseModel):
    """An organisation that the plan names."""

    ref: str
    naam: str
    soort: str
    oin: str


class Member(BaseModel):
    """A professional."""

    ref: str
    naam: str
    functie: str
    rol: str
    organisatie: str


class Question(BaseModel):
    """A support question."""

    ref: str
    tekst: str
    vastgelegdDoor: str  # noqa: N815 - the format's own name


class Goal(BaseModel):
    """A goal."""

    nummer: int
    omschrijving: str
    termijn: str
    status: str
    van: str
    uiterlijk: str
    leefgebied: str
    wet: str
    over: list[str]
    vastgelegdDoor: str  # noqa: N815


class Actor(BaseModel):
    """Who does an action."""

    soort: str
    ref: str


class Action(BaseModel):
    """An action."""

    nummer: int
    wat: str
    wie: Actor
    doelen: list[int]
    status: str
    van: str
    uiterlijk: str
    leefgebied: str
    wet: str
    over: list[str]
    vastgelegdDoor: str  # noqa: N815


class Plan(BaseModel):
    """The whole document."""

    planNummer: str  # noqa: N815
    status: str
    begindatum: str
    einddatum: str
    bewoners: list[Resident]
    organisaties: list[Organisation]
    betrokkenen: list[Member]
    ondersteuningsvragen: list[Question]
    doelen: list[Goal]
    acties: list[Action]
