"""What the documents say is true: every command, route, setting and reason stands where a reader looks for it."""

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
import yaml
from world import open_world

from consent.decide import ReasonCode
from gateway.app import ROUTES
from gateway.cli import app
from gateway.demo.vlinderstad import MARLOES_CHOICES
from gateway.logs import EVENTS
from gateway.outcomes import REASONS
from gateway.settings import Settings, load_settings
from gateway.store.tables import DELIVERY_STATES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
RUNBOOK = (ROOT / "deploy" / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "deploy").rglob("*.md")])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NPM: dict[str, str] = json.loads((ROOT / "tests" / "clients" / "package.json").read_text())["dependencies"]
YAML_FILES = sorted([*(ROOT / "deploy").rglob("*.yaml"), ROOT / "publiccode.yml"])
DEMO_ONLY = {"failpoint", "clock_offset_seconds"}
PATIENCE_SECONDS = 60


def fenced(text: str, *languages: str) -> Iterator[str]:
    """Yield the code blocks in one of these languages."""
    for language, block in re.findall(r"^[ ]*```(\w*)\n(.*?)^[ ]*```", text, re.DOTALL | re.MULTILINE):
        if language in languages:
            yield block


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield (document, words) of every `planbrug …` command in the documents, as code block or inline."""
    for path in DOCUMENTS:
        text = path.read_text()
        lines = [line for block in fenced(text, "sh") for line in block.splitlines()]
        for line in [*lines, *re.findall(r"`([^`\n]+)`", text)]:
            for found in re.findall(r"(?:^\s*|\$\(|^)(?:\.venv/bin/)?planbrug ([^)#`]*)", line):
                words = shlex.split(re.sub(r"\$\w+", "VALUE", found))
                if words and "·" not in found and "…" not in found:
                    yield path.name, words


def resolved(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command that `words` begin with, and what is left of them."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while hasattr(command, "commands"):
        assert rest, "stops at a group of commands"
        assert rest[0] in command.commands, f"no command {rest[0]}"
        command = command.commands[rest.pop(0)]
    return command, rest


def table_codes(text: str) -> set[str]:
    """Return what stands as code in the first cell of a table's row."""
    return set(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("document", "words"), sorted(commands()), ids=lambda value: " ".join(value) if isinstance(value, list) else value
)
def test_every_command_in_a_document_exists_with_its_options(document: str, words: list[str]) -> None:
    if words[0] in {"plan,", "choices,", "plan", "choices", "deliveries", "format"} and len(words) == 1:
        return
    command, rest = resolved(words)
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= known


def test_the_documents_hold_commands() -> None:
    assert len(list(commands())) >= 15


def test_every_command_of_the_command_line_stands_in_a_document() -> None:
    shown = {" ".join(words[:2]) for _, words in commands()} | {words[0] for _, words in commands()}
    tree: Any = typer.main.get_command(app)
    for name, command in tree.commands.items():
        for inner in getattr(command, "commands", {}):
            assert f"{name} {inner}" in shown
        if not hasattr(command, "commands") and name != "demo":
            assert name in shown


def test_every_make_command_in_a_document_is_a_target() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in DOCUMENTS:
        text = path.read_text()
        code = "\n".join([*fenced(text, "sh"), *re.findall(r"`([^`\n]+)`", text)])
        assert set(re.findall(r"^make ([a-z]+)", code, re.MULTILINE)) <= targets


def test_every_route_stands_in_the_readme_with_its_scope() -> None:
    rows = {}
    for asked, scope in re.findall(r"^\| (`[A-Z]+ /[^|]+) \|([^|]*)\|", README, re.MULTILINE):
        rows |= dict.fromkeys(re.findall(r"`([A-Z]+ /[^`]+)`", asked), scope.strip(" `") or None)
    assert rows == {f"{route.method} {route.path}": route.scope for route in ROUTES}


def test_every_setting_stands_in_the_runbook_and_no_other() -> None:
    documented = {name for name in table_codes(RUNBOOK) if name.startswith("PLANBRUG_")}
    assert documented == {f"PLANBRUG_{name.upper()}" for name in Settings.model_fields}


def test_the_defaults_in_the_runbook_are_those_of_the_settings() -> None:
    rows = re.findall(r"^\| `PLANBRUG_(\w+)` \| (?:`([^`]*)`)? ?\|", RUNBOOK, re.MULTILINE)
    said = {name.lower(): default for name, default in rows}
    for name, field in Settings.model_fields.items():
        default = field.default
        if isinstance(default, tuple):
            default = ",".join(str(value) for value in default)
        expected = "" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
        assert said[name] == expected


def test_every_reason_and_state_stands_in_the_runbook() -> None:
    assert {*REASONS, *DELIVERY_STATES, *get_args(ReasonCode)} <= table_codes(RUNBOOK)


def test_every_reason_in_the_delivery_step_stands_in_the_runbook() -> None:
    source = (ROOT / "gateway" / "delivery.py").read_text()
    written = set(re.findall(r'"(?:parked|withheld|unchanged|superseded)", "([a-z-]+)"|reason="([a-z-]+)"', source))
    assert {name for pair in written for name in pair if name} <= table_codes(RUNBOOK)


