"""`/v1/openapi.json`: this API as OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.1), by the API Design Rules of NL GOV 2.1.

Made of the table that routes, the Structs that are decoded and encoded, and the table of errors: it cannot say anything else.
What holds between the fields of a body stands in `_BETWEEN` once more, for a schema cannot call the function that judges it.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

import msgspec
from msgspec import Struct

from consent.choice import NEEDED_BY_TYPE, WORDED, Choice, GivenBy, RecipientSelector
from gateway.api.call import MAX_KEY_LENGTH, VERSION_HEADER
from gateway.api.problem import PROBLEM_JSON, Problem
from gateway.api.public import FORM, TokenForm
from gateway.api.pulls import Receipt
from gateway.api.query import FORMATS, PLAIN, schemas_of
from gateway.api.residents import Choices, Question
from gateway.api.route import Answer, Described, FhirView, Html, Operation, PlanDocument, PlanView, Route
from gateway.directory import SCOPES, Client, Endpoint, Entry, PublicKeys
from gateway.errors import ERRORS
from gateway.render import FHIR, FHIR_JSON, media_type
from gateway.wiring import Gateway

Json = dict[str, Any]
Formats = tuple[tuple[str, str, bytes], ...]
"""(name, title, JSON Schema) of each format on the shelf."""

REPOSITORY = "https://planbrug.nl"
_REF = "#/components/schemas/{name}"
_ORGANISATION_ID = "^[A-Za-z0-9.-]{1,64}$"

TAGS = {
    "plans": "Plans in, and plans as the caller may see them.",
    "choices": "What a resident says about who may see what, and what follows from it.",
    "deliveries": "What is on its way and what left. Never content, but for the recipient that pulls it.",
    "receipts": "What left or was read, on which ground, and what was refused.",
    "organisations": "The directory: who exchanges with this gateway, how they call and where they receive.",
    "tokens": "OAuth 2 client credentials with a signed assertion (private_key_jwt), as SMART Backend Services has it.",
    "descriptions": "This API for machines and for people.",
}

_REQUEST_HEADERS: dict[str, Json] = {
    "Idempotency-Key": {
        "description": "Names this request: said again it is answered as before; for another body it is refused.",
        "schema": {"type": "string", "pattern": f"^[!-~]([ -~]{{0,{MAX_KEY_LENGTH - 2}}}[!-~])?$"},
    },
    "If-Match": {
        "description": 'The ETag that was read, such as W/"3": what changed since is not overwritten.',
        "required": True,
        "schema": {"type": "string"},
    },
    "If-None-Match": {
        "description": "The ETag that is at hand: 304 when it still holds.",
        "schema": {"type": "string"},
    },
}

_RESPONSE_HEADERS: dict[str, tuple[str, Json]] = {
    "API-Version": ("The version of this API.", {"type": "string", "const": VERSION_HEADER["API-Version"]}),
    "ETag": ("The version of what is answered.", {"type": "string", "pattern": r'^W/"\d+"$'}),
    "Location": ("Where it is now.", {"type": "string", "format": "uri"}),
    "Planbrug-Delivery": ("The id of the delivery.", {"type": "string"}),
    "Planbrug-Sequence": ("1, 2, 3 … per recipient, without gaps.", {"type": "string", "pattern": "^[1-9][0-9]*$"}),
    "Planbrug-Sha256": ("Hex SHA-256 of the body.", {"type": "string", "pattern": "^[0-9a-f]{64}$"}),
    "WWW-Authenticate": ("How to authenticate.", {"type": "string"}),
    "Retry-After": ("Seconds to wait.", {"type": "string", "pattern": "^[1-9][0-9]*$"}),
}
_HEADERS_OF_STATUS = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After?"}

_OPEN = frozenset({PublicKeys.__name__, TokenForm.__name__})
"""Bodies that may hold more than is described, because their standards want that: RFC 7517 section 5, RFC 6749 section 3.2."""

_TEXT = {"type": "string"}
_WORDS = {"type": "string", "pattern": WORDED}
_NULL = {"type": "null"}
_HTTP = {"pattern": "^https?://"}
_NO_TOKEN = {"properties": dict.fromkeys(("tokenUrl", "clientId", "scope"), _NULL)}
_TOKEN = {
    "required": ["tokenUrl", "clientId"],
    "properties": {
        "tokenUrl": _TEXT,
        "clientId": _TEXT,
        "url": {"pattern": r"^([a-z]+://[^@/?#]*([/?#][\s\S]*)?)?$"},
    },
}


def _recipient(kind: str, needed: Sequence[str]) -> Json:
    """Return what a recipient of one type has, and that it has nothing else."""
    fields = {name: _NULL for names in NEEDED_BY_TYPE.values() for name in names if name not in needed}
    has = {name: _WORDS if name in {"role", "person"} else _TEXT for name in needed}
    return {"required": list(needed), "properties": {"type": {"const": kind}, **has, **fields}}


_BETWEEN: dict[type[Struct], Json] = {
    RecipientSelector: {"anyOf": [_recipient(kind, needed) for kind, needed in NEEDED_BY_TYPE.items()]},
    GivenBy: {
        "anyOf": [
            {"properties": {"capacity": {"enum": ["resident", "parent"]}}},
            {"required": ["mandate"], "properties": {"capacity": {"const": "representative"}, "mandate": _WORDS}},
        ]
    },
    Choice: {"required": ["recipient", "effect", "givenBy", "evidence"], "properties": {"evidence": _WORDS}},
    Client: {
        "anyOf": [
            {"required": ["jwks"], "properties": {"jwks": {"type": "object"}, "jwksUrl": _NULL}},
            {"required": ["jwksUrl"], "properties": {"jwks": _NULL, "jwksUrl": _TEXT}},
        ]
    },
    Endpoint: {
        "allOf": [
            {
                "anyOf": [
                    {"properties": {"adapter": {"const": "amqp"}}},
                    {"required": ["url"], "properties": {"adapter": {"const": "webhook"}, "url": _HTTP}},
                    {
                        "required": ["url"],
                        "properties": {"adapter": {"const": "fhir"}, "format": {"const": FHIR}, "url": _HTTP},
                    },
                ]
            },
            {"anyOf": [_NO_TOKEN, _TOKEN]},
        ]
    },
}

_CHOICE: Json = {
    "recipient": {"type": "organisation", "organisation": "kompas"},
    "parts": [{"kinds": ["goal"], "domains": ["finances"]}],
    "effect": "permit",
    "givenBy": {"capacity": "resident", "person": "marloes"},
    "until": "2027-06-30",
    "evidence": "conversation of 1 October",
}
_EXAMPLES: dict[type, Json] = {
    Choice: _CHOICE,
    Choices: {"choices": [_CHOICE]},
    Question: {"bsn": "999900006"},
    Receipt: {"sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
    Entry: {
        "id": "school",
        "name": "Basisschool De Rups",
        "kind": "school",
        "endpoints": [{"adapter": "webhook", "url": "https://rups.example/plans", "format": "plan-van-aanpak"}],
    },
}


def described(routes: Sequence[Route], gateway: Gateway) -> Json:
    """Return the document of a gateway, as it is now."""
    found = [gateway.shelf.get(name) for name in gateway.shelf.names()]
    formats = tuple((form.name, form.title, msgspec.json.encode(form.schema.source)) for form in found if form)
    return _document(tuple(routes), gateway.public_url, formats)


def errors_of(route: Route) -> tuple[str, ...]:
    """Return every code of ERRORS with which a route may refuse, in the order of the table."""
    operation = route.operation
    found = {"internal", *(operation.errors if operation else ())}
    if route.query is not None:
        found |= {"parameter"}
    if route.scope is not None:
        found |= {"unauthenticated", "scope", "unavailable", "rate-limit"}
    if "{" in route.path:
        found |= {"not-found"}
    if operation and operation.takes and operation.takes is not TokenForm:
        found |= {"json", "media-type", "document", "too-large"}
    if operation and operation.takes is TokenForm:
        found |= {"rate-limit"}
    return tuple(code for code in ERRORS if code in found)


@lru_cache(maxsize=4)
def _document(routes: tuple[Route, ...], public_url: str, formats: Formats) -> Json:
    told = [route for route in routes if route.operation]
    paths: dict[str, Json] = {}
    for route in told:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, formats)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Planbrug",
            "summary": "Support plans in; exactly the part that each organisation may see out.",
            "description": (
                "Times are RFC 3339 in UTC, dates are days in Amsterdam, ids are opaque. What the caller may not see looks like "
                "what is not there: 404. A method that is not offered gives 405 with `Allow`."
            ),
            "version": VERSION_HEADER["API-Version"],
            "contact": {"name": "Planbrug", "url": REPOSITORY, "email": "api@planbrug.example"},
            "license": {"name": "EUPL-1.2", "identifier": "EUPL-1.2"},
        },
        "servers": [{"url": public_url}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": _schemas(told, formats),
            "headers": {
                name: {"description": text, "schema": schema} for name, (text, schema) in _RESPONSE_HEADERS.items()
            },
            "securitySchemes": {
                "oauth": {
                    "type": "oauth2",
                    "description": TAGS["tokens"],
                    "flows": {
                        "clientCredentials": {
                            "tokenUrl": f"{public_url}/oauth/token",
                            "scopes": {name: _scope_text(name) for name in sorted(SCOPES)},
                        }
                    },
                }
            },
        },
    }


def _scope_text(scope: str) -> str:
    noun, verb = scope.split(":")
    return f"{verb.capitalize()} {noun}."


def _operation(route: Route, formats: Formats) -> Json:
    operation = route.operation
    assert operation is not None  # noqa: S101 - only described routes come here
    made: Json = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "security": [] if route.scope is None else [{"oauth": [route.scope]}],
    }
    if parameters := [*_in_path(route), *_in_query(route, formats), *_in_headers(operation)]:
        made["parameters"] = parameters
    if operation.takes:
        made["requestBody"] = {"required": True, "content": _content(operation.takes, formats, asked=True)}
    made["responses"] = dict(_responses(route, operation, formats))
    return made


def _in_path(route: Route) -> Iterable[Json]:
    for name in re.findall(r"\{(\w+)\}", route.path):
        pattern = _ORGANISATION_ID if _body_of(route) is Entry else f"^{PLAIN}$"
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": pattern}}


def _body_of(route: Route) -> type | None:
    """Return the type of a route's body."""
    return route.operation.takes if route.operation else None


