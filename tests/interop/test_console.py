"""A box from nothing: set up over a serial line that is unplugged in the middle, served, asked, reset."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from relay.cli.bench.servers import free_port
from tests.interop.peer_clients import nio_client
from tests.interop.peer_environments import nio_python
from tests.interop.serial_person import SerialPerson

pytestmark = pytest.mark.interop

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "correct horse battery"
OTHER_PASSWORD = "staple of another kind"


@contextmanager
def process(*words: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run one command of the relay until the block ends."""
    command = [sys.executable, "-m", "relay", *(str(word) for word in words)]
    running = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        yield running
    finally:
        running.terminate()
        running.wait(15)


def login(port: int, user: str, password: str) -> dict[str, Any]:
    """Log in as an app does; return the answer, its status under `status`."""
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": user},
        "password": password,
    }
    url = f"http://127.0.0.1:{port}/_matrix/client/v3/login"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return {"status": answer.status, **json.load(answer)}
    except urllib.error.HTTPError as error:
        with error:
            return {"status": error.code, **json.load(error)}


def wait_for_box(state: Path) -> None:
    command = [sys.executable, "-m", "relay", "status", "--state", str(state), "--wait", "20"]
    subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, stdout=subprocess.DEVNULL
    )


def test_a_box_is_set_up_over_a_line_that_is_unplugged_in_the_middle(tmp_path: Path) -> None:
    state, client, federation = tmp_path / "state", free_port(), free_port()
    with SerialPerson(tmp_path / "ttyBOX") as person, process("console", "--state", state, "--port", person.port):
        assert "not set up yet" in person.wake()
        person.say(f"set name localhost:{federation}")
        person.say(f"set federation 127.0.0.1:{federation}")
        assert "missing: owner" in person.say("plan")
        person.type("set cli")
        person.unplug()
        person.plug()
        assert "not set up yet" in person.wake()
        assert f"name = localhost:{federation}" in person.say("plan")
        person.say(f"set client 127.0.0.1:{client}")
        person.say("set owner anna")
        person.say("set password", "Password: ")
        person.say(PASSWORD, "again: ")
        person.say(PASSWORD)
        assert "Nothing is missing" in person.say("plan")
        done = person.say("apply", "relay> ", within_s=60)
        assert f"http://127.0.0.1:{client}" in done
        assert "█" in done
        assert f"@anna:localhost:{federation}" in done
        assert "is not running" in person.say("status")
        with process("up", "--headless", "--state", state):
            wait_for_box(state)
            assert "running: True" in person.say("status")
            user = f"@anna:localhost:{federation}"
            with nio_client(nio_python()) as app:
                base, store = f"http://127.0.0.1:{client}", tmp_path / "nio"
                store.mkdir()
                assert app.call("login", base=base, user=user, password=PASSWORD, store=str(store))["user"] == user
                assert app.call("sync")["join"] == []
            assert login(client, "anna", "wrong")["status"] == 403
            person.say("user add otto", "Password: ")
            person.say(OTHER_PASSWORD, "again: ")
            assert "@otto:" in person.say(OTHER_PASSWORD)
            assert login(client, "otto", OTHER_PASSWORD)["status"] == 200
            assert "#invite=" in person.say("invite")
        assert PASSWORD.encode() not in person.transcript
        assert OTHER_PASSWORD.encode() not in person.transcript
    assert sorted(path.name for path in state.iterdir() if path.name in ("console", "provisioning")) == []


def test_unplugged_while_it_is_being_set_up_the_box_is_whole_afterwards(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with SerialPerson(tmp_path / "ttyBOX") as person, process("console", "--state", state, "--port", person.port):
        person.wake()
        person.type("setup\rbox.example\ranna\r" + f"{PASSWORD}\r" * 2 + f"127.0.0.1:{free_port()}\r\r\r")
        person.read_until("Setting up")
        person.unplug()
        person.plug()
        assert "relay> " in person.wake(within_s=60)
        person.say("user list", "Enter leaves): ")
        assert "@anna:box.example  admin" in person.say(PASSWORD)


def test_a_program_on_the_line_sets_a_box_up_asks_again_and_resets_it(tmp_path: Path) -> None:
    state = tmp_path / "state"

    def ask(**fields: Any) -> dict[str, Any]:
        person.type(json.dumps(fields) + "\n")
        lines = person.read_until('"ok":').splitlines()
        if not lines[-1].endswith("}"):
            lines[-1] += person.read_until("}\r\n")
        reply: dict[str, Any] = json.loads(lines[-1])
        return reply

    with SerialPerson(tmp_path / "ttyBOX") as person, process("console", "--state", state, "--port", person.port):
        person.wake()
        settings = {"name": "box.example", "owner": "anna", "password": PASSWORD, "federation": "127.0.0.1:0"}
        assert ask(seq=1, verb="set", settings=settings)["result"]["missing"] == []
        first = ask(seq=2, verb="apply")
        assert first["result"]["owner"] == "@anna:box.example"
        assert ask(seq=2, verb="apply") == first
        assert ask(seq=3, verb="user_list")["result"]["users"][0]["user"] == "@anna:box.example"
        assert ask(seq=4, verb="factory_reset", confirm="other.example")["code"] == "forbidden"
        assert ask(seq=5, verb="factory_reset", confirm="box.example")["ok"]
        assert ask(seq=6, verb="hello")["result"]["provisioned"] is False
    assert list(state.iterdir()) == []


def test_up_in_a_terminal_asks_serves_and_the_second_time_asks_nothing(tmp_path: Path) -> None:
    state, client = tmp_path / "state", free_port()
    first = TerminalProcess("up", "--state", state)
    with first:
        first.read_until("name: ")
        first.type(f"localhost:{free_port()}\ranna\r" + f"{PASSWORD}\r" * 2 + f"127.0.0.1:0\r127.0.0.1:{client}\r\r")
        first.read_until("ready ", within_s=60)
        assert login(client, "anna", PASSWORD)["status"] == 200
        # The terminal is as it was: Ctrl-C is a signal again.
        first.type("\x03")
        assert first.wait() == 0
    second = TerminalProcess("up", "--state", state)
    with second:
        assert "name:" not in second.read_until("ready ", within_s=60).replace("name=", "")
        assert login(client, "anna", PASSWORD)["status"] == 200
    assert PASSWORD.encode() not in first.transcript + second.transcript


class TerminalProcess(SerialPerson):
    """A command of the relay in a terminal of its own."""

    def __init__(self, *words: object) -> None:
        super().__init__(Path("unused"))
        import pty

        self._words = [str(word) for word in words]
        self._process_number, self._master = pty.fork()
        if self._process_number == 0:
            os.chdir(ROOT)
            os.execve(
                sys.executable,
                [sys.executable, "-m", "relay", *self._words],
                {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "unknown"},
            )
        self._code: int | None = None

    def plug(self) -> None:
        """A terminal is there from the start."""

    def wait(self) -> int:
        """Return the exit code."""
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self._process_number, 0)[1])
        return self._code

    def __exit__(self, *_: object) -> None:
        if self._code is None:
            os.kill(self._process_number, 15)
            self.wait()
        os.close(self._master)
