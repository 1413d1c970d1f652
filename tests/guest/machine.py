"""One emulated board: an arm64 QEMU whose first serial line is a root shell and whose second is the console's cable."""

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
from tests.guest.image import Image, copy_disk, make_disk
from tests.guest.wires import CHIP_TYPE, Wires, board_tree

MEMORY_MIB = 512
CLIENT_PORT, FEDERATION_PORT = 443, 8448
# The host as the guest sees it (QEMU, user-mode networking).
HOST = "10.0.2.2"
_BOOT_WITHIN_S = 400
_OFF_WITHIN_S = 150
# Everything takes 20 to 50 times as long as on a board, more where the host is busy.
_PATIENCE = "systemd.default_device_timeout_sec=600 systemd.default_timeout_start_sec=600"
_PROMPT = "GUEST-READY# "
_MACHINE = "virt"


class GuestError(Exception):
    """The guest did not do what it was told to; the message ends with what it said."""


def printed_between(said: bytes, mark: str) -> tuple[str, str]:
    """Return what a script printed, and its exit code, out of what the shell said: prompts come whole or in pieces."""
    text = said.decode(errors="replace").replace("\r", "")
    printed, code = re.findall(rf"(?s)BEGIN-{mark}\n(.*)END-{mark}:(\d+):", text)[0]
    return str(printed).strip("\n"), str(code)


