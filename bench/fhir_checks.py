"""Whether an answer is the right one (https://hl7.org/fhir/R4/http.html). Pure; an expectation is plain JSON."""

from collections.abc import Mapping
from typing import Any

RIGHT = ""


def wrong_with(expected: Mapping[str, Any], status: int, location: str, body: Any) -> str:
    """Say what is wrong with an answer, in words that many answers share; empty when nothing is."""
    wanted = expected["status"]
    if status != wanted:
        return f"{status} instead of {wanted}"
    match expected["is"]:
        case "resource":
            return _resource(expected, body)
        case "created":
            return _created(expected, location, body)
        case "searchset":
            return _searchset(expected, body)
        case "taken":
            return RIGHT if isinstance(body, dict) and body.get("outcome") == "created" else "no plan that was created"
        case _:
            return _answered_transaction(expected, body)


def places_in(body: Any) -> list[str]:
    """Return where a server keeps what a transaction brought, as Type/id, entry by entry."""
    return [place_of(each.get("response", {}).get("location", "")) for each in body["entry"]]


def place_of(location: str) -> str:
    """Return Type/id out of a location, absolute or not, with a version or without; empty when there is none."""
    words = location.partition("/_history")[0].rsplit("/", 2)
    return "/".join(words[-2:]) if len(words) > 1 else ""


def _resource(expected: Mapping[str, Any], body: Any) -> str:
    if not isinstance(body, dict) or body.get("resourceType") != expected["type"]:
        return f"no {expected['type']}"
    return RIGHT if body.get("id") == expected["id"] else "another id"


def _created(expected: Mapping[str, Any], location: str, body: Any) -> str:
    if not place_of(location).startswith(f"{expected['type']}/"):
        return "no Location of what was created"
    if isinstance(body, dict) and body.get("resourceType") != expected["type"]:
        return "another resource than was created"
    return RIGHT


def _searchset(expected: Mapping[str, Any], body: Any) -> str:
    if not isinstance(body, dict) or body.get("type") != "searchset":
        return "no searchset"
    matches = [
        each["resource"] for each in body.get("entry", []) if each.get("search", {}).get("mode", "match") == "match"
    ]
    if len({(each["resourceType"], each["id"]) for each in matches}) != expected["entries"]:
        return f"another number of entries than {expected['entries']}"
    for each in matches:
        if each["resourceType"] != expected["type"] or not _holds(each, expected["field"], expected["value"]):
            return "an entry that was not asked for"
    return RIGHT


def _holds(resource: Mapping[str, Any], field: str, value: str) -> bool:
    found = resource.get(field)
    if isinstance(found, dict):
        return place_of(found.get("reference", "")) == value
    return bool(found == value)


def _answered_transaction(expected: Mapping[str, Any], body: Any) -> str:
    if not isinstance(body, dict) or body.get("type") != "transaction-response":
        return "no transaction-response"
    entries = body.get("entry", [])
    if len(entries) != expected["entries"]:
        return "another number of entries than was sent"
    if not all(str(each["response"]["status"]).startswith("201") for each in entries):
        return "an entry that was not created"
    return RIGHT
