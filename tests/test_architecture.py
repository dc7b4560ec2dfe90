"""The shape of the house: the dependency rule holds, and a violation of it would be caught."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mutants import MUTANTS

ROOT = Path(__file__).parents[1]
LINT = Path(sys.executable).with_name("lint-imports")


def contracts_hold(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter in `folder`, whose packages come before any installed ones."""
    command = [str(LINT), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("consent/decide.py", "import gateway.clock", "gateway over adapters and consent"),
        ("adapters/interface.py", "import consent.choice", "gateway over adapters and consent"),
        ("mappings/plan.py", "import time", "mappings and consent do no I/O"),
        ("gateway/relay.py", "import aio_pika", "AMQP only in gateway.rabbit and the two brokers"),
        ("gateway/sight.py", "import sqlalchemy", "the database only in gateway.store"),
        ("gateway/render.py", "import fhir.resources", "fhir.resources only in mappings"),
        ("gateway/intake.py", "import cryptography", "cryptography and JOSE only"),
    ],
    ids=lambda value: value if value.endswith(".py") else "",
)
def test_a_planted_violation_breaks_its_contract(tmp_path: Path, file: str, line: str, contract: str) -> None:
    """Each contract of pyproject.toml is broken by an import that it forbids."""
    for name in ("gateway", "adapters", "consent", "mappings"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    planted = tmp_path / file
    text = planted.read_text()
    end = text.index('"""', 3) + 3
    planted.write_text(f"{text[:end]}\n\n{line}\n{text[end:]}")
    result = contracts_hold(tmp_path)
    broken = [row for row in result.stdout.splitlines() if "BROKEN" in row]
    assert result.returncode == 1
    assert any(row.startswith(contract) for row in broken), result.stdout


def test_every_file_says_what_it_is_for() -> None:
    """Every module of the product begins with a docstring of a full sentence."""
    for name in ("gateway", "adapters", "consent", "mappings"):
        for path in (ROOT / name).rglob("*.py"):
            first = path.read_text().splitlines()[0]
            assert first.startswith('"""'), path
            assert len(first) > 15, path


def test_every_planted_fault_finds_its_place() -> None:
    """A mutant whose old text moved away would never be planted again, and nobody would notice."""
    places = {(each.file, each.name): (ROOT / each.file).read_text().count(each.old) for each in MUTANTS}
    assert {name: count for name, count in places.items() if count != 1} == {}
