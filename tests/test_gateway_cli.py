"""The command line, run as a person runs it: against a demo that is served by a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

PLANBRUG = str(Path(sys.executable).with_name("planbrug"))
EXAMPLES = Path(__file__).parents[1] / "mappings" / "formats" / "plan-van-aanpak" / "examples"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PLANBRUG_")}


def planbrug(*words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    asked = [*words, *(("--data-dir", str(folder)) if folder else ())]
    return subprocess.run([PLANBRUG, *asked], capture_output=True, text=True, check=False, timeout=60, env=ENVIRONMENT)


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        return int(listening.getsockname()[1])


class Demo:
    """A demo in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        command = [PLANBRUG, "demo", "--data-dir", str(folder), "--port", str(port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)

    def wait(self) -> None:
        """Wait until the gateway says that it is ready; fail when its process ends first."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            assert self.process.poll() is None
            try:
                with urlopen(f"{self.url}/health/ready", timeout=5):
                    return
            except URLError:
                time.sleep(0.05)
        raise TimeoutError

    def stop(self) -> tuple[int, str]:
        """Ask it to stop as an operator does; return its exit code and what it said."""
        self.process.send_signal(signal.SIGTERM)
        said, _ = self.process.communicate(timeout=30)
        return self.process.returncode, said


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One demo for the commands that only look."""
    running = Demo(tmp_path_factory.mktemp("demo"))
    running.wait()
    yield running
    running.stop()


def known(folder: Path) -> dict[str, dict[str, str]]:
    """Return what demo.json says."""
    found: dict[str, dict[str, str]] = json.loads((folder / "demo.json").read_text())
    return found


def test_the_demo_tells_its_story_stops_with_zero_and_starts_again_unchanged(tmp_path: Path) -> None:
    """The first start creates the plan, SIGTERM ends it with 0, the second start finds everything as it was."""
    stories = []
    for _ in range(2):
        running = Demo(tmp_path)
        running.wait()
        code, said = running.stop()
        assert code == 0
        stories.append(said)
    assert "created, version 1" in stories[0]
    assert "unchanged, version 1" in stories[1]
    for party in ("Aanbieder Kompas", "Zorggroep De Linde", "Backoffice Vlinderstad"):
        assert all(f"{party} by" in story and "acknowledged" in story for story in stories)
    assert "The resident has said no to this." in stories[0]


def test_a_token_is_all_that_token_prints(demo: Demo) -> None:
    """`planbrug token NAME` prints one JWT."""
    printed = planbrug("token", "team", folder=demo.folder)
    assert printed.returncode == 0
    assert len(printed.stdout.split()) == 1
    assert printed.stdout.count(".") == 2


def test_a_plan_is_sent_and_shown_to_each_as_they_may_see_it(demo: Demo) -> None:
    """The team sends a plan; the team sees it in its own format, a stranger to it sees nothing."""
    sent = planbrug(
        "plan", "send", str(EXAMPLES / "concept-zonder-akkoord" / "source.json"), "--json", folder=demo.folder
    )
    plan_id = json.loads(sent.stdout)["planId"]
    shown = planbrug("plan", "show", plan_id, "--format", "plan-van-aanpak", folder=demo.folder)
    hidden = planbrug("plan", "show", plan_id, "--as", "provider-a", folder=demo.folder)
    assert json.loads(shown.stdout)["planId"] == plan_id
    assert hidden.returncode == 1
    assert "There is nothing here for you (404)" in hidden.stderr


def test_choices_are_shown_set_and_withdrawn(demo: Demo, tmp_path: Path) -> None:
    """What `choices show --json` prints can be edited and set; a stale file is refused."""
    resident = known(demo.folder)["residents"]["marloes"]
    shown = planbrug("choices", "show", resident, "--json", folder=demo.folder)
    kept = json.loads(shown.stdout)
    file = tmp_path / "choices.json"
    file.write_text(json.dumps({**kept, "choices": kept["choices"][:-1]}))
    done = planbrug("choices", "set", resident, str(file), "--json", folder=demo.folder)
    stale = planbrug("choices", "set", resident, str(file), folder=demo.folder)
    assert json.loads(done.stdout)["version"] == kept["version"] + 1
    assert len(json.loads(done.stdout)["choices"]) == len(kept["choices"]) - 1
    assert stale.returncode == 1
    assert "read it again" in stale.stderr


def test_deliveries_are_listed_shown_and_refuse_what_is_not_possible(demo: Demo) -> None:
    """An acknowledged delivery can be looked at, and neither stopped nor tried again."""
    listed = json.loads(planbrug("deliveries", "list", "--json", folder=demo.folder).stdout)["items"]
    done = next(row for row in listed if row["state"] == "acknowledged")
    shown = planbrug("deliveries", "show", done["id"], folder=demo.folder)
    stopped = planbrug("deliveries", "stop", done["id"], folder=demo.folder)
    assert json.loads(shown.stdout)["sequence"] == done["sequence"]
    assert stopped.returncode == 1
    assert "only a planned, queued, waiting or notified delivery can be stopped" in stopped.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("plan", "send", "no-such-file.json"), 2, "cannot be read"),
        (("token", "nobody"), 1, "no client nobody; there are admin, backoffice"),
        (("plan", "dance"), 2, "No such command"),
        (("format", "check", "no-such-folder"), 1, "a format folder holds mapping.yaml and schema.json"),
        (("format", "map", str(EXAMPLES / "elk-veld" / "plan.json")), 1, "give"),
    ],
    ids=[
        "a file that is not there",
        "a client that is not there",
        "a command that is not there",
        "no format folder",
        "another document",
    ],
)
def test_a_wrong_call_ends_with_its_code_and_says_what_to_do(
    demo: Demo, words: tuple[str, ...], code: int, said: str
) -> None:
    """Usage errors end with 2, refusals with 1, each with one sentence."""
    answer = planbrug(*words, folder=None if words[0] == "format" else demo.folder)
    assert answer.returncode == code
    assert said in answer.stderr


def test_the_shipped_format_proves_itself() -> None:
    """`planbrug format check` finds every example right and every mapped path used."""
    answer = planbrug("format", "check", str(EXAMPLES.parent))
    assert (answer.returncode, answer.stdout.splitlines()[-1]) == (
        0,
        "4 examples, 0 wrong; 0 mapped paths stand in no example",
    )


def test_a_command_without_a_gateway_says_how_to_start_one(tmp_path: Path) -> None:
    """Without a data folder, the message names the command that makes one."""
    answer = planbrug("deliveries", "list", folder=tmp_path)
    assert answer.returncode == 1
    assert "make run" in answer.stderr
