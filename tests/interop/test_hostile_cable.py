"""A bad cable between a person, a program or a browser and the real console: nothing dies, nothing is misunderstood."""

import itertools
import json
import os
import select
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.base.config import load
from relay.console.checked import add_checksum, take_checksum
from relay.console.improv import ImprovReader
from tests.fakes.hostile_cable import HostileCable, noise
from tests.interop.serial_person import SerialPerson
from tests.interop.test_console import process

pytestmark = pytest.mark.interop

PASSWORD = "correct horse battery"
PROMISE_KIB = 24 * 1024
ANSWERS_WITHIN_S = 5.0
SETTINGS = {"name": "box.example", "owner": "anna", "password": PASSWORD, "federation": "127.0.0.1:0"}


class Line(SerialPerson):
    """The far end of the line, through a cable that is `there` good one way and `back` the other."""

    there: HostileCable | None = None
    back: HostileCable | None = None

    def send(self, data: bytes) -> None:
        os.write(self._master, self.there.carry(data) if self.there else data)

    def heard(self, within_s: float) -> bytes:
        ready, _, _ = select.select([self._master], [], [], within_s)
        data = os.read(self._master, 65_536) if ready else b""
        return self.back.carry(data) if self.back else data

    def ask(
        self, within_s: float = 20, patience_s: float = 0.4, patient: bool = False, **fields: Any
    ) -> dict[str, Any]:
        """Ask as a careful program does: checksum both ways, the same `seq` until a reply to it arrives whole."""
        line = add_checksum(json.dumps(fields, separators=(",", ":")).encode())
        deadline, seen = time.monotonic() + within_s, b""
        for attempt in itertools.count(1):
            if time.monotonic() > deadline:
                break
            # Ctrl-C would also end a request under way: only when nothing else helps.
            self.send((b"\n" if patient or attempt % 4 else b"\x03\n") + line + b"\n")
            again_at = time.monotonic() + patience_s
            while (left_s := again_at - time.monotonic()) > 0:
                seen += self.heard(left_s)
                *lines, seen = seen.split(b"\n")
                for text in lines:
                    reply = _reply(text)
                    if reply is not None and reply["seq"] == fields["seq"]:
                        return reply
        raise TimeoutError(seen)


def _reply(line: bytes) -> dict[str, Any] | None:
    try:
        body, checked = take_checksum(line.strip())
        return dict(json.loads(body)) if checked else None
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is no reply
        return None


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def line(tmp_path: Path, state: Path) -> Iterator[Line]:
    """Yield the line of a new box's console; afterwards the console is alive, answers soon and is small."""
    with Line(tmp_path / "ttyBOX") as line, process("console", "--state", state, "--port", line.port) as console:
        line.wake()
        yield line
        line.there = line.back = None
        begun = time.monotonic()
        assert line.ask(seq="last", verb="hello")["ok"]
        assert time.monotonic() - begun < ANSWERS_WITHIN_S
        assert console.poll() is None
        status = Path(f"/proc/{console.pid}/status").read_text()
        peak_kib = next(int(row.split()[1]) for row in status.splitlines() if row.startswith("VmHWM"))
        assert peak_kib <= PROMISE_KIB


def test_a_program_that_checks_sets_a_box_up_over_a_cable_that_damages_every_other_line(
    line: Line, state: Path
) -> None:
    line.there, line.back = HostileCable(1, one_in=200), HostileCable(2, one_in=400)
    for number in range(15):
        wanted = {"rate.login_burst": str(100 + number)}
        assert line.ask(seq=number, verb="set", settings=wanted)["ok"]
        planned = line.ask(seq=f"p{number}", verb="plan")["result"]["planned"]
        assert planned == wanted
    line.ask(seq="basics", verb="set", settings=SETTINGS)
    assert (
        line.ask(seq="apply", verb="apply", within_s=90, patience_s=2, patient=True)["result"]["owner"]
        == "@anna:box.example"
    )
    assert line.there.faults > 10
    assert load(state).rate.login_burst == 114
    assert line.ask(seq="h", verb="happened", of="apply")["result"]["state"] == "done"


def test_noise_and_a_line_pulled_in_the_middle_leave_a_console_that_changed_nothing(line: Line, state: Path) -> None:
    frame = b"IMPROV\x01\x03\x02\x03\x00\xe6\n"
    whole = [
        b'{"seq":1,"verb":"set","settings":{"log.level":"debug"}}\n'.replace(b"}}", b'},"crc":"00000000"}'),
        b'{"seq":2,"verb":"factory_reset","confirm":"box.example","crc":"12345678"}\n',
        frame,
        b"\rset log.level er\x03",
        b"\r\x1b[A\x1b[",
    ]
    for turn in range(9):
        cable = HostileCable(turn, one_in=20)
        for piece in whole:
            line.send(cable.carry(piece))
        line.send(noise(turn, 400))
        # In the middle of a line or a packet.
        line.send(whole[turn % len(whole)][: 3 + turn])
        if turn % 3 == 0:
            line.unplug()
            line.plug()
            line.wake()
        else:
            threading.Event().wait(0.02)
            line.heard(0.0)
    line.send(b"\x03\x15\x03\n")
    line.heard(0.2)
    assert not (state / "relay.toml").exists()
    assert line.ask(seq="plan", verb="plan")["result"]["planned"] == {}


def test_one_byte_at_a_time_at_9600_baud_a_person_is_understood(line: Line) -> None:
    begun = time.monotonic()
    for byte in b"set name box.example\rplan\r":
        line.send(bytes([byte]))
        threading.Event().wait(10 / 9600)
    line.read_until("name = box.example", "missing: owner")
    assert time.monotonic() - begun < ANSWERS_WITHIN_S
    line.send(b"drop name\r")


def test_a_browser_on_a_bad_cable_gets_whole_packets_or_none(line: Line) -> None:
    ask = b"IMPROV\x01\x03\x02\x02\x00\xe5\n"
    line.there = HostileCable(5, one_in=40)
    reader, answered = ImprovReader(), 0
    for _ in range(30):
        line.send(ask)
        data = line.heard(0.1)
        answered += data.count(b"IMPROV\x01\x01")
        # What arrives of ours always ends where a packet ends.
        assert not data or data.endswith(b"\n")
        reader.receive(data)
    assert answered
    threading.Event().wait(1.1)


def test_a_flood_that_nobody_reads_costs_nothing_but_its_own_answers(line: Line) -> None:
    flood = b"help\r" * 200 + noise(4, 3000)
    sent, deadline = 0, time.monotonic() + 2
    os.set_blocking(line._master, False)
    while time.monotonic() < deadline:
        try:
            sent += os.write(line._master, flood)
        except BlockingIOError:
            threading.Event().wait(0.01)
    os.set_blocking(line._master, True)
    assert sent > 10_000
    # Somebody begins to read.
    while line.heard(0.5):
        pass
