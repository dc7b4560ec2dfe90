"""Say a decision twice: a code for machines, and one plain sentence for people, in B1 Dutch and in English.

A sentence never holds anything out of the plan: it can be shown wherever the code can.
"""

from consent.catalogue import CATALOGUE
from consent.decide import Decision, ReasonCode
from mappings.plan import Record


class Sentence(Record, frozen=True):
    """One explanation in two languages."""

    nl: str
    en: str


SENTENCES: dict[ReasonCode, Sentence] = {
    "own-data": Sentence(nl="Dit gaat over de inwoner zelf.", en="This is about the resident who asks."),
    "authored": Sentence(
        nl="Deze organisatie heeft dit zelf opgeschreven.", en="This organisation wrote this down itself."
    ),
    "ground-in-law": Sentence(
        nl="Een wet zegt dat deze organisatie dit mag weten.", en="A law lets this organisation have this."
    ),
    "consent": Sentence(
        nl="De inwoner heeft hier toestemming voor gegeven.", en="The resident has given consent for this."
    ),
    "plan-is-concept": Sentence(
        nl="Het plan is nog niet klaar. Daarom gaat er niets weg.", en="The plan is a concept; concepts are not shared."
    ),
    "plan-not-decided": Sentence(
        nl="De gemeente heeft nog niet besloten. Daarna kan dit pas weg.",
        en="The municipality has not decided yet; this goes only after the decision.",
    ),
    "plan-is-revoked": Sentence(nl="Het plan is ingetrokken.", en="The plan has been revoked."),
    "objection": Sentence(
        nl="De inwoner wil niet dat deze organisatie dit krijgt.", en="The resident has said no to this."
    ),
    "no-choice": Sentence(
        nl="Niemand heeft gezegd dat dit gedeeld mag worden. Dan delen wij het niet.",
        en="Nobody has said yes to this, and silence means no.",
    ),
    "not-every-subject": Sentence(
        nl="Dit gaat over meer mensen. Niet iedereen heeft ja gezegd.",
        en="This is about several people, and not all of them have said yes.",
    ),
    "safety-not-named": Sentence(
        nl="Dit is extra beschermd. Het gaat alleen weg als de inwoner het apart noemt.",
        en="This is restricted; it goes only when it is named.",
    ),
    "age-unknown": Sentence(
        nl="Wij kennen de geboortedatum niet. Daardoor weten wij niet wie mag kiezen.",
        en="No birth date is recorded, so it is not known who may decide; add it to the plan.",
    ),
}

_LAW = {entry.id: Sentence(nl=entry.nl, en=entry.en) for entry in CATALOGUE}


def explain(decision: Decision) -> Sentence:
    """Return the sentence for a decision; a ground in law explains itself with the words of its catalogue entry."""
    if decision.entry in _LAW:
        return _LAW[decision.entry]
    return SENTENCES[decision.code]