def test_every_event_that_the_runbook_watches_exists() -> None:
    watched = {
        name for row in re.findall(r"^\| (.*) \| log \|", RUNBOOK, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert watched
    assert watched <= EVENTS.keys()


def test_every_dependency_has_its_reason_in_contributing() -> None:
    project = PROJECT["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    names = {re.split(r"[\[><=]", line)[0] for line in wanted}
    names |= {spec.removeprefix("npm:").partition("@")[0] if ":" in spec else name for name, spec in NPM.items()}
    with_reason = dict(re.findall(r"^\| `([^`]+)` \| (\S[^|]*) \|", CONTRIBUTING, re.MULTILINE))
    assert names <= with_reason.keys()


def test_the_lock_file_of_the_npm_clients_is_for_these_versions_and_names_no_host() -> None:
    """Made with `--omit-lockfile-registry-resolved`: what is installed comes from wherever npm is told to look."""
    locked = json.loads((ROOT / "tests" / "clients" / "package-lock.json").read_text())["packages"]
    assert locked[""]["dependencies"] == NPM
    assert all(re.search(r"(^|@)\d+\.\d+\.\d+$", version) for version in NPM.values())
    assert [name for name, package in locked.items() if "resolved" in package] == []


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.name)
def test_every_yaml_file_parses(path: Path) -> None:
    assert all(document for document in yaml.safe_load_all(path.read_text()))


def test_publiccode_has_what_the_standard_requires() -> None:
    code = yaml.safe_load((ROOT / "publiccode.yml").read_text())
    required = {"publiccodeYmlVersion", "name", "url", "platforms", "developmentStatus", "softwareType", "description"}
    assert required | {"legal", "maintenance", "localisation", "categories", "releaseDate"} <= code.keys()
    assert code["legal"]["license"] == PROJECT["project"]["license"]
    assert code["softwareVersion"] == PROJECT["project"]["version"]
    assert code["maintenance"]["contacts"][0]["name"]
    assert {"localisationReady", "availableLanguages"} <= code["localisation"].keys()
    for text in code["description"].values():
        assert len(text["shortDescription"]) <= 150
        assert 150 <= len(text["longDescription"]) <= 10_000
        assert text["features"]


def test_the_changelog_begins_with_the_version_of_the_project() -> None:
    first = re.search(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first
    assert first.group(1) == PROJECT["project"]["version"]


def test_every_link_in_a_document_leads_somewhere() -> None:
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)]+)\)", path.read_text()):
            place, _, anchor = target.partition("#")
            if place.startswith("http"):
                continue
            linked = path if not place else (path.parent / place).resolve()
            assert linked.exists(), f"{path.name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
                assert anchor in {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in headings}


