"""The command line: parse, call, print. Exit 0 done, 1 refused or findings, 2 usage."""

import json
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import aiohttp
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from gateway.broker import BrokerUnavailable
from gateway.callers import new_key, public_jwks, write_private_key
from gateway.cli_formats import formats, judge, read_document
from gateway.client import CallError, GatewayClient, calling, fetch_token, read_known
from gateway.demo.run import run_demo
from gateway.partner_definitions import definitions_for
from gateway.seal import SealError
from gateway.server import serve as serve_forever
from gateway.settings import SettingsError, load_settings
from gateway.store.engine import StoreError
from gateway.wiring import Gateway

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Planbrug: support plans, shared as far as the resident wants."
)
plan = typer.Typer(no_args_is_help=True, help="Send a plan, show what somebody sees of it, or judge its quality.")
choices = typer.Typer(no_args_is_help=True, help="Show and set what a resident chose.")
deliveries = typer.Typer(no_args_is_help=True, help="See what is on its way, and stop it or try it again.")
app.add_typer(formats, name="format")
app.add_typer(plan, name="plan")
app.add_typer(choices, name="choices")
app.add_typer(deliveries, name="deliveries")

DataDir = Annotated[Path, typer.Option("--data-dir", help="The data folder of the gateway.")]
As = Annotated[str, typer.Option("--as", help="The client to call as.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON as the API gives it.")]
FormatName = Annotated[str, typer.Option("--format", help="The plan format.")]
HERE = Path("var/demo")

_out = Console(soft_wrap=True)
_err = Console(stderr=True, soft_wrap=True)

Ask = Callable[[GatewayClient], Awaitable[Any]]


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(version("planbrug"))
        raise typer.Exit


@app.callback()
def planbrug(
    show_version: Annotated[
        bool, typer.Option("--version", callback=lambda wanted: _version(wanted=wanted), is_eager=True)
    ] = False,
) -> None:
    """Planbrug: support plans, shared as far as the resident wants."""


@app.command()
def demo(data_dir: DataDir = HERE, port: int = 8080, database: str = "", broker: str = "") -> None:
    """Run the demo: a fictional family, its neighbourhood team and their partners; then keep serving."""
    known: dict[str, object] = {"port": port, "database_url": database, "amqp_url": broker}
    _run(run_demo(Console(), data_dir, **known))


@app.command()
def serve(env_file: Annotated[Path | None, typer.Option(help="A file with PLANBRUG_… settings.")] = None) -> None:
    """Serve a gateway, without demo data."""

    async def main() -> None:
        settings = load_settings(env_file)
        await serve_forever(settings, _announce)

    _run(main())


@app.command()
def key(file: Path) -> None:
    """Make a private key for a client in FILE (only its owner can read it), and print the public half for the directory."""
    if file.exists():
        _err.print(f"[red]planbrug:[/] {file} is there already; keys are never overwritten", highlight=False)
        raise typer.Exit(1)
    made = new_key()
    write_private_key(file, made)
    _print_json({"keys": public_jwks(made).keys})


@app.command("rabbitmq-user")
def rabbitmq_user(organisation: str, client: str) -> None:
    """Print what RabbitMQ must know of a partner's client: import it, then give the user a password."""
    _print_json(definitions_for(organisation, client))


@app.command()
def token(name: str, data_dir: DataDir = HERE) -> None:
    """Print an access token for a client, and nothing else."""

    async def main() -> str:
        async with aiohttp.ClientSession() as session:
            return await fetch_token(session, read_known(data_dir), name)

    typer.echo(_run(main()))


