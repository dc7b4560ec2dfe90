"""A plan as a FHIR R4 client would make it: a transaction in which everything is new, and one more Task for a plan that is there.

Forms: the number of the plan and the BSNs are placeholders (`documents.of_household`). Identifiers inside a form are `urn:uuid`,
which a server replaces by its own.
"""

import json
import uuid
from importlib.resources import files
from typing import Any

from documents import ASKED, NUMBER, filled, renumbered, template
from msgspec.structs import replace

from gateway.shelf import read_format
from mappings.bundle import plan_to_bundle
from mappings.draft import with_plain_ids

FORMS = 20
"""So many different plans in words and statuses; numbers and residents differ in all."""

_ORDER = (
    "Organization",
    "Patient",
    "Group",
    "Practitioner",
    "PractitionerRole",
    "Observation",
    "Goal",
    "Task",
    "CareTeam",
)
_RANK = {kind: place for place, kind in enumerate(_ORDER)}
"""Who is referred to comes before who refers, for a server that takes resources one by one."""

Resource = dict[str, Any]


def documents() -> list[str]:
    """Return the plans in the format plan-van-aanpak, as forms."""
    return [renumbered(filled(template(number, ASKED), NUMBER).decode()) for number in range(FORMS)]


def bundles() -> list[Resource]:
    """Return the same plans as transactions of POSTs, each resource after what it refers to."""
    shape = read_format(files("mappings") / "formats" / "plan-van-aanpak")
    made = []
    for number in range(FORMS):
        draft = shape.read(filled(template(number, ASKED), NUMBER))
        made.append(_all_new(plan_to_bundle(with_plain_ids(replace(draft.plan, id="plan")), ""), number))
    return made


def transaction(bundle: Resource) -> str:
    """Return a bundle as a form."""
    return renumbered(json.dumps(bundle, ensure_ascii=False, separators=(",", ":")))


def one_by_one(bundle: Resource) -> list[dict[str, str]]:
    """Return the same resources as single creates in the same order: type, fullUrl and form."""
    whole = json.loads(transaction(bundle))
    return [
        {"type": each["request"]["url"], "fullUrl": each["fullUrl"], "form": json.dumps(each["resource"])}
        for each in whole["entry"]
    ]


def further_task(bundle: Resource, places: dict[str, str]) -> Resource:
    """Return one more action for a plan that a server keeps; `places`: where it keeps each fullUrl, as Type/id."""
    task = next(each["resource"] for each in bundle["entry"] if each["request"]["url"] == "Task")
    kept = {name: task[name] for name in ("resourceType", "meta", "for", "code", "intent", "owner", "description")}
    plan = next(each["fullUrl"] for each in bundle["entry"] if each["request"]["url"] == "CarePlan")
    kept |= {"status": "requested", "basedOn": [{"reference": plan}], "restriction": task["restriction"]}
    found: Resource = json.loads(replaced(json.dumps(kept), places))
    return found


def asked_for(bundle: Resource, places: dict[str, str]) -> dict[str, str]:
    """Return what is asked of a kept plan: a task, and the goal that exactly one task is about, as ids."""
    tasks = [each for each in bundle["entry"] if each["request"]["url"] == "Task"]
    about = [each["resource"]["focus"]["reference"] for each in tasks]
    goal = next(each for each in about if about.count(each) == 1)
    return {"task": places[tasks[0]["fullUrl"]].partition("/")[2], "goal": places[goal].partition("/")[2]}


def replaced(text: str, places: dict[str, str]) -> str:
    """Put what a server says in the place of our own names."""
    for name, place in places.items():
        text = text.replace(f'"{name}"', f'"{place}"')
    return text


def _all_new(bundle: Resource, seed: int) -> Resource:
    names = {}
    bundle["entry"].sort(key=lambda each: _RANK.get(each["resource"]["resourceType"], len(_RANK)))
    for position, entry in enumerate(bundle["entry"]):
        resource = entry["resource"]
        kind, own = resource["resourceType"], resource.pop("id")
        entry["fullUrl"] = names[f"{kind}/{own}"] = f"urn:uuid:{uuid.UUID(int=seed * 1_000 + position, version=4)}"
        entry["request"] = {"method": "POST", "url": kind}
    found: Resource = json.loads(replaced(json.dumps(bundle), names))
    return found