def _in_query(route: Route, formats: Formats) -> Iterable[Json]:
    for name, schema in schemas_of(route.query).items() if route.query else ():
        told = dict(schema)
        if offered := told.pop(FORMATS, None):
            told = {**told, "enum": [*([FHIR] if offered == "out" else []), *(name for name, _, _ in formats)]}
        made = {"name": name, "in": "query", "schema": told}
        if text := told.pop("description", None):
            made["description"] = text
        yield made


def _in_headers(operation: Operation) -> Iterable[Json]:
    for name in operation.headers:
        yield {"name": name, "in": "header", **_REQUEST_HEADERS[name]}


def _responses(route: Route, operation: Operation, formats: Formats) -> Iterable[tuple[str, Json]]:
    by_status: dict[int, list[str]] = {}
    for code in errors_of(route):
        by_status.setdefault(ERRORS[code].status, []).append(code)
    answers = {answer.status: answer for answer in operation.answers}
    for status in sorted({*by_status, *answers}):
        yield str(status), _response(route, status, answers.get(status), by_status.get(status, []), formats)


def _response(route: Route, status: int, answer: Answer | None, errors: Sequence[str], formats: Formats) -> Json:
    says = [answer.says] if answer else []
    content = {
        media: body for kind in (answer.types if answer else ()) for media, body in _content(kind, formats).items()
    }
    if errors:
        says += [f"`{code}`: {ERRORS[code].title}; {ERRORS[code].remedy}." for code in errors]
        narrowed = {"properties": {"status": {"const": status}, "code": {"enum": list(errors)}}}
        content[PROBLEM_JSON] = {"schema": {"allOf": [{"$ref": _REF.format(name=Problem.__name__)}, narrowed]}}
    names = [
        *(answer.headers if answer else ()),
        *([_HEADERS_OF_STATUS[status]] if status in _HEADERS_OF_STATUS and errors else []),
    ]
    if route.path.startswith("/v1"):
        names.append("API-Version")
    made: Json = {"description": "\n\n".join(says)}
    if names:
        made["headers"] = {name.rstrip("?"): _header(name) for name in names}
    if content:
        made["content"] = content
    if answer and answer.links:
        made["links"] = {
            link.operation: {"operationId": link.operation, "parameters": dict(link.parameters)}
            for link in answer.links
        }
    return made