def test_every_file_that_a_document_names_exists() -> None:
    named = {
        name
        for path in (ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md")
        for name in re.findall(r"`((?:gateway|consent|mappings|adapters|tests|deploy)/[\w./-]+)`", path.read_text())
    }
    assert named
    assert [name for name in sorted(named) if "NAME" not in name and not (ROOT / name).exists()] == []


def test_the_example_environment_is_accepted_and_names_known_settings_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every line that is commented out, too, as whoever fills it in would have it."""
    for name in [name for name in os.environ if name.startswith("PLANBRUG_")]:
        monkeypatch.delenv(name)
    text = re.sub(r"^#(PLANBRUG_)", r"\1", (ROOT / "deploy" / "planbrug.env.example").read_text(), flags=re.MULTILINE)
    (tmp_path / "env").write_text(text)
    names = set(re.findall(r"^PLANBRUG_(\w+)=", text, re.MULTILINE))
    settings = load_settings(tmp_path / "env")
    assert settings.mode == "production"
    assert names == {name.upper() for name in Settings.model_fields if name not in DEMO_ONLY}


def test_the_deployments_set_known_settings_only() -> None:
    known = {f"PLANBRUG_{name.upper()}" for name in Settings.model_fields}
    for path in YAML_FILES:
        assert set(re.findall(r"^\s*(PLANBRUG_\w+):", path.read_text(), re.MULTILINE)) <= known
    image = (ROOT / "deploy" / "Dockerfile").read_text()
    assert set(re.findall(r"(PLANBRUG_\w+)=", image)) <= known


def test_the_kubernetes_settings_make_a_gateway_that_starts() -> None:
    """ConfigMap and Secret together are an accepted set, and the probes ask what is there."""
    folder = ROOT / "deploy" / "kubernetes"
    found = [document for path in folder.glob("*.yaml") for document in yaml.safe_load_all(path.read_text())]
    by_name = {(row["kind"], row["metadata"]["name"]): row for row in found}
    values = {
        **by_name["ConfigMap", "planbrug-settings"]["data"],
        **by_name["Secret", "planbrug-urls"]["stringData"],
    }
    settings = Settings(**{name.removeprefix("PLANBRUG_").lower(): value for name, value in values.items()})
    deployment = by_name["Deployment", "planbrug"]["spec"]
    (container,) = deployment["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert (settings.port, settings.metrics_bind.rpartition(":")[2]) == (ports["http"], str(ports["metrics"]))
    assert (deployment["replicas"], deployment["strategy"]["type"]) == (1, "Recreate")
    paths = {route.path for route in ROUTES if route.scope is None}
    assert {
        container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    } <= paths


def test_the_wheel_holds_every_data_file_of_the_packages() -> None:
    """Hatchling takes whole packages but for what version control ignores: so nothing that we need may be ignored."""
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert sorted(packages) == ["adapters", "consent", "gateway", "mappings"]
    needed = [
        str(path.relative_to(ROOT))
        for package in packages
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc" and "__pycache__" not in path.parts
    ]
    assert any(path.startswith("mappings/profiles/") for path in needed)
    assert any(path.startswith("mappings/formats/") and path.endswith("mapping.yaml") for path in needed)
    assert any(path.startswith("gateway/demo/") for path in needed)
    asked = ["git", "check-ignore", "--no-index", "--stdin"]
    ignored = subprocess.run(asked, cwd=ROOT, input="\n".join(needed), capture_output=True, text=True, check=False)
    assert (ignored.returncode, ignored.stdout) == (1, "")


def test_the_image_is_built_from_files_that_are_there_and_runs_without_rights() -> None:
    image = (ROOT / "deploy" / "Dockerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (?!--from)(.+) \S+$", image, re.MULTILINE) for name in line.split()]
    assert {"gateway", "mappings", "consent", "adapters", "pyproject.toml"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)
    assert re.search(r"^USER (?!root|0\b)\S+", image, re.MULTILINE)
    assert "HEALTHCHECK" in image
    assert "ARG " not in image


PREDICTIONS = re.findall(
    r"^\| `(permit|deny)` \| `(\{.*?\})` \| `(\{.*?\})` \| ([a-z-]+), ([a-z-]+) \| (yes|no): `([a-z-]+)`",
    README,
    re.MULTILINE,
)


@pytest.mark.parametrize(
    ("effect", "recipient", "parts", "kind", "domain", "gets", "code"),
    PREDICTIONS,
    ids=[f"{row[0]} {row[3]} to {json.loads(row[1])['type']}" for row in PREDICTIONS],
)
async def test_what_the_readme_predicts_for_kompas_comes_true(
    tmp_path: Path, effect: str, recipient: str, parts: str, kind: str, domain: str, gets: str, code: str
) -> None:
    """Each line of the table, one choice more than the demo has."""
    choice = {
        "recipient": json.loads(recipient),
        "parts": [json.loads(parts)],
        "effect": effect,
        "givenBy": {"capacity": "resident", "person": "marloes"},
        "evidence": "README",
    }
    async with open_world(tmp_path) as world:
        plan_id, residents = await world.family()
        await world.choose(residents["marloes"], [*MARLOES_CHOICES, choice])
        place = f"/v1/residents/{residents['marloes']}/views/kompas?planId={plan_id}"
        shown = (await world.team.want("GET", place))["parts"]
        wanted = (kind, None if domain == "none" else domain)
        found = {(part["permitted"], part["code"]) for part in shown if (part["kind"], part["domain"]) == wanted}
        assert found == {(gets == "yes", code)}


def test_the_readme_predicts_something() -> None:
    assert len(PREDICTIONS) == 6


async def test_withdrawing_the_no_of_the_readme_makes_one_delivery_to_kompas_only(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        plan_id, residents = await world.family()
        before = {row["id"] for row in await world.deliveries(plan_id)}
        await world.choose(residents["marloes"], [row for row in MARLOES_CHOICES if row["effect"] == "permit"])
        new = [row for row in await world.rest(plan_id) if row["id"] not in before]
        assert [(row["recipient"], row["state"]) for row in new] == [("kompas", "acknowledged")]
        assert "zorgen" in json.loads(world.receivers["provider-a"].last.body)


async def test_the_demo_prints_what_the_readme_shows_and_ends_with_0(tmp_path: Path) -> None:
    (excerpt,) = fenced(README, "text")
    demo = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "demo", "--port", "0", "--data-dir", str(tmp_path / "demo"),
        stdout=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    assert demo.stdout
    printed: list[str] = []
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not printed or not printed[-1].startswith("Try next"):
                line = await demo.stdout.readline()
                assert line, "the demo ended before it was done"
                printed.append(line.decode().rstrip())
    finally:
        demo.terminate()
        await demo.communicate()
    assert demo.returncode == 0
    shown = [line.rstrip() for line in excerpt.splitlines() if line.strip() not in {"", "..."}]
    assert [line for line in shown if line not in printed] == []


def test_no_document_names_an_absolute_path_of_a_machine() -> None:
    for path in [*DOCUMENTS, *YAML_FILES, ROOT / "deploy" / "Dockerfile"]:
        assert not re.search(r"(?<![\w.])/(?:work|home|root|Users)/", path.read_text()), path.name
