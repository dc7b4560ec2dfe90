"""`planbrug format`: list formats, prove one, and try a document against it; no gateway needed."""

import json
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from consent.voices import amsterdam_day
from gateway.clock import Clock
from gateway.logs import open_log
from gateway.render import FHIR, Renderer
from gateway.shelf import Shelf, read_format
from mappings.draft import with_plain_ids
from mappings.errors import FormatError, MappingError
from mappings.format import Draft, Format
from mappings.plan import JSON_TO_PLAN
from mappings.quality import check_quality

formats = typer.Typer(no_args_is_help=True, help="List, prove and try plan formats.")

Folder = Annotated[Path | None, typer.Option("--formats-dir", help="A folder with formats of your own.")]

FormatName = Annotated[str, typer.Option("--format", help="The plan format.")]


@formats.command("list")
def list_formats(formats_dir: Folder = None) -> None:
    """List the formats that can be sent and read."""
    shelf = Shelf(formats_dir, open_log(None))
    for name in shelf.names():
        form = shelf.get(name)
        typer.echo(f"{name}\t{form.version if form else ''}\t{form.title if form else ''}")


@formats.command("check")
def check_format(folder: Path) -> None:
    """Prove a format folder: mapping and schema, and for each example both directions, the round trip, loss and coverage."""
    try:
        form = read_format(folder)
    except FormatError as error:
        _fail(str(error))
    examples = sorted((folder / "examples").glob("*/source.json"))
    if not examples:
        _fail("no examples/CASE/source.json to prove it with")
    failed = 0
    for source in examples:
        wrong = _wrong_with(form, source)
        failed += bool(wrong)
        typer.echo(f"wrong\t{source.parent.name}: {wrong}" if wrong else f"right\t{source.parent.name}")
    unused = form.lens.paths() - set().union(*(_paths(json.loads(source.read_bytes())) for source in examples))
    for path in sorted(unused):
        typer.echo(f"unproven\t/{path} stands in no example")
    typer.echo(f"{len(examples)} examples, {failed} wrong; {len(unused)} mapped paths stand in no example")
    raise typer.Exit(1 if failed or unused else 0)


@formats.command("map")
def map_document(file: Path, form: FormatName = "plan-van-aanpak", formats_dir: Folder = None) -> None:
    """Read a document and print the plan that it becomes, and what found no place."""
    draft = _draft(form, read_document(file), formats_dir)
    typer.echo(_pretty({"plan": draft.plan, "loss": draft.loss}))


@formats.command("render")
def render_document(
    file: Path, form: FormatName = "plan-van-aanpak", to: str = FHIR, formats_dir: Folder = None
) -> None:
    """Read a document and print it in another format, whole: for trying out, not for sharing."""
    draft = _draft(form, read_document(file), formats_dir)
    renderer = Renderer(Shelf(formats_dir, open_log(None)), "http://localhost/fhir")
    body, _ = renderer.render(with_plain_ids(draft.plan), to)
    typer.echo(_pretty(json.loads(body)))


def judge(format_name: str, body: bytes) -> list[dict[str, Any]]:
    """Return the quality findings of a document, with pointers into it."""
    draft = _draft(format_name, body, None)
    return [
        {
            "code": row.code,
            "severity": row.severity,
            "pointer": draft.pointers.get(row.part or "", ""),
            "nl": row.nl,
            "en": row.en,
        }
        for row in check_quality(draft.plan, amsterdam_day(Clock().now()))
    ]


def read_document(file: Path) -> bytes:
    """Return the bytes of a file; end with 2 when it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        typer.echo(f"planbrug: {file} cannot be read", err=True)
        raise typer.Exit(2) from error


def _draft(format_name: str, body: bytes, formats_dir: Path | None) -> Draft:
    form = Shelf(formats_dir, open_log(None)).get(format_name)
    if form is None:
        _fail(f"no format {format_name}; see planbrug format list")
    try:
        return form.read(body)
    except MappingError as error:
        _fail("\n".join(f"{finding.pointer or '/'}: {finding.remedy}" for finding in error.findings))


def _wrong_with(form: Format, source: Path) -> str:
    """Return what is wrong with one example, or nothing."""
    try:
        draft = form.read(source.read_bytes())
    except MappingError as error:
        return "; ".join(f"{finding.pointer} {finding.remedy}" for finding in error.findings)
    expected = source.with_name("plan.json")
    if expected.exists() and JSON_TO_PLAN.decode(expected.read_bytes()) != draft.plan:
        return "plan.json says something else"
    again = form.read(form.write(draft.plan))
    if again.plan != draft.plan:
        return "reading back what was written gives another plan"
    return "; ".join(f"{loss.pointer} finds no place" for loss in draft.loss)


def _paths(node: Any, path: str = "") -> set[str]:
    """Return the paths of a document's values, without the positions in lists."""
    if isinstance(node, dict):
        return set().union(*(_paths(value, f"{path}/{name}" if path else name) for name, value in node.items()))
    if isinstance(node, list):
        return {path}.union(*(_paths(value, path) for value in node))
    return {path}


def _pretty(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)
