"""How worn the flash under a folder is, and how fast it wears.

eMMC says it itself (JESD84-B51 section 7.4, PRE_EOL_INFO [267] and DEVICE_LIFE_TIME_EST_TYP_A and _B [268, 269]; the
kernel's drivers/mmc/core/mmc.c shows them as `pre_eol_info`, by some versions without 0x, and `life_time`, as they were
at the start of the machine). SD cards say nothing, NVMe and SATA disks only to root's own programs. What was written
since the machine started is counted by the kernel (Documentation/block/stat.rst), and which card it is says `cid`
(Documentation/driver-api/mmc/mmc-dev-attrs.rst).
"""

import dataclasses
import time
from pathlib import Path

from relay.box.attributes import number, text
from relay.box.disks import disk_folders

SECTOR_BYTES = 512
_YEAR_S = 365 * 24 * 3600
_SECTORS_WRITTEN = 6
# What recording cards of 32 and 128 GB are sold for; no vendor of eMMC publishes less.
_TIMES_ITS_SIZE = 900
_KINDS = {"nvme": "nvme", "sd": "disk", "vd": "virtio"}


@dataclasses.dataclass(frozen=True, slots=True)
class FlashHealth:
    """What is known of one device.

    Attributes:
        device: the kernel's name of the whole disk.
        kind: `sd`, `emmc`, `nvme`, `disk` (SATA, USB), `virtio`, or empty.
        size_bytes: what it holds, 0 where that is not known.
        used_percent: of its life, for the worse of its two kinds of cells, in steps of ten; None where it does not say.
        reserve: `normal`, `warning` (80 % of the spare blocks are used), `urgent` (90 %), or empty.
        written_bytes: since the machine started.
        yearly_bytes: what a year like the time since then would write.
    """

    device: str
    kind: str
    size_bytes: int
    used_percent: int | None
    reserve: str
    written_bytes: int
    yearly_bytes: int

    def endurance_bytes(self, kind: str, endurance_gb: int) -> int:
        """Return what may be written to it in its life, 0 where nobody can tell.

        Args:
            kind: what the profile's figure is about, `auto` for whatever there is.
            endurance_gb: the profile's figure, in 10^9 bytes.
        """
        if kind in ("auto", self.kind) and endurance_gb:
            return endurance_gb * 10**9
        return self.size_bytes * _TIMES_ITS_SIZE if self.kind == "emmc" else 0


@dataclasses.dataclass(frozen=True, slots=True)
class Counter:
    """What the kernel counted for one disk.

    Attributes:
        card: the kernel's name of it, and after a colon what the card calls itself, where it does.
        sectors: of 512 bytes, written since the machine started.
        up_s: since then.
    """

    card: str
    sectors: int
    up_s: float


def read_counter(folder: Path, *, root: Path = Path("/")) -> Counter | None:
    """Return what was written to the disk under `folder`, None where it is no block device of this machine."""
    disk = _disk_under(folder, root)
    return None if disk is None else _counter_of(disk, root)


def look_at_flash(folder: Path, *, root: Path = Path("/")) -> FlashHealth | None:
    """Return the health of the disk under `folder`, None where it is no block device of this machine."""
    disk = _disk_under(folder, root)
    counter = None if disk is None else _counter_of(disk, root)
    if disk is None or counter is None:
        return None
    written_bytes = counter.sectors * SECTOR_BYTES
    return FlashHealth(
        device=disk.name,
        kind=_kind(disk),
        size_bytes=(number(disk / "size") or 0) * SECTOR_BYTES,
        used_percent=_used_percent(disk / "device/life_time"),
        reserve=_reserve(disk / "device/pre_eol_info"),
        written_bytes=written_bytes,
        yearly_bytes=int(written_bytes / max(counter.up_s, 1.0) * _YEAR_S),
    )


def _counter_of(disk: Path, root: Path) -> Counter | None:
    try:
        sectors = int((disk / "stat").read_text("ascii").split()[_SECTORS_WRITTEN])
        return Counter(f"{disk.name}:{text(disk / 'device/cid')}", sectors, _up_s(root))
    except (OSError, ValueError, IndexError):
        return None


def _disk_under(folder: Path, root: Path) -> Path | None:
    # Of several that share what is written, one is as good as the other.
    return min(disk_folders(folder, root), default=None)


def _kind(disk: Path) -> str:
    if disk.name.startswith("mmcblk"):
        # drivers/mmc/core/bus.c, type_show.
        return "emmc" if text(disk / "device/type") == "MMC" else "sd"
    return next((kind for start, kind in _KINDS.items() if disk.name.startswith(start)), "")


def _up_s(root: Path) -> float:
    try:
        return float((root / "proc/uptime").read_text("ascii").split()[0])
    except OSError:
        # A service that is shown its own processes only (ProcSubset=pid) asks the kernel.
        return time.clock_gettime(time.CLOCK_BOOTTIME)


def _used_percent(path: Path) -> int | None:
    # Two values, 0x01 for 0 to 10 % up to 0x0a for 90 to 100 %, 0x0b for past the end; 0x00 says nothing.
    try:
        steps = [int(word, 16) for word in path.read_text("ascii").split()]
    except (OSError, ValueError):
        return None
    known = [step for step in steps if 1 <= step <= 11]
    return max(known) * 10 if known else None


def _reserve(path: Path) -> str:
    try:
        value = int(path.read_text("ascii"), 16)
    except (OSError, ValueError):
        return ""
    return {1: "normal", 2: "warning", 3: "urgent"}.get(value, "")
