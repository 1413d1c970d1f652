"""What the long runs make of an emulated board: its shell's words, which come in pieces, and its power."""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guest.qemu import ANY_PROMPT, EmulatedMachine, GuestError, printed_between
from tests.interop.waiting import wait_until

# In place of QEMU: a shell on a terminal of its own, and the controls that power_on asks.
_PLAY = """
import json, os, pty, select, socket, sys
folder, programs = sys.argv[1:]
ends = []
for name in ("shell", "control"):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{folder}/{name}")
    listener.listen()
    ends.append(listener)
shell, control = (listener.accept()[0] for listener in ends)
control.sendall(b'{"QMP": {}}\\n')
child, line = pty.fork()
if not child:
    os.execve("/bin/sh", ["sh", "-i"], {"PATH": programs, "PS1": "# "})
cable = [{"label": "cable", "filename": "pty:/dev/pts/cable"}]
while True:
    for ready in select.select([shell, control, line], [], [])[0]:
        if ready is shell:
            os.write(line, shell.recv(4096) or sys.exit())
        elif ready is control:
            asked = json.loads(control.recv(4096) or sys.exit())["execute"]
            if asked == "quit":
                sys.exit()
            said = {"query-chardev": {"return": cable}, "fail": {"error": "no"}}.get(asked, {"return": {}})
            control.sendall(b'{"event": "OTHER"}\\n' + json.dumps(said).encode() + b"\\n")
        else:
            shell.sendall(os.read(line, 4096))
"""


class PlayedMachine(EmulatedMachine):
    """A board whose shell is one of this machine, with no program but the one that it needs."""

    def _command(self, clock: str) -> list[str]:
        programs = self._folder / "programs"
        programs.mkdir(exist_ok=True)
        stty = shutil.which("stty")
        assert stty is not None
        if not (programs / "stty").exists():
            os.symlink(stty, programs / "stty")
        return [sys.executable, "-Ic", _PLAY, str(self._sockets), str(programs)]

    def start(self) -> None:
        """Power on and take the shell."""
        self.power_on()
        self._expect(ANY_PROMPT, 10)
        self._use_shell()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[PlayedMachine]:
    disk = tmp_path / "disk"
    disk.write_bytes(b"content")
    with PlayedMachine(tmp_path / "machine", disk) as machine:
        machine.start()
        yield machine


@pytest.mark.parametrize("rest", ["GUEST-READY# ", "ADY# ", "", "END-1a:0:\r\nGUEST-READY# "])
@pytest.mark.parametrize(("printed", "code"), [("0", "0"), ("", "1"), ("one\r\ntwo", "0"), ("> quoted", "0")])
def test_a_prompt_in_pieces_is_no_part_of_what_was_printed(rest: str, printed: str, code: str) -> None:
    line_end = "\r\n" if printed else ""
    said = f"{rest}> > BEGIN-2b\r\n{printed}{line_end}END-2b:{code}:".encode()
    assert printed_between(said, "2b") == (printed.replace("\r", ""), code)


def test_a_script_says_what_it_printed_and_whether_it_failed(machine: PlayedMachine) -> None:
    assert machine.line == "/dev/pts/cable"
    assert machine.run("echo one\necho two >&2") == "one\ntwo"
    assert machine.run("echo three; exit 3", check=False) == "three"
    with pytest.raises(GuestError, match="ended with 3: three"):
        machine.run("echo three; exit 3")
    with pytest.raises(GuestError, match="fail: no"):
        machine.control("fail")


def test_a_power_cut_takes_everything_and_the_same_machine_starts_again(machine: PlayedMachine) -> None:
    ports = machine.client_port, machine.federation_port
    machine.power_cut()
    machine.power_cut()
    machine.start()
    assert machine.run("echo again") == "again"
    assert (machine.client_port, machine.federation_port) == ports


def test_a_machine_that_talks_without_end_is_not_listened_to_for_ever(machine: PlayedMachine) -> None:
    shell = Path("/proc") / machine.run("echo $$")
    with pytest.raises(GuestError, match="did not say it within"):
        # Long enough, and over by itself: this shell is no board's, and goes on when its terminal is gone.
        machine.run("i=0; while [ $i -lt 500000 ]; do echo and; i=$((i + 1)); done", within_s=0.3)
    with pytest.raises(GuestError, match="never told of RESET"):
        machine.wait_for_event("RESET", 0.3)
    machine.power_cut()
    wait_until(lambda: not shell.exists())


def test_an_event_of_a_machine_that_is_gone_is_not_waited_for(machine: PlayedMachine) -> None:
    with pytest.raises(GuestError, match="QEMU ended during quit"):
        machine.control("quit")
    begun = time.monotonic()
    with pytest.raises(GuestError, match="QEMU ended before it told of RESET"):
        machine.wait_for_event("RESET", 30)
    assert time.monotonic() - begun < 5
