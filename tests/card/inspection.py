"""A card image looked into without starting it: what is on its partitions, and what must not be."""

import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.card.machine import FIRST_MIB, ROOT_AT
from tests.guest.findings import Findings
from tests.interop.test_units import EXPOSURE

SECTOR = 512
BOOT_AT = FIRST_MIB << 20
BOOT_FOLDER = {"pc": "boot/efi", "arm64-efi": "boot/efi", "raspberry-pi": "boot/firmware"}
# Zero 2 W, 3B+, 4B: by what their firmware looks for (raspberrypi/documentation, config_txt/boot.adoc, device_tree).
PI_TREES = ("bcm2837-rpi-zero-2-w.dtb", "bcm2837-rpi-3-b-plus.dtb", "bcm2711-rpi-4-b.dtb")
PI_FIRMWARE = ("bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat")
# The Zero 2 W with a BCM43430/2 would need brcmfmac43430b0-sdio.bin, which Debian does not carry.
PI_RADIOS = (
    *("brcmfmac43430-sdio.bin", "brcmfmac43430-sdio.raspberrypi,model-zero-2-w.txt", "brcmfmac43455-sdio.bin"),
    *("brcmfmac43455-sdio.raspberrypi,3-model-b-plus.txt", "brcmfmac43455-sdio.raspberrypi,4-model-b.txt"),
)
# Without these the initial RAM disk finds no card on such a board.
PI_MODULES = ("bcm2835", "sdhci-iproc", "ext4")
UNITS = (
    *("local-fs.target.wants/doorstep-grow.service", "multi-user.target.wants/doorstep-first-boot.service"),
    *("multi-user.target.wants/relay.service", "multi-user.target.wants/relay.path"),
    *("multi-user.target.wants/relay-board.service", "multi-user.target.wants/relay-gadget.service"),
    *("multi-user.target.wants/NetworkManager.service", "multi-user.target.wants/relay-client.socket"),
    *("multi-user.target.wants/relay-federation.socket", "timers.target.wants/relay-health.timer"),
    *("timers.target.wants/relay-backup.timer", "timers.target.wants/relay-update.timer"),
)
# What belongs to one machine, or to the one that built the image.
ABSENT = (
    *("etc/ssh/ssh_host_*", "var/lib/dbus/machine-id", "var/lib/doorstep/*", "var/lib/systemd/random-seed"),
    *("etc/doorstep/board", "etc/systemd/system/relay*.d/*", "etc/systemd/system.conf.d/*", "root/.ssh/*"),
    *("var/cache/apt/archives/*.deb", "var/lib/apt/lists/*_*", "etc/.resolv.conf.*", "doorstep.deb", "tmp/*"),
)