def _header(name: str) -> Json:
    text, schema = _RESPONSE_HEADERS[name.rstrip("?")]
    return {"description": text, "schema": schema, "required": not name.endswith("?")}


def _content(kind: type, formats: Formats, *, asked: bool = False) -> Json:
    """Return media type → schema of a type of body."""
    if kind is PlanDocument:
        own = {media_type(name): _media(name, _source(name)) for name, _, _ in formats}
        anyone = {"anyOf": [{"$ref": _REF.format(name=name)} for name, _, _ in formats]}
        return {**own, "application/json": {"schema": anyone}}
    if kind is PlanView:
        own = {media_type(name): {"schema": {"$ref": _REF.format(name=f"{name}.view")}} for name, _, _ in formats}
        return {**_content(FhirView, formats), **own}
    if kind is FhirView:
        return {FHIR_JSON: {"schema": {"$ref": _REF.format(name="Bundle")}}}
    if kind is Described:
        return {"application/json": {"schema": {"type": "object"}}}
    if kind is Html:
        return {"text/html": {"schema": {"type": "string"}}}
    media = FORM if kind is TokenForm else "application/json"
    return {media: _media(kind.__name__, _EXAMPLES.get(kind) if asked else None)}


def _media(name: str, example: Json | None) -> Json:
    made: Json = {"schema": {"$ref": _REF.format(name=name)}}
    if example is not None:
        made["example"] = example
    return made


