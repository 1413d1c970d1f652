"""An emulated board from outside: its power, a shell on a line, the console's cable on another, QEMU's own controls."""

import abc
import contextlib
import json
import re
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Self

from relay.cli.bench.servers import free_port
from tests.guest.image import copy_disk

CLIENT_PORT, FEDERATION_PORT = 443, 8448
_PROMPT = "GUEST-READY# "
# Of any shell.
ANY_PROMPT = rb"[#$] ?(\x1b\[\?2004h)?$"


class GuestError(Exception):
    """The guest did not do what it was told to; the message ends with what it said."""


def printed_between(said: bytes, mark: str) -> tuple[str, str]:
    """Return what a script printed, and its exit code, out of what the shell said: prompts come whole or in pieces."""
    text = said.decode(errors="replace").replace("\r", "")
    printed, code = re.findall(rf"(?s)BEGIN-{mark}\n(.*)END-{mark}:(\d+):", text)[0]
    return str(printed).strip("\n"), str(code)


class EmulatedMachine(abc.ABC):
    """A board with a copy of one disk; off until `power_on`.

    Attributes:
        line: the host's name of the console's cable, while the board runs.
        client_port, federation_port: where the host reaches the box; the same at every start.
    """

    def __init__(self, folder: Path, disk: Path) -> None:
        folder.mkdir(parents=True)
        self._folder, self._disk = folder, folder / "disk.img"
        copy_disk(disk, self._disk)
        self.client_port, self.federation_port = free_port(), free_port()
        self.line = ""
        self.started_at = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._shell: socket.socket | None = None
        self._control: socket.SocketIO | None = None
        # What is open while the board has power.
        self._ends = contextlib.ExitStack()
        self._sockets = Path(tempfile.mkdtemp(prefix="guest-"))
        self._said = b""

    @abc.abstractmethod
    def _command(self, clock: str) -> list[str]:
        """Return how QEMU plays the board: with its shell on the socket `shell` and its cable on a pty `cable`."""

    @property
    def _network(self) -> str:
        forwards = f"hostfwd=tcp:127.0.0.1:{self.client_port}-:{CLIENT_PORT}"
        return f"user,id=net,{forwards},hostfwd=tcp:127.0.0.1:{self.federation_port}-:{FEDERATION_PORT}"

    def power_on(self, clock: str = "utc") -> None:
        """Begin to boot; `line` can be opened at once. `clock` is what the board's own clock says, as UTC."""
        self.started_at = time.monotonic()
        for path in self._sockets.iterdir():
            if path.is_socket():
                path.unlink()
        with (self._folder / "qemu.log").open("ab") as log:
            self._process = subprocess.Popen(self._command(clock), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._said = b""
        self._shell = self._connect("shell")
        self._control = self._ends.enter_context(self._connect("control").makefile("rwb", buffering=0))
        self._control.readline()
        self.control("qmp_capabilities")
        lines = {entry["label"]: entry["filename"] for entry in self.control("query-chardev")}
        self.line = lines["cable"].removeprefix("pty:")

    def control(self, command: str, **arguments: Any) -> Any:
        """Return QEMU's answer to one command of its control protocol."""
        assert self._control is not None
        self._control.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            line = self._control.readline()
            if not line:
                raise GuestError(f"QEMU ended during {command}")
            answer = json.loads(line)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise GuestError(f"{command}: {answer['error']}")

    def wait_for_event(self, name: str, within_s: float) -> dict[str, Any]:
        """Return what QEMU tells of the next event of this name.

        Raises:
            GuestError: there was none in time.
        """
        assert self._control is not None
        assert self._shell is not None
        deadline = time.monotonic() + within_s
        ends: list[Any] = [self._control, self._shell]
        while (left_s := deadline - time.monotonic()) > 0:
            ready = select.select(ends, [], [], left_s)[0]
            if self._shell in ready:
                # A board that cannot say what it wants to say stands still.
                self._said = (self._said + self._shell.recv(65_536))[-20_000:]
            if self._control in ready:
                line = self._control.readline()
                if not line:
                    raise GuestError(f"QEMU ended before it told of {name}")
                told = json.loads(line)
                if told.get("event") == name:
                    found: dict[str, Any] = told.get("data", {})
                    return found
        raise GuestError(f"QEMU never told of {name}; it said ...{self._said[-1500:].decode(errors='replace')}")

    def run(self, script: str, *, within_s: float = 300, check: bool = True) -> str:
        """Run a shell script as root in the guest; return what it printed.

        Raises:
            GuestError: it failed, with `check`, or took too long.
        """
        assert self._shell is not None
        mark = f"{time.monotonic_ns():x}"
        self._shell.sendall(
            f"echo BEGIN-{mark}; (\r{script.strip()}\r) </dev/null 2>&1; echo END-{mark}:$?:\r".replace(
                "\n", "\r"
            ).encode()
        )
        printed, code = printed_between(self._expect(rf"END-{mark}:\d+:".encode(), within_s), mark)
        if check and code != "0":
            raise GuestError(f"{script}: ended with {code}: {printed[-2000:]}")
        return printed

    def type(self, line: str) -> None:
        """Type a line at the shell, whatever becomes of it."""
        assert self._shell is not None
        self._shell.sendall(line.encode() + b"\r")

    def power_cut(self) -> None:
        """Take the power away: nothing of the guest's or of QEMU's own memory reaches the disk."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._shell = self._control = None
        self._ends.close()

    def _wait_until_off(self, within_s: float) -> float:
        """Return how many seconds it took the board to turn itself off.

        Raises:
            GuestError: it does not.
        """
        assert self._process is not None
        begun = time.monotonic()
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise GuestError(f"the board does not turn itself off within {within_s} s") from None
        finally:
            self.power_cut()
        return time.monotonic() - begun

    def _use_shell(self) -> None:
        """Have the shell that is there echo nothing, and end what it says with a prompt that is known."""
        # In two pieces, so that the echo of this line is not taken for the prompt.
        prompt = f"PS1='{_PROMPT[:6]}''{_PROMPT[6:]}'"
        self.type(f"stty -echo; export TERM=dumb PAGER=cat SYSTEMD_COLORS=0; dmesg -n 1; {prompt}")
        self._expect(re.escape(_PROMPT.encode()) + rb"$", 60)

    def _expect(self, pattern: bytes, within_s: float) -> bytes:
        assert self._shell is not None
        wanted, deadline, seen = re.compile(pattern), time.monotonic() + within_s, b""
        while not wanted.search(seen):
            left_s = deadline - time.monotonic()
            ready = select.select([self._shell], [], [], left_s)[0] if left_s > 0 else []
            piece = self._shell.recv(65_536) if ready else b""
            if not piece:
                fate = "ended" if ready else f"did not say it within {within_s} s"
                said = self._said[-1500:].decode(errors="replace")
                raise GuestError(f"the guest {fate}, {pattern!r} never came; it said ...{said}")
            seen += piece
            self._said = (self._said + piece)[-20_000:]
        return seen

    def _connect(self, name: str) -> socket.socket:
        """Return a connection to one of QEMU's sockets, open while the board has power."""
        assert self._process is not None
        deadline = time.monotonic() + 20
        while True:
            end = socket.socket(socket.AF_UNIX)
            try:
                end.connect(str(self._sockets / name))
            except OSError:
                end.close()
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise GuestError(f"QEMU did not start: {(self._folder / 'qemu.log').read_text()}") from None
                threading.Event().wait(0.05)  # nothing announces it: ask again soon
            else:
                return self._ends.enter_context(end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.power_cut()
        shutil.rmtree(self._sockets, ignore_errors=True)