@plan.command("send")
def send_plan(
    file: Path, form: FormatName = "plan-van-aanpak", as_: As = "team", data_dir: DataDir = HERE, json_: Json = False
) -> None:
    """Send a plan document; prints what became of it."""
    sent = _ask(
        data_dir,
        as_,
        lambda client: client.want("POST", f"/v1/plans?{urlencode({'format': form})}", body=read_document(file)),
    )
    if json_:
        _print_json(sent)
        return
    _out.print(f"plan {sent['planId']}, version {sent['version']}, {sent['outcome']}")
    for row in sent["residents"]:
        _out.print(f"  resident {row['reference']}: {row['id']}")
    _out.print(f"  deliveries planned: {len(sent['deliveries'])}")
    _print_findings(sent["quality"], "en")
    _print_findings(sent["loss"], "reason")


@plan.command("show")
def show_plan(
    plan_id: str, form: FormatName = "fhir", as_: As = "team", data_dir: DataDir = HERE, json_: Json = False
) -> None:
    """Show what a client sees of a plan, as FHIR or in a plan format."""
    shown = _ask(data_dir, as_, lambda client: client.want("GET", f"/v1/plans/{plan_id}?{urlencode({'format': form})}"))
    _print_json(shown, pretty=not json_)


@plan.command("quality")
def judge_plan(file: Path, form: FormatName = "plan-van-aanpak", json_: Json = False) -> None:
    """Judge the quality of a plan document without sending it; exit 1 when there are remarks."""
    findings = judge(form, read_document(file))
    if json_:
        _print_json(findings)
    else:
        _print_findings(findings, "en")
    raise typer.Exit(1 if findings else 0)


@choices.command("show")
def show_choices(resident: str, as_: As = "team", data_dir: DataDir = HERE, json_: Json = False) -> None:
    """Show what a resident chose."""
    kept = _ask(data_dir, as_, lambda client: client.want("GET", f"/v1/residents/{resident}/choices"))
    if json_:
        _print_json(kept)
        return
    table = Table("choice", "says", "to", "about", "purpose", "from", "until")
    for row in kept["choices"]:
        to = " ".join(str(value) for name, value in row["recipient"].items() if name != "type") or "everybody"
        about = "; ".join(_selector(selector) for selector in row.get("parts", [])) or "everything but safety"
        table.add_row(
            row["id"], row["effect"], to, about, row.get("purpose", "any"), row.get("from", ""), row.get("until", "")
        )
    _out.print(table)
    _out.print(f"version {kept['version']}; change it with: planbrug choices set {resident} FILE.json")


@choices.command("explain")
def explain_choices(
    resident: str,
    organisation: str,
    plan_id: Annotated[str, typer.Option("--plan")] = "",
    as_: As = "team",
    data_dir: DataDir = HERE,
    json_: Json = False,
) -> None:
    """Say per part what an organisation gets of a resident's plan, and why or why not. Sends nothing."""
    asked = f"?{urlencode({'planId': plan_id})}" if plan_id else ""
    place = f"/v1/residents/{resident}/views/{organisation}{asked}"
    view = _ask(data_dir, as_, lambda client: client.want("GET", place))
    if json_:
        _print_json(view)
        return
    table = Table("part", "kind", "domain", "goes", "why")
    for row in view["parts"]:
        why = row["article"] if row["permitted"] and row["ground"] != "consent" else row["en"]
        table.add_row(row["partId"], row["kind"], row["domain"] or "", "yes" if row["permitted"] else "no", why)
    _out.print(table)


@choices.command("set")
def set_choices(resident: str, file: Path, as_: As = "team", data_dir: DataDir = HERE, json_: Json = False) -> None:
    """Make the choices in FILE the resident's; one that is left out is withdrawn. The file is what `show --json` prints."""

    async def put(client: GatewayClient) -> Any:
        place = f"/v1/residents/{resident}/choices"
        current = await client.want("GET", place)
        wanted = json.loads(read_document(file))
        etag = {"If-Match": f'W/"{wanted.get("version", current["version"])}"'}
        return await client.want("PUT", place, json_body={"choices": wanted["choices"]}, headers=etag)

    kept = _ask(data_dir, as_, put)
    if json_:
        _print_json(kept)
    else:
        _out.print(f"version {kept['version']}: {len(kept['choices'])} choices")