def _source(name: str) -> Json | None:
    """Return the first example of a packaged format; one of an integrator has none here."""
    folder = files("mappings") / "formats" / name / "examples"
    if not folder.is_dir():
        return None
    first = min(folder.iterdir(), key=lambda place: place.name)
    example: Json = json.loads((first / "source.json").read_bytes())
    return example


def _schemas(routes: Iterable[Route], formats: Formats) -> Json:
    operations = [route.operation for route in routes if route.operation]
    kinds = [kind for operation in operations for answer in operation.answers for kind in answer.types]
    kinds += [operation.takes for operation in operations if operation.takes]
    structs = dict.fromkeys([*(kind for kind in kinds if issubclass(kind, Struct)), Problem])
    _, found = msgspec.json.schema_components(list(structs), ref_template=_REF)
    between = {kind.__name__: rules for kind, rules in _BETWEEN.items()}
    made = {name: _closed(name, schema, between.get(name, {})) for name, schema in sorted(found.items())}
    return {**made, "Bundle": _bundle(), **_of_formats(formats)}


def _closed(name: str, schema: Mapping[str, Any], between: Mapping[str, Any]) -> Json:
    """Return a schema that takes nothing that it does not name, with the rules that hold between its fields."""
    properties = {field: _plain(told) for field, told in schema["properties"].items()}
    properties |= between.get("properties", {})
    rules = {word: rule for word, rule in between.items() if word != "properties"}
    description = re.sub(r"(?<=[a-z])_([a-z])", lambda found: found[1].upper(), " ".join(schema["description"].split()))
    closed = {} if name in _OPEN else {"additionalProperties": False}
    return {**schema, "description": description, "properties": properties, **rules, **closed}


def _plain(schema: Json) -> Json:
    """Return the schema of a property; a null that is only the absence of it need not be a default."""
    return {word: rule for word, rule in schema.items() if (word, rule) != ("default", None)}


def _bundle() -> Json:
    return {
        "title": "Bundle",
        "description": "A FHIR R4 Bundle with a CarePlan and what belongs to it, by the profiles of Planbrug.",
        "externalDocs": {"url": "https://hl7.org/fhir/R4/bundle.html"},
        "type": "object",
        "required": ["resourceType", "type"],
        "properties": {
            "resourceType": {"const": "Bundle"},
            "type": {"type": "string"},
            "entry": {"type": "array", "items": {"type": "object"}},
        },
    }


def _of_formats(formats: Formats) -> Json:
    """Return the schema of each format, for plans in, and what is left of it for views out: nothing is compulsory there."""
    made: Json = {}
    for name, title, source in formats:
        whole = json.loads(source)
        definitions = whole.pop("$defs", {})
        for word in ("$id", "$schema"):
            whole.pop(word, None)
        made[name] = _moved(whole, f"{name}.")
        made[f"{name}.view"] = {
            "title": f"{title}: a view",
            "description": "Built up from what may be seen: also what the format requires may be absent.",
            "type": "object",
            "properties": dict.fromkeys(whole.get("properties", {}), True),
            "additionalProperties": "properties" not in whole,  # a schema that names nothing says nothing
        }
        made |= {f"{name}.{key}": _moved(schema, f"{name}.") for key, schema in definitions.items()}
    return made


def _moved(schema: Any, prefix: str) -> Any:
    """Return a schema whose references lead to the components of this document."""
    if isinstance(schema, list):
        return [_moved(each, prefix) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        word: rule.replace("#/$defs/", _REF.format(name=prefix)) if word == "$ref" else _moved(rule, prefix)
        for word, rule in schema.items()
    }
