"""How worn the flash under a folder is, and how fast it wears.

eMMC says it itself (Documentation/driver-api/mmc/mmc-dev-attrs.rst of the kernel, JESD84-B51 section 7.4: `life_time`,
`pre_eol_info`). SD cards say nothing: what was written since the machine started is counted by the kernel
(Documentation/block/stat.rst).
"""

import dataclasses
import os
from pathlib import Path

_SECTOR_BYTES = 512
_YEAR_S = 365 * 24 * 3600
_SECTORS_WRITTEN = 6


@dataclasses.dataclass(frozen=True, slots=True)
class FlashHealth:
    """What is known of one device.

    Attributes:
        device: the kernel's name of the whole disk.
        used_percent: of its life, for the worse of its two kinds of cells, in steps of ten; None where it does not say.
        reserve: `normal`, `warning` (80 % of the spare blocks are used), `urgent` (90 %), or empty.
        written_bytes: since the machine started.
        yearly_bytes: what a year like the time since then would write.
    """

    device: str
    used_percent: int | None
    reserve: str
    written_bytes: int
    yearly_bytes: int


def look_at_flash(folder: Path, *, root: Path = Path("/")) -> FlashHealth | None:
    """Return the health of the disk under `folder`, None where it is no block device of this machine."""
    number = os.stat(folder).st_dev
    place = root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}"
    try:
        disk = place.resolve(strict=True)
    except OSError:
        return None
    if (disk / "partition").exists():
        disk = disk.parent
    try:
        written_bytes = int((disk / "stat").read_text("ascii").split()[_SECTORS_WRITTEN]) * _SECTOR_BYTES
        up_s = float((root / "proc/uptime").read_text("ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return FlashHealth(
        device=disk.name,
        used_percent=_used_percent(disk / "device/life_time"),
        reserve=_reserve(disk / "device/pre_eol_info"),
        written_bytes=written_bytes,
        yearly_bytes=int(written_bytes / max(up_s, 1.0) * _YEAR_S),
    )


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
