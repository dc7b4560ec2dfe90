"""Formats on the shelf: an integrator's folder works without Python or a restart, and a broken one changes nothing."""

import json
import os
from pathlib import Path

from world import open_world

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
    assert shelf.names() == ("1gezin1plan", "buurtplan", "plan-van-aanpak")
