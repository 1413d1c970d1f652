"""On which whole disks a file lies: partitions, and what is laid over disks, are followed down to what can be stolen.

Source: Documentation/ABI/stable/sysfs-block and testing/sysfs-dev of the kernel.
"""

import os
from pathlib import Path

_DEEPEST = 8


def disks_under(path: Path, root: Path = Path("/")) -> frozenset[str]:
    """Return the kernel's names of the disks under `path`, none where it lies on no block device, or is not there."""
    return frozenset(folder.name for folder in disk_folders(path, root))


def disk_folders(path: Path, root: Path = Path("/")) -> frozenset[Path]:
    """Return the folders in which the kernel shows these disks."""
    try:
        number = path.stat().st_dev
    except OSError:
        return frozenset()
    return _disks(root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}", _DEEPEST)


def _disks(place: Path, depth: int) -> frozenset[Path]:
    try:
        device = place.resolve(strict=True)
    except OSError:
        return frozenset()
    below = sorted((device / "slaves").iterdir()) if (device / "slaves").is_dir() else []
    if below and depth:
        return frozenset().union(*(_disks(each, depth - 1) for each in below))
    return frozenset([device.parent if (device / "partition").exists() else device])
