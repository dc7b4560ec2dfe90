"""`/v1/docs`: the OpenAPI document as one page for people. It runs no script, and fetches nothing."""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from html import escape
from typing import Any

from aiohttp import web

from gateway.api.problem import PROBLEM_JSON
from gateway.errors import ERRORS

Json = dict[str, Any]

_METHODS = ("get", "put", "post", "delete")
_MAX_CODES = 30
_LONGEST_EXAMPLE = 2_000

_STYLE = """
:root { color-scheme: light dark; --line: #c9ced6; --soft: #f3f5f8; --ink: #14213d; --link: #0b4f9e; --paper: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --line: #46505f; --soft: #1d242e; --ink: #e8ecf2; --link: #8fc1ff; --paper: #12171e; }
}
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: var(--paper); font: 1rem/1.55 system-ui, sans-serif; }
header, main { max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.9rem; margin: .5rem 0; }
h2 { font-size: 1.5rem; margin: 2.5rem 0 .5rem; border-bottom: 2px solid var(--line); }
h3 { font-size: 1.15rem; margin: 0 0 .3rem; overflow-wrap: anywhere; }
summary { padding: .5rem 0; cursor: pointer; }
a { color: var(--link); }
a:focus-visible, pre:focus-visible, summary:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -100rem; }
.skip:focus { left: 1rem; top: .5rem; background: var(--paper); padding: .5rem; }
article { border: 1px solid var(--line); border-radius: .5rem; padding: 1rem; margin: 1rem 0; }
code { font: .9em ui-monospace, monospace; background: var(--soft); padding: .1em .3em; border-radius: .2em; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; }
caption { text-align: left; font-weight: 600; padding: .8rem 0 .3rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem .35rem 0; border-top: 1px solid var(--line); }
thead th { border-top: 0; border-bottom: 2px solid var(--line); }
tbody th { font-weight: 400; min-width: 7rem; }
pre { overflow-x: auto; background: var(--soft); padding: .8rem; border-radius: .3rem; }
nav ul { columns: 22rem; padding-left: 1.2rem; }
nav a { overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  thead { position: absolute; left: -100rem; }
  tbody tr { display: block; border-top: 1px solid var(--line); padding: .4rem 0; }
  tbody th, tbody td { display: block; border: 0; padding: .1rem 0; }
  tbody td[data-head]::before { content: attr(data-head) ": "; font-weight: 600; }
}
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def page(document: Json) -> web.Response:
    """Return the page; its policy lets a browser use this style and nothing else."""
    headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": POLICY}
    return web.Response(body="".join(_page(document)).encode(), headers=headers)


def _page(document: Json) -> Iterator[str]:
    info, tags = document["info"], document["tags"]
    told = [
        (path, method, item[method])
        for path, item in document["paths"].items()
        for method in _METHODS
        if method in item
    ]
    by_tag = {tag["name"]: [row for row in told if tag["name"] in row[2]["tags"]] for tag in tags}
    yield '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{_text(info['title'])} API {_text(info['version'])}</title><style>{_STYLE}</style></head><body>"
    yield '<a class="skip" href="#content">Skip to the content</a>'
    yield f"<header><h1>{_text(info['title'])} API, version {_text(info['version'])}</h1><p>{_text(info['summary'])}</p>"
    yield f"<p>{_text(info['description'])}</p>"
    yield (
        f"<p>Address: <code>{_text(document['servers'][0]['url'])}</code>. The same for machines: "
        f'<a href="openapi.json">openapi.json</a>. License: {_text(info["license"]["name"])}.</p></header>'
    )
    yield '<main id="content"><nav aria-labelledby="contents"><h2 id="contents">Contents</h2><ul>'
    for name, rows in by_tag.items():
        yield f'<li><a href="#tag-{name}">{name.capitalize()}</a><ul>'
        for path, method, operation in rows:
            yield f'<li><a href="#{operation["operationId"]}">{method.upper()} {_text(path)}</a></li>'
        yield "</ul></li>"
    yield '<li><a href="#errors">Errors</a></li><li><a href="#bodies">Bodies</a></li></ul></nav>'
    for tag in tags:
        yield f'<section aria-labelledby="tag-{tag["name"]}"><h2 id="tag-{tag["name"]}">{tag["name"].capitalize()}</h2>'
        yield f"<p>{_text(tag['description'])}</p>"
        for path, method, operation in by_tag[tag["name"]]:
            yield from _operation(path, method, operation)
        yield "</section>"
    yield from _errors()
    yield from _bodies(document["components"]["schemas"])
    yield "</main></body></html>"


def _operation(path: str, method: str, operation: Json) -> Iterator[str]:
    name = operation["operationId"]
    scopes = [scope for way in operation["security"] for scope in way["oauth"]]
    yield f'<article aria-labelledby="{name}"><h3 id="{name}"><code>{method.upper()} {_text(path)}</code></h3>'
    yield f"<p>{_text(operation['summary'])}. "
    yield (f"Scope: <code>{_text(scopes[0])}</code>.</p>" if scopes else "Anybody may ask.</p>")
    yield from _table(
        "Parameters",
        ("name", "in", "needed", "what", "meaning"),
        [
            (_code(each["name"]), each["in"], _yes(each.get("required")), _kind(each["schema"]), _text(each.get("description", "")))
            for each in operation.get("parameters", [])
        ],
    )  # fmt: skip
    if body := operation.get("requestBody"):
        rows = [(_code(media), _kind(told["schema"])) for media, told in body["content"].items()]
        yield from _table("Body", ("content type", "what"), rows)
        for media, told in body["content"].items():
            yield from _example(media, told.get("example"))
    answers, errors = [], []
    for status, told in operation["responses"].items():
        content = told.get("content", {})
        says, *refusals = told["description"].split("\n\n") if PROBLEM_JSON in content else [told["description"]]
        own = {media: each for media, each in content.items() if media != PROBLEM_JSON}
        if PROBLEM_JSON in content and says.startswith("`"):
            refusals, says = [says, *refusals], ""
        if says:
            bodies = "<br>".join(f"{_code(media)} {_kind(each['schema'])}" for media, each in own.items()) or "none"
            answers.append(
                (status, _text(says), bodies, ", ".join(_code(header) for header in told.get("headers", {})))
            )
        errors += [(status, _code(line.split("`")[1])) for line in refusals]
    yield from _table("Answers", ("status", "when", "body", "headers"), answers)
    yield from _table(
        "Refusals",
        ("code", "status", "meaning"),
        [(code, status, _text(ERRORS[re.sub(r"<.*?>", "", code)].title)) for status, code in errors],
    )
    yield "</article>"


def _example(media: str, example: Json | None) -> Iterator[str]:
    """Yield an example, folded; one that fills a screen stands in the document only."""
    text = json.dumps(example, indent=2, ensure_ascii=False)
    if example is not None and len(text) <= _LONGEST_EXAMPLE:
        yield f"<details><summary>Example of {_code(media)}</summary>"
        yield f'<pre tabindex="0">{escape(text)}</pre></details>'


def _errors() -> Iterator[str]:
    yield '<section aria-labelledby="errors"><h2 id="errors">Errors</h2><p>A refusal is <code>application/problem+json</code> '
    yield "(RFC 9457): <code>code</code> is one of these, and <code>errors</code> says where and what to do. "
    yield "It never holds a value out of a request.</p>"
    rows = [(_code(code), str(row.status), _text(row.title), _text(row.remedy)) for code, row in ERRORS.items()]
    yield from _table("Every code", ("code", "status", "meaning", "what to do"), rows)
    yield "</section>"


def _bodies(schemas: Json) -> Iterator[str]:
    yield '<section aria-labelledby="bodies"><h2 id="bodies">Bodies</h2>'
    for name, schema in schemas.items():
        yield f'<article aria-labelledby="{_place(name)}"><h3 id="{_place(name)}">{_text(name)}</h3>'
        yield f"<p>{_text(schema.get('description', ''))}</p>"
        if "properties" not in schema:
            yield f"<p>{_kind(schema)}</p>"
        yield from _table(
            "Fields",
            ("name", "needed", "what", "meaning"),
            [
                (_code(field), _yes(field in schema.get("required", ())), _kind(told), _meaning(told))
                for field, told in schema.get("properties", {}).items()
            ],
        )
        yield "</article>"
    yield "</section>"


def _meaning(schema: Any) -> str:
    return _text(schema.get("description", "")) if isinstance(schema, dict) else ""


def _table(caption: str, heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Yield a table of cells that are HTML already; nothing when it has no rows."""
    lines = [
        f'<tr><th scope="row">{first}</th>{"".join(_cell(head, cell) for head, cell in zip(heads[1:], cells, strict=True))}</tr>'
        for first, *cells in rows
    ]
    if not lines:
        return
    yield f"<table><caption>{caption}</caption><thead><tr>"
    yield "".join(f'<th scope="col">{head}</th>' for head in heads)
    yield f"</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _cell(head: str, cell: str) -> str:
    return f'<td data-head="{head}">{cell}</td>' if cell else "<td></td>"


def _kind(schema: Any) -> str:
    """Say in HTML what a schema takes."""
    if not isinstance(schema, dict):
        return "anything"
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{_place(name)}">{_text(name)}</a>'
    if "anyOf" in schema and "properties" not in schema:
        return " or ".join(dict.fromkeys(_kind(each) for each in schema["anyOf"]))
    if "allOf" in schema:
        return _kind(schema["allOf"][0])
    if "const" in schema:
        return _code(str(schema["const"]))
    if "enum" in schema:
        return ", ".join(_code(str(each)) for each in schema["enum"][:_MAX_CODES])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', True))}"
    return _simple(schema)


def _simple(schema: Json) -> str:
    kind = schema.get("type", "anything")
    said = [_text(" or ".join(kind) if isinstance(kind, list) else kind)]
    bounds = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    said += [_text(" ".join(bounds))] if bounds else []
    said += [_text(schema["format"])] if "format" in schema else []
    said += [f"like {_code(schema['pattern'])}"] if "pattern" in schema else []
    return ", ".join(said)


def _place(name: str) -> str:
    return f"body-{escape(name)}"


def _yes(needed: object) -> str:
    return "yes" if needed else "no"


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _text(text: str) -> str:
    """Return a text as HTML; what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
