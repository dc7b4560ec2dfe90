"""Formats on the shelf: an integrator's folder works without Python or a restart, and a broken one changes nothing."""

import json
import os
from pathlib import Path
from typing import Any

from world import World, example, open_world

from gateway.logs import open_log
from gateway.shelf import Shelf

MAPPING = """
name: buurtplan
version: "1"
title: A plan of the neighbourhood
codes:
  fase: {praten: concept, afgesproken: agreed}
  gebied: {geld: finances, huis: housing}
header:
  - {source: nr, plan: number}
  - {source: fase, plan: status, codes: fase}
  - {source: looptijd, plan: [startsOn, endsOn], split: "/", type: date}
residents: {each: /mensen, key: wie}
label:
  - {source: gebied, plan: label/domain, codes: gebied}
rules:
  - part: identity
    each: /mensen
    fields:
      - {source: naam, plan: given}
      - {source: geboren, plan: birthDate, type: date}
  - part: support-question
    each: /vragen
    key: id
    fields:
      - {source: vraag, plan: text}
"""
SCHEMA = {"type": "object", "required": ["mensen"]}
DOCUMENT = {
    "nr": "7",
    "fase": "afgesproken",
    "looptijd": "2026-01-01/2026-12-31",
    "mensen": [{"wie": "m", "naam": "Marloes", "geboren": "1989-03-14"}],
    "vragen": [{"id": "1", "vraag": "Wie helpt mij?", "gebied": "geld", "kleur": "rood"}],
}


def put_folder(place: Path, mapping: str = MAPPING, stamp: int = 1) -> None:
    """Write a format folder whose files carry a modification time of their own."""
    folder = place / "buurtplan"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("mapping.yaml", mapping), ("schema.json", json.dumps(SCHEMA))):
        (folder / name).write_text(text)
        os.utime(folder / name, (stamp, stamp))


async def test_a_format_in_a_folder_works_without_touching_python(tmp_path: Path) -> None:
    """A plan in a format that a folder defines comes in with its loss reported, and goes out in that format again."""
    put_folder(tmp_path / "formats")
    async with open_world(tmp_path / "data", formats_dir=tmp_path / "formats") as world:
        sent = await world.send(DOCUMENT, form="buurtplan")
        assert sent.status == 201
        assert sent.body["loss"] == [{"pointer": "/vragen/0/kleur", "reason": "not-mapped"}]
        again = await world.team.want("GET", f"/v1/plans/{sent.body['planId']}?format=buurtplan")
        assert [row["vraag"] for row in again["vragen"]] == ["Wie helpt mij?"]
        assert again["looptijd"] == DOCUMENT["looptijd"]


def test_a_changed_folder_is_read_again_and_a_broken_one_is_refused(tmp_path: Path) -> None:
    """The version of a changed mapping counts at once; a broken mapping is logged and the old one stays."""
    put_folder(tmp_path)
    log = open_log(tmp_path / "logs", strict=True)
    shelf = Shelf(tmp_path, log)
    put_folder(tmp_path, MAPPING.replace('version: "1"', 'version: "2"'), stamp=2)
    changed = shelf.get("buurtplan")
    put_folder(tmp_path, "name: [", stamp=3)
    kept = shelf.get("buurtplan")
    log.close()
    assert changed is not None
    assert changed.version == "2"
    assert kept is changed
    assert "format_refused" in (tmp_path / "logs" / "planbrug.jsonl").read_text()


def test_a_new_folder_appears_on_the_shelf(tmp_path: Path) -> None:
    """A folder that is put there while the gateway runs can be used."""
    shelf = Shelf(tmp_path, open_log(None))
    assert shelf.get("buurtplan") is None
    put_folder(tmp_path)
    assert shelf.names() == ("1gezin1plan", "buurtplan", "plan-van-aanpak", "veilig-verder-plan")


async def test_a_yes_to_everything_opens_nothing_of_a_safety_plan_and_a_yes_to_safety_only_that(tmp_path: Path) -> None:
    """Sent without loss, and without a word about secrecy; not even the names go, for they tell that there is such a plan."""
    async with open_world(tmp_path) as world:
        document = unmarked(example("rust-aan-de-deur", form="veilig-verder-plan"))
        sent = (await world.send(document, form="veilig-verder-plan")).body
        everything = await permitted(world, sent, [])
        named = await permitted(world, sent, [{"kinds": ["safety"]}])
    assert sent["loss"] == []
    assert everything == set()
    assert named == {"safety"}


async def test_a_yes_to_everything_leaves_the_seventh_section_of_a_household_plan_closed(tmp_path: Path) -> None:
    """Worries about basic care and safety are restricted; the other worries go."""
    async with open_world(tmp_path) as world:
        document = unmarked(example("iedereen-aan-het-woord", form="1gezin1plan"))
        sent = (await world.send(document, form="1gezin1plan")).body
        opened = await permitted(world, sent, [], by=("kind", "domain"))
    assert sent["loss"] == []
    assert ("worry", "education") in opened
    assert ("worry", "safety") not in opened


def unmarked(node: Any) -> Any:
    """Return a document that says of nothing whether it is confidential."""
    if isinstance(node, list):
        return [unmarked(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {name: unmarked(value) for name, value in node.items() if name != "vertrouwelijk"}


async def permitted(
    world: World, sent: dict[str, Any], parts: list[dict[str, Any]], by: tuple[str, ...] = ("kind",)
) -> set[Any]:
    """Return what Kompas may have of the parts about Marloes and Finn, once both of them permit these parts."""
    residents = {row["reference"]: row["id"] for row in sent["residents"]}
    found = set()
    for name, capacity in (("marloes", "resident"), ("finn", "parent")):
        choice = {
            "recipient": {"type": "organisation", "organisation": "kompas"},
            "parts": parts,
            "effect": "permit",
            "givenBy": {"capacity": capacity, "person": "marloes"},
            "evidence": "gesprek",
        }
        assert (await world.choose(residents[name], [choice])).status == 200
    for resident in residents.values():
        view = await world.team.want("GET", f"/v1/residents/{resident}/views/kompas?planId={sent['planId']}")
        found |= {tuple(part[key] for key in by) for part in view["parts"] if part["permitted"]}
    return found if len(by) > 1 else {kind for (kind,) in found}
