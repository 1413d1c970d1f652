"""One emulated board with a card in it: nobody is on it but the console's cable, unless a look around is asked for."""

import os
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.guest.qemu import ANY_PROMPT, EmulatedMachine, GuestError

# A card is larger than its image; an emulated SD card is as large as a power of two.
CARD_BYTES = 4 << 30
BOOT_MIB, FIRST_MIB = 512, 4
ROOT_AT = (FIRST_MIB + BOOT_MIB) << 20
# A line of its own for a root shell that only a changed boot entry asks for (systemd-debug-generator(8)).
SHELL = "hvc0"
_OFF_WITHIN_S = 240


@dataclass(frozen=True, kw_only=True)
class Emulation:
    """How QEMU plays a board.

    Attributes:
        program: of QEMU.
        options: the machine.
        firmware: code and variables of UEFI, or nothing where the kernel is started by QEMU itself.
        cable: which serial line the console's cable is on, counted from the first.
        profile: what `relay board` and the console have to call it.
    """

    program: str
    options: tuple[str, ...]
    firmware: tuple[str, str] | None
    profile: str
    cable: int = 0
    ethernet: str = "virtio-net-pci"
    card: tuple[str, ...] = ("-device", "virtio-blk-pci,drive=disk,bootindex=1")
    more: tuple[str, ...] = ("-device", "virtio-rng-pci")


EMULATIONS = {
    "pc": Emulation(
        program="qemu-system-x86_64",
        options=("-M", "q35", "-cpu", "max", "-m", "768"),
        firmware=("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
        profile="generic-x86-64",
    ),
    "arm64-efi": Emulation(
        program="qemu-system-aarch64",
        options=("-M", "virt", "-cpu", "cortex-a53", "-m", "768"),
        firmware=("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
        profile="generic-arm64",
    ),
    "raspberry-pi": Emulation(
        program="qemu-system-aarch64",
        options=("-M", "raspi3b", "-m", "1G"),
        firmware=None,
        profile="raspberry-pi-3b-plus",
        # The first is the PL011, which the tree gives to Bluetooth; the second is the header's.
        cable=1,
        ethernet="usb-net",
        card=(),
        more=(),
    ),
}


class CardMachine(EmulatedMachine):
    """A board of this kind with a copy of the card image in it; off until `power_on`.

    Args:
        board: a name in `EMULATIONS`.
        card: the image; it is copied.
        start_by: kernel, initial RAM disk, device tree and command line, where no firmware reads the card.
    """

    def __init__(self, folder: Path, board: str, card: Path, start_by: tuple[Path, Path, Path, str] | None) -> None:
        self._emulation, self._start_by = EMULATIONS[board], start_by
        super().__init__(folder, card)
        os.truncate(self._disk, CARD_BYTES)
        if self._emulation.firmware is not None:
            shutil.copyfile(self._emulation.firmware[1], folder / "variables.fd")

    @property
    def disk(self) -> Path:
        """The card as the board has left it; to be looked at while the board is off."""
        return self._disk

    def _command(self, clock: str) -> list[str]:
        board = self._emulation
        interface = "if=none,id=disk" if board.card else "if=sd"
        command = [
            *(board.program, *board.options, "-accel", "tcg", "-nodefaults", "-display", "none", "-no-reboot"),
            *("-rtc", f"base={clock}"),
            *("-drive", f"{interface},file={self._disk},format=raw,cache=none", *board.card, *board.more),
            *("-netdev", self._network, "-device", f"{board.ethernet},netdev=net"),
            *("-qmp", f"unix:{self._sockets}/control,server=on,wait=off", "-chardev", "pty,id=cable"),
            *("-chardev", f"socket,id=shell,path={self._sockets}/shell,server=on,wait=off"),
            *(["-serial", f"file:{self._folder}/first-line.log"] * board.cable), "-serial", "chardev:cable",
        ]  # fmt: skip
        if board.firmware is not None:
            flash = f"if=pflash,format=raw,readonly=on,file={board.firmware[0]}"
            command += ["-drive", flash, "-drive", f"if=pflash,format=raw,file={self._folder}/variables.fd"]
            command += ["-device", "virtio-serial-pci", "-device", "virtconsole,chardev=shell"]
        if self._start_by is not None:
            kernel, initrd, tree, line = self._start_by
            command += ["-kernel", str(kernel), "-initrd", str(initrd), "-dtb", str(tree), "-append", line]
        return command

    def wait_for_kernel(self, within_s: float) -> None:
        """Return when the root file system has been mounted; nobody types anything before.

        Raises:
            GuestError: it never was.
        """
        before, deadline = self._mounted_at(), time.monotonic() + within_s
        while self._mounted_at() == before:
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise GuestError(f"no root file system was mounted within {within_s} s")
            # Nothing announces it: look again soon.
            threading.Event().wait(1)

    def _mounted_at(self) -> bytes:
        # s_mtime of the superblock (Documentation/filesystems/ext4/super.rst of the kernel).
        with self._disk.open("rb") as file:
            file.seek(ROOT_AT + 1024 + 0x2C)
            return file.read(4)

    def power_button(self) -> float:
        """Press it; return how many seconds later the board is off.

        Raises:
            GuestError: it is not.
        """
        self.control("system_powerdown")
        return self._wait_until_off(_OFF_WITHIN_S)

    def take_shell(self, within_s: float) -> None:
        """Meet the root shell that the boot entry asked for.

        Raises:
            GuestError: it never came.
        """
        deadline = time.monotonic() + within_s
        while True:
            self.type("")
            try:
                self._expect(ANY_PROMPT, 10)
                break
            except GuestError:
                if time.monotonic() > deadline:
                    raise
        self._use_shell()