class GuestMachine:
    """A board with one disk; off until `start`.

    Attributes:
        line: the host's name of the console's cable, while the guest runs.
        client_port, federation_port: where the host reaches the box; the same at every start.
        wires: the ends of the wires to its light and its button, while the guest runs.
        tpm: where QEMU looks for whatever is soldered to the board as its TPM; nothing need be there.
    """

    wires: Wires

    def __init__(self, folder: Path, image: Image, carried: Path) -> None:
        folder.mkdir(parents=True)
        self._folder, self._image = folder, image
        self._disk, self._stick = folder / "disk.img", folder / "stick.img"
        copy_disk(image.disk, self._disk)
        # What is carried to the guest lies on a second disk, like on a USB stick.
        make_disk(self._stick, carried, 64)
        self._tree = board_tree(folder, _MACHINE)
        self.client_port, self.federation_port = free_port(), free_port()
        self.line = ""
        self.started_at = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._shell: socket.socket | None = None
        self._control: socket.SocketIO | None = None
        self._sockets = Path(tempfile.mkdtemp(prefix="guest-"))
        self.tpm = self._sockets / "tpm" / "socket"
        self._said = b""

    def _command(self, clock: str) -> list[str]:
        forwards = f"hostfwd=tcp:127.0.0.1:{self.client_port}-:{CLIENT_PORT}"
        forwards += f",hostfwd=tcp:127.0.0.1:{self.federation_port}-:{FEDERATION_PORT}"
        log = f"logfile={self._folder}/boot.log,logappend=on"
        return [
            *("qemu-system-aarch64", "-M", _MACHINE, "-cpu", "cortex-a53", "-accel", "tcg", "-m", str(MEMORY_MIB)),
            *("-nodefaults", "-display", "none", "-no-reboot", "-dtb", str(self._tree), "-rtc", f"base={clock}"),
            *("-qtest", f"unix:{self._sockets}/wires,server=on,wait=off", "-qtest-log", "none"),
            *("-kernel", str(self._image.kernel), "-initrd", str(self._image.initrd)),
            *("-append", f"console=ttyAMA0,115200 root=/dev/vda rw quiet loglevel=4 {_PATIENCE}"),
            # A write that the guest was told is complete is in the host's file, whatever happens to QEMU.
            *("-drive", f"if=none,id=disk,file={self._disk},format=raw,cache=none"),
            *("-device", "virtio-blk-pci,drive=disk"),
            *("-drive", f"if=none,id=stick,file={self._stick},format=raw,readonly=on"),
            *("-device", "virtio-blk-pci,drive=stick", "-device", "virtio-rng-pci", "-device", "i6300esb"),
            *("-netdev", f"user,id=net,{forwards}", "-device", "virtio-net-pci,netdev=net"),
            *("-chardev", f"socket,id=shell,path={self._sockets}/shell,server=on,wait=off,{log}"),
            *("-serial", "chardev:shell", "-qmp", f"unix:{self._sockets}/control,server=on,wait=off"),
            *("-chardev", "pty,id=cable", "-device", "pci-serial,chardev=cable", "-device", "qemu-xhci,id=usb"),
            *("-chardev", f"socket,id=tpm,path={self.tpm},reconnect=1", "-device", "virtio-serial-pci"),
            *("-device", "virtserialport,chardev=tpm,name=tpm"),
        ]  # fmt: skip

    def power_on(self, clock: str = "utc") -> None:
        """Begin to boot; `line` can be opened at once. `clock` is what the board's own clock says, as UTC."""
        self.started_at = time.monotonic()
        for name in ("shell", "control", "wires"):
            (self._sockets / name).unlink(missing_ok=True)
        with (self._folder / "qemu.log").open("ab") as log:
            self._process = subprocess.Popen(self._command(clock), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._said = b""
        self._shell = self._connect("shell")
        self._control = self._connect("control").makefile("rwb", buffering=0)
        self._control.readline()
        self.control("qmp_capabilities")
        lines = {entry["label"]: entry["filename"] for entry in self.control("query-chardev")}
        self.line = lines["cable"].removeprefix("pty:")
        self._wire()

    def _wire(self) -> None:
        parts = self.control("qom-list", path="/machine/unattached")
        chip = next(part["name"] for part in parts if part["type"] == CHIP_TYPE)
        self.wires = Wires(self._connect("wires"), f"/machine/unattached/{chip}")

    def log_in(self) -> None:
        """Wait for the login prompt and log in.

        Raises:
            GuestError: it did not come up in time.
        """
        assert self._shell is not None
        self._expect(rb"login: ?$", _BOOT_WITHIN_S)
        self._shell.sendall(b"root\r")
        self._expect(rb"[#$] ?(\x1b\[\?2004h)?$", 180)
        # In two pieces, so that the echo of this line is not taken for the prompt.
        prompt = f"PS1='{_PROMPT[:6]}''{_PROMPT[6:]}'"
        self._shell.sendall(f"stty -echo; export TERM=dumb PAGER=cat SYSTEMD_COLORS=0; dmesg -n 1; {prompt}\r".encode())
        self._expect(re.escape(_PROMPT.encode()) + rb"$", 60)

    def start(self, clock: str = "utc") -> float:
        """Boot and log in; return the seconds from power-on until a shell was there.

        Raises:
            GuestError: it did not come up in time.
        """
        self.power_on(clock)
        self.log_in()
        return time.monotonic() - self.started_at

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
        while ready := select.select(ends, [], [], max(0.0, deadline - time.monotonic()))[0]:
            if self._shell in ready:
                # A board that cannot say what it wants to say stands still.
                self._said = (self._said + self._shell.recv(65_536))[-20_000:]
            if self._control in ready:
                told = json.loads(self._control.readline() or "{}")
                if told.get("event") == name:
                    found: dict[str, Any] = told.get("data", {})
                    return found
        raise GuestError(f"QEMU never told of {name}; it said ...{self._said[-1500:].decode(errors='replace')}")

    def plug_in(self, stick: Path) -> None:
        """Put a USB stick with this content into the board."""
        if not any(node.get("node-name") == "key" for node in self.control("query-named-block-nodes")):
            self.control("blockdev-add", **{"driver": "raw", "node-name": "key"}, file=_file(stick))
        self.control("device_add", driver="usb-storage", id="key", drive="key", bus="usb.0")

    def pull_out(self) -> None:
        """Pull the stick out."""
        self.control("device_del", id="key")
        self.wait_for_event("DEVICE_DELETED", 30)

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
        self._forget()

    def power_off(self) -> float:
        """Shut down as a person would; return how many seconds that took."""
        assert self._shell is not None
        assert self._process is not None
        begun = time.monotonic()
        self._shell.sendall(b"systemctl poweroff\r")
        try:
            self._process.wait(_OFF_WITHIN_S)
        finally:
            self.power_cut()
        return time.monotonic() - begun

    def _expect(self, pattern: bytes, within_s: float) -> bytes:
        assert self._shell is not None
        wanted, deadline, seen = re.compile(pattern), time.monotonic() + within_s, b""
        while not wanted.search(seen):
            ready, _, _ = select.select([self._shell], [], [], max(0.0, deadline - time.monotonic()))
            piece = self._shell.recv(65_536) if ready else b""
            if not piece:
                fate = "ended" if ready else f"was silent for {within_s} s"
                said = self._said[-1500:].decode(errors="replace")
                raise GuestError(f"the guest {fate}, {pattern!r} never came; it said ...{said}")
            seen += piece
            self._said = (self._said + piece)[-20_000:]
        return seen

    def _connect(self, name: str) -> socket.socket:
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
                return end

    def _unwire(self) -> None:
        self.wires.close()

    def _forget(self) -> None:
        if self._process is not None:
            self._unwire()
        for end in (self._shell, self._control):
            if end is not None:
                end.close()
        self._process = self._shell = self._control = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.power_cut()
        shutil.rmtree(self._sockets, ignore_errors=True)


def _file(path: Path) -> dict[str, str]:
    return {"driver": "file", "filename": str(path)}
