"""Settings on trial on a box that runs: kept when somebody says so, back by themselves when nobody does."""

import json
from pathlib import Path
from typing import Any

import pytest
import trustme

from relay.base.config import load
from tests.interop.box_process import PASSWORD, BoxProcess
from tests.interop.serial_person import SerialPerson
from tests.interop.test_console import process
from tests.interop.waiting import wait_until

pytestmark = pytest.mark.interop


def ask(person: SerialPerson, **fields: Any) -> dict[str, Any]:
    """Send a program's line; return the reply to it."""
    person.type("\x03\n" + json.dumps(fields) + "\n")
    while True:
        for line in person.read_until("}\r\n").splitlines():
            if line.startswith("{") and (reply := json.loads(line)).get("seq") == fields["seq"]:
                return dict(reply)


def test_what_nobody_says_is_right_goes_back_though_the_cable_is_out(authority: trustme.CA, tmp_path: Path) -> None:
    box = BoxProcess(tmp_path / "box", authority)
    with (
        box,
        SerialPerson(tmp_path / "ttyBOX") as person,
        process("console", "--state", box.state, "--port", person.port),
    ):
        person.wake()
        before = (box.state / "relay.toml").read_bytes()
        assert ask(person, seq=1, verb="unlock", secret=PASSWORD)["ok"]
        ask(person, seq=2, verb="set", settings={"log.level": "debug"})
        assert ask(person, seq=3, verb="apply", confirm_s=2)["result"]["restarting"]
        assert load(box.state).log.level == "debug"
        person.unplug()
        wait_until(lambda: not (box.state / "relay.toml.trial").exists())
        assert (box.state / "relay.toml").read_bytes() == before
