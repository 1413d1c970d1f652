"""A box that has an owner, at the end of a real line: it refuses, is unlocked, slows guesses down, hears its button."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from relay.cli.bench.servers import free_port
from relay.cli.guesses import FILE_NAME as GUESSES
from tests.interop.console_with_button import KEY, hold
from tests.interop.serial_person import SerialPerson
from tests.interop.test_console import OTHER_PASSWORD, PASSWORD, ROOT, login, process, wait_for_box

pytestmark = pytest.mark.interop

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return the folder of a box that has been set up with an owner, and is not running."""
    state, password = tmp_path / "state", tmp_path / "password"
    password.write_text(PASSWORD)
    command = [sys.executable, "-m", "relay", "provision", "--state", str(state), "--name", "box.example"]
    more = ["--owner", "anna", "--password-file", str(password), "--federation", "127.0.0.1:0"]
    subprocess.run(
        [*command, *more, "--client", f"127.0.0.1:{free_port()}"], cwd=ROOT, env=ENVIRONMENT, check=True, timeout=60
    )
    return state


@contextmanager
def at_the_cable(state: Path, folder: Path) -> Iterator[SerialPerson]:
    with SerialPerson(folder / "ttyBOX") as person, process("console", "--state", state, "--port", person.port):
        person.wake()
        yield person


def ask(person: SerialPerson, **fields: Any) -> dict[str, Any]:
    person.type("\x03\n" + json.dumps(fields) + "\n")
    text = person.read_until('"ok":')
    while not text.endswith("\r\n"):
        text += person.read_until("\r\n")
    reply: dict[str, Any] = json.loads(text.splitlines()[-1])
    return reply


def client_port(state: Path) -> int:
    shown = subprocess.run(
        [sys.executable, "-m", "relay", "ask", "--state", str(state)],
        input=b'{"verb": "show"}',
        cwd=ROOT,
        env=ENVIRONMENT,
        check=True,
        stdout=subprocess.PIPE,
    )
    return int(json.loads(shown.stdout)["result"]["settings"]["client"]["listen"].rpartition(":")[2])


def test_a_locked_box_shows_itself_and_takes_the_owners_password_of_this_moment(state: Path, tmp_path: Path) -> None:
    with at_the_cable(state, tmp_path) as person, process("up", "--headless", "--state", state):
        wait_for_box(state)
        assert "running: True" in person.say("status")
        person.say("user list", "Enter leaves): ")
        assert "Nothing done" in person.say("")
        assert ask(person, seq=1, verb="user_list")["code"] == "console.locked"
        assert ask(person, seq=2, verb="unlock", secret=OTHER_PASSWORD)["code"] == "console.wrong_secret"
        assert ask(person, seq=3, verb="unlock", secret=PASSWORD)["result"] == {"locked": False}
        person.wake()
        person.say("user passwd anna", "Password: ")
        person.say(OTHER_PASSWORD, "again: ")
        assert "Done" in person.say(OTHER_PASSWORD)
        assert login(client_port(state), "anna", OTHER_PASSWORD)["status"] == 200
        person.unplug()
        person.plug()
        assert "Changes take the owner's password" in person.wake()
        person.say("user list", "Enter leaves): ")
        assert "not the owner's password" in person.say(PASSWORD)
        person.say("user list", "Enter leaves): ")
        assert "@anna:box.example  admin" in person.say(OTHER_PASSWORD)
        for secret in (PASSWORD, OTHER_PASSWORD):
            assert secret not in person.say("show transcript")
            assert secret.encode() not in person.transcript


def test_guesses_slow_down_and_a_new_console_process_changes_nothing(state: Path, tmp_path: Path) -> None:
    with at_the_cable(state, tmp_path) as person:
        for number in range(3):
            assert ask(person, seq=number, verb="unlock", secret="no idea 1")["code"] == "console.wrong_secret"
    # As if many more had been wrong, so that the wait is longer than this machine may take to answer.
    assert json.loads((state / GUESSES).read_text())["wrong"] == 3
    counted = json.loads((state / GUESSES).read_text())
    (state / GUESSES).write_text(json.dumps({**counted, "wrong": 12}))
    with at_the_cable(state, tmp_path) as person:
        refusal = ask(person, seq=1, verb="unlock", secret=PASSWORD)
        assert refusal["code"] == "rate_limited"
        assert refusal["retryable"] is True
        assert 400 < refusal["retry_after_s"] <= 512
        person.wake()
        person.say("restart", "Enter leaves): ")
        assert "minutes" in person.say(PASSWORD)


def test_the_held_button_allows_changes_and_held_longer_it_forgets_everything(state: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "event0"
    os.mkfifo(pipe)
    (state / "profile.toml").write_text(f'[button]\nsource = "evdev"\ndevice = "{pipe}"\nkey = {KEY}\n')
    with SerialPerson(tmp_path / "ttyBOX") as person:
        command = [sys.executable, "-m", "tests.interop.console_with_button", "console", "--state", str(state)]
        console = subprocess.Popen([*command, "--port", str(person.port)], cwd=ROOT, env=ENVIRONMENT)
        try:
            assert "or its button held for 3 s" in person.wake()
            person.say("user list", "press Enter): ")
            hold(pipe, 4)
            person.read_until("changes are allowed for 2 minutes")
            assert "@anna:box.example" in person.say("")
            assert ask(person, seq=1, verb="hello")["result"]["locked"] is False
            person.wake()
            hold(pipe, 8)
            person.read_until("nothing was forgotten")
            hold(pipe, 11, release=False)
            person.read_until("this box is new again", within_s=60)
        finally:
            console.terminate()
            assert console.wait(10) == 0
    assert list(state.iterdir()) == []
