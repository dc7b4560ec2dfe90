"""What Schemathesis is told of a gateway that no schema can say: loaded into its process (`SCHEMATHESIS_HOOKS`), not a test.

A valid part of a request gets ids that exist and values that mean something; an invalid part stays as Schemathesis made it.
No check is disabled and none is weakened here. The facts stand in the JSON file that CONTRACT_FACTS names.
"""

import json
import os
import re
import zlib
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import requests
import schemathesis
from forms import NAMES, WORDS, documents
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from schemathesis.core.parameters import ParameterLocation

from gateway.callers import ASSERTION_TYPE, client_assertion, read_private_key
from gateway.clock import Clock
from mappings.identifiers import BSN_TEST_RANGE, Bsn, IdentifierError

FACTS: dict[str, Any] = json.loads(Path(os.environ["CONTRACT_FACTS"]).read_text())
NOWHERE = "http://127.0.0.1:9/"
"""Where nobody listens: no drawn address is ever called."""
PLANS_DRAWN = 40
TOKEN_SECONDS = 200
OWN_TYPE = "application/vnd.planbrug.{}+json"
GIVEN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""An id that the gateway gave."""

Case = Any


@schemathesis.auth(refresh_interval=TOKEN_SECONDS)
class Token:
    """An access token of a client with every scope."""

    def get(self, case: Case, context: Any) -> str:
        """Get one as any client does."""
        key = read_private_key(Path(FACTS["keyFile"]))
        clock = Clock()
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": client_assertion(
                key, FACTS["clientId"], FACTS["tokenUrl"], clock.now(), clock.new_id()
            ),
        }
        answered = requests.post(FACTS["tokenUrl"], data=form, timeout=10)
        return str(answered.json()["access_token"])

    def set(self, case: Case, data: str, context: Any) -> None:
        """Send it as Bearer."""
        case.headers["Authorization"] = f"Bearer {data}"


def drawn_plans(name: str) -> list[dict[str, Any]]:
    """Draw documents of a format that mean something: their references lead somewhere."""
    found = []

    @seeded(1)
    @settings(max_examples=PLANS_DRAWN, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(documents(name))
    def draw(document: dict[str, Any]) -> None:
        numbers = [person["bsn"] for person in document[WORDS[name].residents] if "bsn" in person]
        if len(numbers) == len(set(numbers)):
            found.append({key: value for key, value in document.items() if key != "planId"})

    draw()
    return found


NUMBERS = count(1)
PLANS = {name: drawn_plans(name) for name in NAMES}
BSNS = []
for number in BSN_TEST_RANGE[:200]:
    try:
        Bsn(str(number))
    except IdentifierError:
        continue
    BSNS.append(str(number))


def picked(some: list[Any], by: object) -> Any:
    """Pick one, the same for the same value."""
    return some[zlib.crc32(repr(by).encode()) % len(some)]


@schemathesis.hook
def before_call(context: Any, case: Case, kwargs: dict[str, Any]) -> None:
    """Give the valid parts of a request a meaning."""
    meta = case.meta
    if meta is None:
        return
    name = case.operation.definition.raw.get("operationId", "")
    if is_valid(meta, ParameterLocation.PATH):
        give_ids(case, name)
    if is_valid(meta, ParameterLocation.BODY) and (made := BODIES.get(name)):
        made(case)
    if is_valid(meta, ParameterLocation.QUERY) and name == "showView":
        case.query.setdefault("planId", FACTS["plan"])
    if is_valid(meta, ParameterLocation.HEADER) and "If-Match" in case.headers:
        case.headers["If-Match"] = current_version(case)


def is_valid(meta: Any, place: ParameterLocation) -> bool:
    """Say whether this part of a request is meant to fit; an example has no judgement of its own on each part."""
    return bool((meta.components.get(place) or meta.generation).mode.is_positive)


def give_ids(case: Case, name: str) -> None:
    """Name what exists, three times out of four; what the gateway named before, and an organisation that is written, stay."""
    for parameter, value in list(case.path_parameters.items()):
        if name == "putOrganisation":
            case.path_parameters[parameter] = kept_apart(str(value))
        elif GIVEN.fullmatch(str(value)):
            continue
        elif (known := FACTS["ids"].get(name, {}).get(parameter)) and zlib.crc32(repr(value).encode()) % 4:
            case.path_parameters[parameter] = picked(known, value)


def kept_apart(value: str) -> str:
    """Return a name that none of the organisations has on which this run rests."""
    return f"x-{value}"[:64] if value in FACTS["organisations"] else value


def current_version(case: Case) -> str:
    """Read the choices that are about to be replaced, for their ETag."""
    place = f"{FACTS['baseUrl']}{case.formatted_path}"
    answered = requests.get(place, headers={"Authorization": case.headers.get("Authorization", "")}, timeout=10)
    return answered.headers.get("ETag", '"0"')


def true_plan(case: Case) -> None:
    """Send a plan whose references lead somewhere, under the format that it has."""
    by_type = {OWN_TYPE.format(name): name for name in NAMES}
    form = by_type.get(case.media_type) or picked(NAMES, case.body)
    if case.media_type == "application/json" or "format" in case.query:
        case.query["format"] = form
    number = {"planNummer": f"contract-{next(NUMBERS)}"} if zlib.crc32(repr(case.body).encode()) % 3 else {}
    case.body = {**picked(PLANS[form], case.body), **number}


def true_choice(choice: dict[str, Any]) -> dict[str, Any]:
    """Name an organisation of the directory, and end no period before it begins; a new choice has no id."""
    recipient = dict(choice["recipient"])
    if recipient.get("organisation") is not None:
        recipient["organisation"] = picked(FACTS["organisations"], recipient)
    made = {**choice, "recipient": recipient}
    if made.get("from") and made.get("until"):
        made["from"], made["until"] = sorted((made["from"], made["until"]))
    return {name: value for name, value in made.items() if name != "id"}


def true_added(case: Case) -> None:
    """Add such a choice."""
    case.body = true_choice(case.body)


def true_choices(case: Case) -> None:
    """Put such choices."""
    case.body = {**case.body, "choices": [true_choice(choice) for choice in case.body["choices"]]}


def true_question(case: Case) -> None:
    """Ask after a number that passes the 11-test."""
    case.body = {"bsn": picked(BSNS, case.body)}


def true_entry(case: Case) -> None:
    """Name the organisation as its address does, let its addresses lead nowhere, and let it own its clients and numbers."""
    entry = {**case.body, "id": case.path_parameters.get("id", "")}
    own = f"contract-{next(NUMBERS)}"
    entry["clients"] = [
        {**client, "clientId": f"{own}-{number}"} for number, client in enumerate(entry.get("clients", []))
    ]
    entry["identifiers"] = [
        {"system": "urn:example:none", "value": f"{own}-{number}"}
        for number, _ in enumerate(entry.get("identifiers", []))
    ]
    entry["endpoints"] = [led_nowhere(endpoint) for endpoint in entry.get("endpoints", [])]
    case.body = entry


def led_nowhere(endpoint: dict[str, Any]) -> dict[str, Any]:
    """Return an endpoint that reaches nobody."""
    changed = {name: NOWHERE for name in ("url", "tokenUrl") if endpoint.get(name)}
    return {**endpoint, **changed}


BODIES: dict[str, Callable[[Case], None]] = {
    "sendPlan": true_plan,
    "addChoice": true_added,
    "putChoices": true_choices,
    "findResident": true_question,
    "putOrganisation": true_entry,
}
