"""Bytes and flushes that reach the device: a file system of its own on a loop device, read from /sys/block.

/proc/PID/io counts page-cache bytes and misses the file system's journal, so it is no measure of wear.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_SECTOR_BYTES = 512
_IMAGE_BYTES = 3 * 1024**3


@dataclass(frozen=True, slots=True)
class Written:
    """What the device was given since it was attached."""

    bytes: int
    flushes: int

    def __sub__(self, other: "Written") -> "Written":
        return Written(self.bytes - other.bytes, self.flushes - other.flushes)


class LoopDisk:
    """An ext4 of its own under `folder`; a context manager. Needs root."""

    def __init__(self, folder: Path, options: str = "noatime") -> None:
        self._options = options
        self._image = folder / "disk.img"
        self.path = folder / "disk"
        self._device = ""

    @property
    def device(self) -> Path:
        """The block device."""
        return Path(self._device)

    @staticmethod
    def unavailable() -> str:
        """Return why this machine cannot count device bytes; empty where it can."""
        if os.geteuid() != 0:
            return "needs root for a loop device"
        missing = [tool for tool in ("mkfs.ext4", "losetup", "mount", "umount") if not shutil.which(tool)]
        return f"needs {', '.join(missing)}" if missing else ""

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True)
        with self._image.open("wb") as image:
            image.truncate(_IMAGE_BYTES)
        # Without lazy initialisation the file system is quiet from the start.
        _run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self._image))
        self._device = _run("losetup", "-f", "--show", str(self._image)).strip()
        try:
            _run("mount", "-o", self._options, self._device, str(self.path))
        except subprocess.SubprocessError:
            _run("losetup", "-d", self._device)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            _run("umount", str(self.path))
        except subprocess.SubprocessError:
            # Somebody is still in there: it goes when they do, and the device with it.
            _run("umount", "--lazy", str(self.path))
        finally:
            _run("losetup", "-d", self._device)
            self._image.unlink()

    def written(self) -> Written:
        """Return the count so far, after everything in the page cache of this file system was written."""
        _run("sync", "-f", str(self.path))
        return self.written_now()

    def written_now(self) -> Written:
        """Return the count so far, forcing nothing."""
        # Documentation/block/stat.rst of the kernel: field 7 write sectors, field 16 flush I/Os.
        fields = Path(f"/sys/block/{Path(self._device).name}/stat").read_text().split()
        return Written(int(fields[6]) * _SECTOR_BYTES, int(fields[15]) if len(fields) > 15 else 0)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
