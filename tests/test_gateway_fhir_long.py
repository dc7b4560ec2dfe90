"""What is longer than a code is usually: it is found, or at least stands nothing in the way, on either database."""

from pathlib import Path
from typing import Any

import pytest
from asking import found, seen_by
from world import example, open_world


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_a_long_code_is_no_obstacle_to_a_search(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    """A reference number of hundreds of characters: every type can be searched, and the decision is found by it."""
    known = {"database_url": request.getfixturevalue("postgres_url")} if database == "postgresql" else {}
    long = "é" * 300

    def edit(document: dict[str, Any]) -> None:
        document["besluiten"][0]["kenmerk"] = long

    async with open_world(tmp_path, **known) as world:
        plan = (await world.send(example(edit=edit))).body["planId"]
        for client in ("team", "backoffice"):
            seen = await seen_by(world, client, [plan])
            assert seen
            for kind in sorted({kind for kind, _ in seen}):
                assert await found(world, client, kind) == {end for of, end in seen if of == kind}
        kind, decision = next(name for name, each in seen.items() if long in str(each.get("identifier")))
        for pairs in ([("identifier", long)], [("identifier", f"x,{long}"), ("status", "final")]):
            assert await found(world, "backoffice", kind, pairs) == {decision}
        assert await found(world, "backoffice", kind, [("identifier", long[:-1])]) == set()
