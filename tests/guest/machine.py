"""The guest's board: an arm64 QEMU whose first serial line is a root shell and whose second is the console's cable."""

import time
from pathlib import Path

from tests.guest.image import Image, make_disk
from tests.guest.qemu import ANY_PROMPT, EmulatedMachine
from tests.guest.wires import CHIP_TYPE, Wires, board_tree

MEMORY_MIB = 512
# The host as the guest sees it (QEMU, user-mode networking).
HOST = "10.0.2.2"
_BOOT_WITHIN_S = 400
_OFF_WITHIN_S = 150
# Everything takes 20 to 50 times as long as on a board, more where the host is busy.
_PATIENCE = "systemd.default_device_timeout_sec=600 systemd.default_timeout_start_sec=600"
_MACHINE = "virt"


class GuestMachine(EmulatedMachine):
    """A board with one disk, and a second one with what is carried to it.

    Attributes:
        wires: the ends of the wires to its light and its button, while the guest runs.
        tpm: where QEMU looks for whatever is soldered to the board as its TPM; nothing need be there.
    """

    wires: Wires

    def __init__(self, folder: Path, image: Image, carried: Path) -> None:
        super().__init__(folder, image.disk)
        self._image, self._stick = image, folder / "stick.img"
        # What is carried to the guest lies on a second disk, like on a USB stick.
        make_disk(self._stick, carried, 64)
        self._tree = board_tree(folder, _MACHINE)
        self.tpm = self._sockets / "tpm" / "socket"

    def _command(self, clock: str) -> list[str]:
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
            *("-netdev", self._network, "-device", "virtio-net-pci,netdev=net"),
            *("-chardev", f"socket,id=shell,path={self._sockets}/shell,server=on,wait=off,{log}"),
            *("-serial", "chardev:shell", "-qmp", f"unix:{self._sockets}/control,server=on,wait=off"),
            *("-chardev", "pty,id=cable", "-device", "pci-serial,chardev=cable", "-device", "qemu-xhci,id=usb"),
            *("-chardev", f"socket,id=tpm,path={self.tpm},reconnect=1", "-device", "virtio-serial-pci"),
            *("-device", "virtserialport,chardev=tpm,name=tpm"),
        ]  # fmt: skip

    def power_on(self, clock: str = "utc") -> None:
        """Begin to boot; `line` can be opened at once. `clock` is what the board's own clock says, as UTC."""
        super().power_on(clock)
        parts = self.control("qom-list", path="/machine/unattached")
        chip = next(part["name"] for part in parts if part["type"] == CHIP_TYPE)
        self.wires = Wires(self._connect("wires"), f"/machine/unattached/{chip}")
        self._ends.callback(self.wires.close)

    def log_in(self) -> None:
        """Wait for the login prompt and log in.

        Raises:
            GuestError: it did not come up in time.
        """
        self._expect(rb"login: ?$", _BOOT_WITHIN_S)
        self.type("root")
        self._expect(ANY_PROMPT, 180)
        self._use_shell()

    def start(self, clock: str = "utc") -> float:
        """Boot and log in; return the seconds from power-on until a shell was there.

        Raises:
            GuestError: it did not come up in time.
        """
        self.power_on(clock)
        self.log_in()
        return time.monotonic() - self.started_at

    def power_off(self) -> float:
        """Shut down as a person would; return how many seconds that took.

        Raises:
            GuestError: it stays on.
        """
        self.type("systemctl poweroff")
        return self._wait_until_off(_OFF_WITHIN_S)

    def plug_in(self, stick: Path) -> None:
        """Put a USB stick with this content into the board."""
        if not any(node.get("node-name") == "key" for node in self.control("query-named-block-nodes")):
            content = {"driver": "file", "filename": str(stick)}
            self.control("blockdev-add", **{"driver": "raw", "node-name": "key"}, file=content)
        self.control("device_add", driver="usb-storage", id="key", drive="key", bus="usb.0")

    def pull_out(self) -> None:
        """Pull the stick out."""
        self.control("device_del", id="key")
        self.wait_for_event("DEVICE_DELETED", 30)