@deliveries.command("list")
def list_deliveries(
    plan_id: Annotated[str, typer.Option("--plan")] = "",
    recipient: Annotated[str, typer.Option(help="The directory id of an organisation.")] = "",
    state: Annotated[str, typer.Option(help="Such as waiting or parked.")] = "",
    as_: As = "team",
    data_dir: DataDir = HERE,
    json_: Json = False,
) -> None:
    """List deliveries with their state and reason."""
    wanted = (("planId", plan_id), ("recipient", recipient), ("state", state))
    asked = {name: value for name, value in wanted if value}

    async def pages(client: GatewayClient) -> list[Any]:
        rows: list[Any] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await client.want("GET", f"/v1/deliveries?{urlencode({**asked, 'cursor': cursor, 'limit': '200'})}")
            rows, cursor = rows + page["items"], page["next"]
        return rows

    rows = _ask(data_dir, as_, pages)
    if json_:
        _print_json({"items": rows, "next": None})
        return
    table = Table("delivery", "recipient", "version", "state", "reason", "attempts", "next attempt")
    for row in rows:
        cells = (
            row[name] for name in ("id", "recipient", "planVersion", "state", "reason", "attempts", "nextAttemptAt")
        )
        table.add_row(*("" if cell is None else str(cell) for cell in cells))
    _out.print(table)


@deliveries.command("show")
def show_delivery(delivery_id: str, as_: As = "team", data_dir: DataDir = HERE, json_: Json = False) -> None:
    """Show one delivery."""
    shown = _ask(data_dir, as_, lambda client: client.want("GET", f"/v1/deliveries/{quote(delivery_id, safe='')}"))
    _print_json(shown, pretty=not json_)


@deliveries.command("retry")
def retry_delivery(delivery_id: str, as_: As = "team", data_dir: DataDir = HERE, json_: Json = False) -> None:
    """Try a parked or waiting delivery again now, with its attempts counted anew."""
    _print_json(_move(data_dir, as_, delivery_id, "retries"), pretty=not json_)


@deliveries.command("stop")
def stop_delivery(delivery_id: str, as_: As = "team", data_dir: DataDir = HERE, json_: Json = False) -> None:
    """Stop a delivery that has not arrived, also while its receiver hangs; it is parked, and can be tried again."""
    _print_json(_move(data_dir, as_, delivery_id, "stops"), pretty=not json_)


async def _announce(gateway: Gateway) -> None:
    _out.print(f"serving {gateway.public_url} in {gateway.settings.mode} mode", highlight=False)


def _ask(data_dir: Path, name: str, ask: Ask) -> Any:
    async def main() -> Any:
        async with calling(data_dir, name) as client:
            return await ask(client)

    return _run(main())


def _move(data_dir: Path, name: str, delivery_id: str, what: str) -> Any:
    place = f"/v1/deliveries/{quote(delivery_id, safe='')}/{what}"
    return _ask(data_dir, name, lambda client: client.want("POST", place))


def _run(main: Any) -> Any:
    """Run to the end; say an expected error in one line, and exit 1."""
    try:
        return uvloop.run(main)
    except (CallError, SettingsError, StoreError, SealError, BrokerUnavailable) as error:
        _err.print(f"[red]planbrug:[/] {error}", highlight=False)
        raise typer.Exit(1) from error


def _print_json(value: Any, *, pretty: bool = True) -> None:
    typer.echo(json.dumps(value, indent=2 if pretty else None, ensure_ascii=False))


def _print_findings(rows: list[dict[str, Any]], text: str) -> None:
    for row in rows:
        _out.print(f"  {row['pointer'] or '/'}: {row[text]}", markup=False, highlight=False)


def _selector(selector: dict[str, Any]) -> str:
    return (
        " in ".join(", ".join(selector[name]) for name in ("kinds", "domains", "partIds") if name in selector)
        or "everything"
    )
