"""The package and the image, built as hw/README.md says."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.card.machine import EMULATIONS
from tests.guest.image import PROGRAMS, ROOT, SUITE, MissingError, missing_packages

ARCH = {"pc": "amd64", "arm64-efi": "arm64", "raspberry-pi": "arm64"}
_PROGRAMS = {
    **PROGRAMS,
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
    "sfdisk": "fdisk",
    "blkid": "util-linux",
}
_BUILD_WITHIN_S = 3600


def lacking(boards: list[str]) -> set[str]:
    """Return what this machine lacks, by Debian's names of the packages."""
    packages = missing_packages(_PROGRAMS)
    for board in boards:
        emulation = EMULATIONS[board]
        if shutil.which(emulation.program) is None:
            packages.add("qemu-system-x86")
        if emulation.firmware is not None and not Path(emulation.firmware[0]).exists():
            packages.add("ovmf" if board == "pc" else "qemu-efi-aarch64")
        if ARCH[board] == "arm64" and not Path("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists():
            packages.add("qemu-user-static")
    return packages


def build(board: str, folder: Path) -> tuple[Path, float]:
    """Return a new image in `folder`, and how many seconds it took.

    Raises:
        MissingError: it could not be made; what the tools said is in `build.log` there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    package = _run(folder, "hw/package/build.py", "--suite", SUITE, "--arch", ARCH[board], "--out", folder)
    image = _run(
        folder,
        *("hw/image/build.py", "--board", board, "--package", package, "--out", folder, "--scratch", folder),
    )
    return Path(image), time.monotonic() - begun


def _run(folder: Path, script: str, *arguments: object) -> str:
    with (folder / "build.log").open("ab") as log:
        done = subprocess.run(
            [sys.executable, str(ROOT / script), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            timeout=_BUILD_WITHIN_S,
            check=False,
        )
    if done.returncode:
        raise MissingError(f"{script} ended with {done.returncode}: {(folder / 'build.log').read_text()[-1500:]}")
    return done.stdout.splitlines()[-1]
