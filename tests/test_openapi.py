"""What the gateway says of itself is true: the document is OpenAPI, holds every route, and every answer fits it."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace
from world import World, open_world

from gateway.callers import new_key, public_jwks, write_private_key
from gateway.directory import SCOPES, Client

ROOT = Path(__file__).parent.parent
EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", "0"))
"""How many requests are drawn for each route; a number takes the long way, through every rule of every plan format too."""
FEW_EXAMPLES = 8
SEED = os.environ.get("CONTRACT_SEED", "20261125")


async def facts_of(world: World, folder: Path) -> Path:
    """Write what the hooks need to know: a client with every scope, and ids that exist."""
    plan, residents = await world.family()
    entries = (await world.gateway.directory.now()).entries
    home, key = entries["wijkteam-noord"], new_key()
    client = Client(client_id="contract", purpose="support", scopes=tuple(sorted(SCOPES)), jwks=public_jwks(key))
    await world.gateway.directory.put(replace(home, clients=(*home.clients, client)))
    write_private_key(folder / "contract.jwk", key)
    deliveries = [row["id"] for row in await world.deliveries(plan)]
    choices = (await world.team.want("GET", f"/v1/residents/{residents['marloes']}/choices"))["choices"]
    people = sorted(residents.values())
    by_operation = {
        "showPlan": {"id": [plan]},
        "getChoices": {"id": people},
        "putChoices": {"id": people},
        "addChoice": {"id": people},
        "withdrawChoice": {"id": [residents["marloes"]], "choiceId": [choice["id"] for choice in choices]},
        "showView": {"id": people, "organisationId": ["kompas", "de-linde", "backoffice"]},
        **{name: {"id": deliveries} for name in ("showDelivery", "retryDelivery", "stopDelivery")},
        "pullDocument": {"id": deliveries},
        "confirmDocument": {"id": deliveries},
    }
    facts = {
        "clientId": client.client_id,
        "keyFile": str(folder / "contract.jwk"),
        "tokenUrl": world.known.token_url,
        "baseUrl": world.gateway.public_url,
        "organisations": sorted(entries),
        "plan": plan,
        "ids": by_operation,
    }
    (folder / "facts.json").write_text(json.dumps(facts))
    return folder / "facts.json"


def configured(folder: Path) -> Path:
    """Write how Schemathesis asks. No check is off; the short way leaves out the thousands of cases that a format's schema has."""
    text = """
[checks.missing_required_header]
# 428 Precondition Required (RFC 6585 section 3) is what an absent If-Match gets.
expected-statuses = [400, 401, 403, 406, 415, 422, 428]
"""
    if not EXAMPLES:
        text += """
[[operations]]
include-operation-id = "sendPlan"
phases.coverage.enabled = false
"""
    (folder / "schemathesis.toml").write_text(text)
    return folder / "schemathesis.toml"


@pytest.mark.timeout(240 + EXAMPLES * 60)
async def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    """Every check of Schemathesis on every route, with data that fits and data that does not, none disabled."""
    (tmp_path / "run").mkdir()
    async with open_world(tmp_path / "world") as world:
        facts = await facts_of(world, tmp_path / "run")
        run = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(configured(tmp_path / "run")),
            "run", f"{world.gateway.public_url}/v1/openapi.json", "--checks", "all", "--max-examples", str(EXAMPLES or FEW_EXAMPLES),
            "--seed", SEED, "--continue-on-failure", "--output-truncate", "false", *os.environ.get("CONTRACT_OPTIONS", "").split(),
            cwd=tmp_path / "run",
            env={
                **os.environ,
                "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
                "SCHEMATHESIS_HOOKS": "contract_hooks",
                "CONTRACT_FACTS": str(facts),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        printed = (await run.communicate())[0].decode()
    print(printed)
    assert run.returncode == 0, printed
