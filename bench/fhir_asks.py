"""The interactions, as what is asked and what must come back (https://hl7.org/fhir/R4/http.html). Pure: plain JSON for the client."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fhir_plans import Resource, asked_for, further_task, one_by_one, transaction

PAGE = 50
INTERACTIONS = {
    "read": "GET Task/[id]",
    "search, 1 result": "GET Task?focus=Goal/[id]",
    "search, 50 results": f"GET Task?status=requested&_count={PAGE}",
    "create": "POST Task, an action more for a plan that is there (`basedOn`)",
    "transaction": "POST a Bundle: a whole plan of three residents, five goals and nine actions",
}

Ask = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A plan that a server keeps: its number, which form it was, and where each entry of the form is now, as Type/id."""

    number: int
    form: int
    places: tuple[str, ...]


def asks_of(interaction: str, bundles: Sequence[Resource], kept: Sequence[Kept]) -> list[Any]:
    """Return what is asked in turn."""
    match interaction:
        case "read":
            found = _asked_for(bundles, kept)
            return [
                _get(f"/Task/{each['task']}", {"is": "resource", "type": "Task", "id": each["task"]}) for each in found
            ]
        case "search, 1 result":
            goals = [f"Goal/{each['goal']}" for each in _asked_for(bundles, kept)]
            return [_get(f"/Task?focus={goal}", _tasks(1, "focus", goal)) for goal in goals]
        case "search, 50 results":
            return [_get(f"/Task?status=requested&_count={PAGE}", _tasks(PAGE, "status", "requested"))]
        case "create":
            bodies = [further_task(bundles[each.form], _places(bundles[each.form], each)) for each in kept]
            return [_post("/Task", {"is": "created", "type": "Task"}, body=json.dumps(body)) for body in bodies]
        case _:
            return transactions(bundles)


def transactions(bundles: Sequence[Resource]) -> list[Ask]:
    """Return whole plans, each as one transaction."""
    return [
        _post("", {"is": "transaction", "entries": len(each["entry"])}, status=200, form=transaction(each))
        for each in bundles
    ]


def of_documents(forms: Sequence[str]) -> list[Ask]:
    """Return whole plans in the format plan-van-aanpak, for a gateway that takes it."""
    path = "/v1/plans?format=plan-van-aanpak"
    return [_post(path, {"is": "taken"}, form=each) for each in forms]


def creates(bundles: Sequence[Resource]) -> list[list[Ask]]:
    """Return whole plans, each as creates one after the other."""
    return [
        [
            _post(f"/{step['type']}", {"is": "created", "type": step["type"]}, form=step["form"])
            | {"fullUrl": step["fullUrl"]}
            for step in one_by_one(each)
        ]
        for each in bundles
    ]


def _get(path: str, expected: dict[str, Any]) -> Ask:
    return {"method": "GET", "path": path, "expect": {"status": 200} | expected}


def _post(path: str, expected: dict[str, Any], *, status: int = 201, **body: str) -> Ask:
    return {"method": "POST", "path": path, "expect": {"status": status} | expected, **body}


def _tasks(count: int, field: str, value: str) -> dict[str, Any]:
    return {"is": "searchset", "type": "Task", "entries": count, "field": field, "value": value}


def _asked_for(bundles: Sequence[Resource], kept: Sequence[Kept]) -> list[dict[str, str]]:
    return [asked_for(bundles[each.form], _places(bundles[each.form], each)) for each in kept]


def _places(bundle: Resource, kept: Kept) -> dict[str, str]:
    names = [each["fullUrl"] for each in bundle["entry"]]
    return dict(zip(names, kept.places, strict=True))
