"""Run the demo: a gateway in demo mode with its partners, telling its story and then serving."""

from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from gateway.demo.partners import open_partners
from gateway.demo.story import Story
from gateway.demo.vlinderstad import GROUNDS
from gateway.logs import open_log
from gateway.server import serve
from gateway.settings import load_settings


async def run_demo(console: Console, data_dir: Path, **known: Any) -> None:
    """Serve the demo until it is stopped. Raises SettingsError."""
    settings = load_settings(None, mode="demo", data_dir=data_dir, grounds_file=_grounds_file(data_dir), **known)
    with closing(open_log(data_dir / "logs")) as log:
        async with open_partners(log) as (_, partner_url):
            await serve(settings, Story(console, data_dir, partner_url).tell)


def _grounds_file(data_dir: Path) -> Path:
    data_dir.mkdir(parents=True, exist_ok=True)
    path = data_dir / "grounds.json"
    path.write_bytes(msgspec.json.encode(GROUNDS))
    return path
