"""The command line, run as a person runs it: against a demo that is served by a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import msgspec
import pytest
from forms import FOLDERS, NAMES
from msgspec.structs import replace

from gateway.callers import public_jwks, read_private_key
from gateway.demo.vlinderstad import PARTIES, entry_of, key_file

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
    shown = planbrug("deliveries", "show", done["id"], "--json", folder=demo.folder)
    stopped = planbrug("deliveries", "stop", done["id"], "--json", folder=demo.folder)
    retried = planbrug("deliveries", "retry", done["id"], folder=demo.folder)
    assert json.loads(shown.stdout)["sequence"] == done["sequence"]
    assert stopped.returncode == 1
    assert "only a planned, queued, waiting or sent delivery can be stopped" in stopped.stderr
    assert retried.returncode == 1
    assert "only a parked or waiting delivery can be tried again" in retried.stderr
    assert len(shown.stdout.splitlines()) == 1


def test_deliveries_are_listed_per_recipient_and_per_state(demo: Demo) -> None:
    """`--recipient` and `--state` narrow the list; what nobody is, is an empty list, and what no state is, is refused."""
    everything = json.loads(planbrug("deliveries", "list", "--json", folder=demo.folder).stdout)["items"]
    kompas = json.loads(planbrug("deliveries", "list", "--recipient", "kompas", "--json", folder=demo.folder).stdout)
    assert kompas["items"] == [row for row in everything if row["recipient"] == "kompas"]
    assert 0 < len(kompas["items"]) < len(everything)
    nobody = planbrug("deliveries", "list", "--recipient", "niemand", "--json", folder=demo.folder)
    assert (nobody.returncode, json.loads(nobody.stdout)) == (0, {"items": [], "next": None})
    wrong = planbrug("deliveries", "list", "--state", "zoek", folder=demo.folder)
    assert wrong.returncode == 1
    assert "give one of" in wrong.stderr


@pytest.mark.parametrize("what", ["show", "stop", "retry"])
def test_a_delivery_that_is_not_there_is_said_in_one_sentence(demo: Demo, what: str) -> None:
    """Exit 1 for one that does not exist, also when its name would lead elsewhere; 2 without a name."""
    for name in ("nergens", "../plans?a=b"):
        answer = planbrug("deliveries", what, name, folder=demo.folder)
        assert (answer.returncode, answer.stdout) == (1, "")
        assert "There is nothing here for you (404)" in answer.stderr
    assert planbrug("deliveries", what, folder=demo.folder).returncode == 2


class Hanging:
    """A receiver in this process that takes everything and answers nothing."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/in"
        self._taken: list[socket.socket] = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self._taken.append(connection)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        for each in (self._listening, *self._taken):
            each.close()


def kompas_receives_at(demo: Demo, url: str) -> None:
    """Let the directory of a demo say so, as its administrator."""
    (party,) = [party for party in PARTIES if party.organisation == "kompas"]
    keys = public_jwks(read_private_key(key_file(demo.folder, party.client)))
    entry = entry_of(party, keys, "http://127.0.0.1:9")
    entry = replace(entry, endpoints=(replace(entry.endpoints[0], url=url),))
    token = planbrug("token", "admin", folder=demo.folder).stdout.strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    body = msgspec.json.encode(entry)
    with urlopen(Request(f"{demo.url}/v1/organisations/kompas", body, headers, method="PUT"), timeout=30) as answer:
        assert answer.status == 200


def kompas_row(demo: Demo, plan_id: str, state: str) -> dict[str, object]:
    """Wait until the delivery of a plan to Kompas is in this state."""
    end = time.monotonic() + 60
    asked = ("deliveries", "list", "--recipient", "kompas", "--plan", plan_id, "--json")
    while time.monotonic() < end:
        (row,) = json.loads(planbrug(*asked, folder=demo.folder).stdout)["items"]
        if row["state"] == state:
            found: dict[str, object] = row
            return found
    raise TimeoutError


def test_a_delivery_to_a_receiver_that_hangs_is_stopped_and_tried_again(tmp_path: Path) -> None:
    """`stop` parks it while the receiver hangs; `retry` sends it at once to where the directory says now."""
    demo, hanging = Demo(tmp_path / "demo"), Hanging()
    demo.wait()
    try:
        document = json.loads((EXAMPLES / "samen-op-orde" / "source.json").read_text())
        (tmp_path / "plan.json").write_text(json.dumps({**document, "planNummer": "een-ander"}))
        kompas_receives_at(demo, hanging.url)
        sent = planbrug("plan", "send", str(tmp_path / "plan.json"), "--json", folder=demo.folder)
        plan_id = json.loads(sent.stdout)["planId"]
        row = kompas_row(demo, plan_id, "sent")
        stopped = planbrug("deliveries", "stop", str(row["id"]), "--json", folder=demo.folder)
        told = json.loads(stopped.stdout)
        assert (stopped.returncode, told["state"], told["reason"]) == (0, "parked", "stopped")
        assert kompas_row(demo, plan_id, "parked") == told
        kompas_receives_at(demo, "http://127.0.0.1:1/in")
        retried = planbrug("deliveries", "retry", str(row["id"]), "--json", folder=demo.folder)
        assert (retried.returncode, json.loads(retried.stdout)["reason"]) == (0, None)
        after = kompas_row(demo, plan_id, "waiting")
        assert (after["reason"], after["sequence"], after["attempts"]) == ("not-connected", row["sequence"], 1)
    finally:
        demo.stop()
        hanging.close()


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


@pytest.mark.parametrize("name", NAMES)
def test_a_packaged_format_proves_itself(name: str) -> None:
    """`planbrug format check` finds every example right and every mapped path used."""
    answer = planbrug("format", "check", str(FOLDERS / name))
    assert (answer.returncode, answer.stdout.splitlines()[-1]) == (
        0,
        "4 examples, 0 wrong; 0 mapped paths stand in no example",
    )


def test_a_command_without_a_gateway_says_how_to_start_one(tmp_path: Path) -> None:
    """Without a data folder, the message names the command that makes one."""
    answer = planbrug("deliveries", "list", folder=tmp_path)
    assert answer.returncode == 1
    assert "make run" in answer.stderr
