"""Query parameters as typed tables: one Struct says what a route takes, how it is checked and how it is described."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import fields

from gateway.errors import refusal
from mappings.codes import Purpose

PAGE_LIMIT = 200
PAGE_DEFAULT = 50

PLAIN = r"[!-~]{1,64}"
"""What ids, names and cursors look like: visible ASCII, and no longer than their columns."""

Asked = TypeVar("Asked", bound=Struct)

FORMATS = "x-planbrug-formats"
"""In a schema: the values are the formats on the shelf, "in" those that can be sent, "out" also FHIR."""


def _plain(description: str, **more: str) -> Meta:
    return Meta(description=description, extra_json_schema={"pattern": f"^{PLAIN}$", **more})


class Nothing(Struct, frozen=True):
    """No parameters."""


class FormatSent(Struct, frozen=True, kw_only=True):
    """The format of a body."""

    format: (
        Annotated[str, _plain("Needed with application/json; otherwise the media type says it.", **{FORMATS: "in"})]
        | None
    ) = None


class FormatWanted(Struct, frozen=True, kw_only=True):
    """The format of an answer."""

    format: Annotated[str, _plain("How the plan is written; FHIR R4 when left out.", **{FORMATS: "out"})] = "fhir"


class Page(Struct, frozen=True, kw_only=True):
    """One page of a list, and whose rows stand in it."""

    plan_id: Annotated[str, _plain("Of this plan only.")] | None = msgspec.field(default=None, name="planId")
    recipient: Annotated[str, _plain("To this organisation of the directory only.")] | None = None
    cursor: Annotated[
        str,
        Meta(description="`next` of the page before.", extra_json_schema={"pattern": f"^({PLAIN})?$"}),
    ] = ""
    limit: Annotated[
        int, Meta(ge=1, le=999_999, description=f"Rows in a page; more than {PAGE_LIMIT} gives {PAGE_LIMIT}.")
    ] = PAGE_DEFAULT

    @property
    def rows(self) -> int:
        """How many rows the page has at most."""
        return min(self.limit, PAGE_LIMIT)


class ViewWanted(Struct, frozen=True, kw_only=True):
    """Of which plan, and as whom."""

    plan_id: Annotated[str, _plain("Needed when the resident has several plans.")] | None = msgspec.field(
        default=None, name="planId"
    )
    purpose: Annotated[Purpose, Meta(description="As the organisation's first client when left out.")] | None = None
    role: Annotated[str, _plain("A role in the organisation.")] | None = None
    person: Annotated[str, _plain("A person in the organisation.")] | None = None


def read_query(given: Iterable[tuple[str, str]], wanted: type[Asked]) -> Asked:
    """Return the query parameters as `wanted`. Raises Refusal on one that it does not know, that comes twice, or that does not fit."""
    schemas = schemas_of(wanted)
    found: dict[str, Any] = {}
    for name, text in given:
        if name not in schemas or name in found:
            known = ", ".join(schemas) or "nothing"
            raise refusal("parameter", f"/{name}", f"this route takes, each once: {known}")
        found[name] = _value(name, text, schemas[name])
    try:
        return msgspec.convert(found, wanted)
    except msgspec.ValidationError as error:
        name = str(error).rpartition("`$.")[2].rstrip("`")
        raise refusal("parameter", f"/{name}", _remedy(schemas[name])) from error


@lru_cache
def schemas_of(wanted: type[Struct]) -> Mapping[str, dict[str, Any]]:
    """Return the JSON Schema of each parameter; one that is absent is absent, never null."""
    return {field.encode_name: _without_null(msgspec.json.schema(field.type)) for field in fields(wanted)}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    kinds = [kind for kind in schema.get("anyOf", [schema]) if kind != {"type": "null"}]
    return dict(kinds[0])


def _value(name: str, text: str, schema: Mapping[str, Any]) -> str | int:
    """Return a parameter as the kind of value that it is; the type of its field judges codes and bounds."""
    if schema.get("type") == "integer":
        fits = re.fullmatch(r"0|[1-9][0-9]{0,8}", text)
    else:
        fits = re.fullmatch(schema.get("pattern", PLAIN), text, re.ASCII) if "\n" not in text else None
    if not fits:
        raise refusal("parameter", f"/{name}", _remedy(schema))
    return int(text) if schema.get("type") == "integer" else text


def _remedy(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "give one of: " + ", ".join(schema["enum"])
    if schema.get("type") == "integer":
        return f"give a number from {schema['minimum']} to {PAGE_LIMIT}"
    return "give at most 64 printable characters"
