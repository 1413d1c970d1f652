"""From a box that cannot start back to one that runs, by what a person types at the cable and nothing else."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.fakes.small_card import card
from tests.interop.box_process import PASSWORD, ROOT, BoxProcess
from tests.interop.serial_person import SerialPerson
from tests.interop.test_console import process
from tests.interop.test_trial import ask
from tests.interop.waiting import wait_until

pytestmark = pytest.mark.interop


@contextmanager
def supervised(box: BoxProcess, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the box as a service is run; it must not end by itself."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard, (tmp_path / "log").open("wb") as log:
        heard.bind(str(tmp_path / "notify"))
        command = [sys.executable, "-m", "relay", "up", "--headless", "--state", str(box.state)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": str(tmp_path / "notify")}
        running = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield running
            assert running.poll() is None
        finally:
            running.terminate()
            assert running.wait(15) == 0
            (tmp_path / "notify").unlink()


def status_until(person: SerialPerson, text: str) -> str:
    seen: list[str] = []

    def look() -> bool:
        seen.append(person.say("status"))
        return text in seen[-1]

    wait_until(look, 20)
    return seen[-1]


def test_settings_flash_and_starts_that_fail_are_put_right_by_cable(authority: trustme.CA, tmp_path: Path) -> None:
    box = BoxProcess(tmp_path / "box", authority)
    settings = (box.state / "relay.toml").read_bytes()
    roots = [box.state / "journal" / name for name in ("root.a", "root.b")]
    with (
        SerialPerson(tmp_path / "ttyBOX") as person,
        process("console", "--state", box.state, "--port", person.port) as console,
    ):
        (box.state / "relay.toml").write_bytes(b"\0" * 500)
        with supervised(box, tmp_path):
            person.settle()
            said = status_until(person, "safe mode")
            assert "is not TOML" in said
            assert "next: rollback at the console" in said
            assert "is not TOML" in person.say("show")
            person.say("rollback", "leaves): ")
            assert "The box starts again" in person.say(PASSWORD)
            status_until(person, "running: True")
            assert (box.state / "relay.toml").read_bytes() == settings
            assert "Restarting in safe mode" in person.say("restart safe")
            assert "it was asked for" in status_until(person, "safe mode")
        for root in roots:
            root.write_bytes(os.urandom(4096))
        with supervised(box, tmp_path):
            status_until(person, "neither root page of the journal opens")
            person.say("restart safe")
            status_until(person, "safe mode")
            assert "root" in person.say("repair", "whether the box runs with it.", within_s=60)
            assert "healthy: True" in status_until(person, "running: True")
            assert box.login().token
        (box.state / "failed-starts").write_text("signal killed KILL\n" * 3)
        with supervised(box, tmp_path):
            assert "signal killed KILL" in status_until(person, "3 starts in a row failed")
            person.say("restart")
            status_until(person, "running: True")
            assert not (box.state / "failed-starts").exists()
        assert console.poll() is None
    assert b"Traceback" not in person.transcript


def test_a_card_that_takes_no_writes_leaves_the_cable_working(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere/at/all")
    box = BoxProcess(tmp_path / "box", authority, settings={"store.journal_segments": "4"})
    with (
        SerialPerson(tmp_path / "ttyBOX") as person,
        process("console", "--state", box.state, "--port", person.port) as console,
    ):
        person.settle()
        for how, found in (("full", "0 MiB are free"), ("read-only", "takes no writes")):
            with card(box.state, how):
                person.settle()
                person.say("lock")
                assert "is not running" in person.say("status")
                doctor = person.say("doctor")
                assert found in doctor
                assert "next: " in doctor
                assert "store.journal_segments = 4" in person.say("show")
                assert "error: there is no system bus" in person.say("network")
                assert "diagnostics" in person.say("help")
                assert ask(person, seq=1, verb="status")["ok"]
                assert ask(person, seq=2, verb="plan")["ok"]
                refused = person.say("\r\runlock", "leaves): ") + person.say(PASSWORD)
                assert "Changes are allowed" in refused or "cannot be counted" in refused
        assert console.poll() is None
    assert b"Traceback" not in person.transcript