class Card:
    """An image's two file systems: one copied, one mounted for reading."""

    def __init__(self, image: Path, boot: Path, root: Path) -> None:
        self.image, self.boot, self.root = image, boot, root

    def within(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the image, in its root; it may write to `/tmp` and `/run` only."""
        mounts = 'for name in tmp run; do mount -t tmpfs tmpfs "$0/$name"; done; mount -t proc proc "$0/proc"'
        return subprocess.run(
            ["unshare", "--mount", "sh", "-euc", f'{mounts}; exec chroot "$0" "$@"', str(self.root), *command],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


@contextmanager
def opened(image: Path, *, with_boot: bool = False) -> Iterator[Card]:
    """Yield an image, or a card as a board has left it, and write nothing to it; its boot partition if asked for."""
    with tempfile.TemporaryDirectory(prefix="doorstep-card-") as folder:
        boot, root = Path(folder, "boot"), Path(folder, "root")
        for place in (boot, root):
            place.mkdir()
        if with_boot:
            # Copied by mtools: not every kernel reads FAT.
            subprocess.run(
                ["mcopy", "-s", "-n", "-i", f"{image}@@{BOOT_AT}", "::*", str(boot)], check=True, timeout=120
            )
        where = f"loop,ro,noload,offset={ROOT_AT}"
        subprocess.run(["mount", "-o", where, str(image), str(root)], check=True, timeout=60)
        try:
            yield Card(image, boot, root)
        finally:
            subprocess.run(["umount", str(root)], check=True, timeout=60)


def inspect(image: Path, board: str, findings: Findings) -> None:
    """Look at everything that can be known without a start."""
    _table(image, findings)
    with opened(image, with_boot=True) as card:
        _own_nothing(card, findings)
        _package(card, findings)
        _names(card, board, findings)
        (_pi_boots if board == "raspberry-pi" else _efi_boots)(card, findings)
        if board == "raspberry-pi":
            _overlays_fit(card, findings)
        _units(card, findings)
        used = subprocess.run(["du", "-sxm", str(card.root)], check=True, capture_output=True, text=True).stdout
    written = image.stat().st_blocks * SECTOR >> 20
    findings.see(
        f"{board}: image, of it written; files",
        f"{image.stat().st_size >> 20} MiB, {written} MiB; {used.split()[0]} MiB",
    )


def _table(image: Path, findings: Findings) -> None:
    subprocess.run(["sfdisk", "--quiet", "--verify", str(image)], check=True, capture_output=True, timeout=60)
    told = subprocess.run(["sfdisk", "--json", str(image)], check=True, capture_output=True, text=True, timeout=60)
    partitions = json.loads(told.stdout)["partitiontable"]["partitions"]
    starts = [partition["start"] * SECTOR for partition in partitions]
    findings.expect(starts == [BOOT_AT, ROOT_AT], f"the partitions begin at {starts}")


def _own_nothing(card: Card, findings: Findings) -> None:
    found = [str(path.relative_to(card.root)) for pattern in ABSENT for path in card.root.glob(pattern)]
    findings.expect(not found, f"the image holds {found[:5]}, {len(found)} in all")
    findings.expect((card.root / "etc/machine-id").read_bytes() == b"", "the image has a machine-id")
    shadow = [line.split(":") for line in (card.root / "etc/shadow").read_text().splitlines()]
    able = [fields[0] for fields in shadow if not fields[1].startswith(("*", "!"))]
    findings.expect(not able, f"{able} can log in with a password, or without")


def _package(card: Card, findings: Findings) -> None:
    status = (card.root / "var/lib/dpkg/status").read_text()
    findings.expect(re.search(r"Package: doorstep\nStatus: install ok installed\n", status), "no package")
    bad = re.findall(r"Package: (\S+)\nStatus: (?!install ok installed|deinstall ok config-files)(.*)\n", status)
    findings.expect(not bad, f"half installed: {bad}")
    wanted = card.root / "etc/systemd/system"
    missing = [name for name in UNITS if not (wanted / name).is_symlink()]
    findings.expect(not missing, f"not enabled: {missing}")


def _probed(card: Card, at: int) -> str:
    command = ["blkid", "--probe", "--offset", str(at), "--output", "value", "--match-tag", "UUID", str(card.image)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def _names(card: Card, board: str, findings: Findings) -> None:
    root, boot = _probed(card, ROOT_AT), _probed(card, BOOT_AT)
    mounts = {
        fields[1]: fields for line in (card.root / "etc/fstab").read_text().splitlines() if (fields := line.split())
    }
    findings.expect(mounts["/"][0] == f"UUID={root}", f"{mounts['/']} is not {root}")
    kept = mounts[f"/{BOOT_FOLDER[board]}"]
    findings.expect(kept[0] == f"UUID={boot}" and "nofail" in kept[3], f"{kept} is not {boot}")


def _efi_boots(card: Card, findings: Findings) -> None:
    findings.expect(list(card.boot.glob("EFI/BOOT/BOOT*.EFI")), "the firmware finds no boot loader")
    entries = list(card.boot.glob("loader/entries/*.conf"))
    findings.expect(entries, "the boot loader finds no entry")
    for entry in entries:
        said = dict(line.split(maxsplit=1) for line in entry.read_text().splitlines() if line[:1].isalpha())
        for key in ("linux", "initrd"):
            findings.expect((card.boot / said[key].lstrip("/")).stat().st_size, f"{entry.name}: {said[key]} is missing")
        findings.expect(f"root=UUID={_probed(card, ROOT_AT)} " in said["options"], said["options"])


def _pi_boots(card: Card, findings: Findings) -> None:
    missing = [name for name in (*PI_TREES, *PI_FIRMWARE) if not (card.boot / name).exists()]
    findings.expect(not missing, f"the firmware finds no {missing}")
    config = (card.boot / "config.txt").read_text()
    for key in ("kernel", "initramfs"):
        named = re.search(rf"(?m)^{key}[= ](\S+)", config)
        findings.expect(named is not None and (card.boot / named[1]).exists(), f"config.txt: {key} is not there")
    # Without it a Raspberry Pi 3 or 4 leaves the UART of the header off (raspberrypi/documentation, uart.adoc).
    findings.expect(re.search(r"(?m)^enable_uart=1", config), "the header's UART stays off")
    for name in re.findall(r"(?m)^#?dtoverlay=(doorstep-[^,\s]+)", config):
        findings.expect((card.boot / f"overlays/{name}.dtbo").exists(), f"no overlay {name}")
    line = (card.boot / "cmdline.txt").read_text()
    findings.expect(f"root=UUID={_probed(card, ROOT_AT)} " in line and "console=tty0" in line, line)
    findings.expect("ttyS" not in line and "ttyAMA" not in line, f"the kernel talks on the console's line: {line}")
    missing = [name for name in PI_RADIOS if not (card.root / "usr/lib/firmware/brcm" / name).exists()]
    findings.expect(not missing, f"no firmware of the radio: {missing}")
    initrd = next((card.root / "boot").glob("initrd.img-*"))
    inside = card.within("lsinitramfs", f"/boot/{initrd.name}").stdout
    missing = [name for name in PI_MODULES if f"/{name}.ko" not in inside]
    findings.expect(not missing, f"the initial RAM disk lacks {missing}")


def _overlays_fit(card: Card, findings: Findings) -> None:
    layers = sorted((card.boot / "overlays").glob("doorstep-*.dtbo"))
    findings.expect(len(layers) == 3, f"overlays: {layers}")
    for name in PI_TREES:
        with tempfile.NamedTemporaryFile(suffix=".dtb") as whole:
            command = ["fdtoverlay", "-i", str(card.boot / name), "-o", whole.name, *map(str, layers)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        findings.expect(done.returncode == 0, f"the overlays do not fit {name}: {done.stderr}")


def _units(card: Card, findings: Findings) -> None:
    folder = "/usr/lib/systemd/system"
    names = [
        path.name
        for path in card.root.glob(f"{folder[1:]}/relay*")
        if path.suffix in (".service", ".socket", ".path", ".timer")
    ]
    own = [f"/etc/systemd/system/doorstep-{name}.service" for name in ("grow", "first-boot")]
    told = card.within("systemd-analyze", "verify", "--man=no", *own, *(f"{folder}/{name}" for name in names))
    # Only who wants the tunnel installs the program it needs.
    complaints = [line for line in told.stderr.splitlines() if "/usr/bin/ssh" not in line]
    findings.expect(not complaints, f"systemd complains: {complaints}")
    exposed = {unit: _exposure(card, f"{folder}/{unit}") for unit in EXPOSURE}
    too_much = {unit: value for unit, value in exposed.items() if value > EXPOSURE[unit]}
    findings.expect(not too_much, f"exposed: {too_much}")
    findings.see(
        f"{len(names) + len(own)} units under the image's own `systemd-analyze verify`; exposure",
        "nothing to complain of; " + ", ".join(f"{unit} {value}" for unit, value in exposed.items()),
    )


def _exposure(card: Card, unit: str) -> float:
    told = card.within("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", told.stdout)
    assert found is not None, told.stderr
    return float(found[1])


def compare(one: Path, other: Path, look: Callable[[str], None]) -> int:
    """Return how many bytes of two images differ; `look` is told in which region the first of them are."""
    differing, piece = 0, 1 << 20
    with one.open("rb") as left, other.open("rb") as right:
        at = 0
        while True:
            a, b = left.read(piece), right.read(piece)
            if not a and not b:
                return differing
            if a != b:
                count = sum(x != y for x, y in zip(a, b, strict=False)) + abs(len(a) - len(b))
                look(f"{count} bytes from {at:#x}")
                differing += count
            at += piece
