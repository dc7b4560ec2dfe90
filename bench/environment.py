"""The environment of what is no part of the gateway: bench/.venv."""

import subprocess
import sys

import childs


def have_own_environment() -> None:
    """Make bench/.venv when its list has changed: the gateway's own environment stays as it is."""
    wanted, made = childs.HERE / "requirements.txt", childs.HERE / ".venv" / "installed"
    if made.exists() and made.read_text() == wanted.read_text():
        return
    print("setting up bench/.venv (once, about a minute)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(childs.HERE / ".venv")], check=True)
    subprocess.run(
        [str(childs.PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(wanted)], check=True
    )
    made.write_text(wanted.read_text())
