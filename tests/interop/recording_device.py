"""A file system whose every block write and flush is recorded: ext4 <- loop <- FUSE <- qemu-storage-daemon <- file.

No kernel module is needed, only root, /dev/fuse and a free loop device.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

IMAGE_BYTES = 160 * 1024 * 1024
_TOOLS = ("losetup", "mount", "umount", "mkfs.ext4", "e2fsck", "setpriv", "apt-get", "dpkg")
_OPTIONS = "noatime"


def unavailable() -> str:
    """Return why no block device can be recorded here; empty where it can."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [str(device) for device in (Path("/dev/fuse"), Path("/dev/loop-control")) if not device.exists()]
    missing += [tool for tool in _TOOLS if not shutil.which(tool)]
    return f"needs {', '.join(missing)}" if missing else ""


def run(*command: object, within_s: float = 60) -> None:
    """Run a tool.

    Raises:
        RuntimeError: it failed; the message holds its words.
    """
    words = [str(word) for word in command]
    outcome = subprocess.run(words, capture_output=True, text=True, timeout=within_s, check=False)
    if outcome.returncode:
        raise RuntimeError(f"{command[0]} ended with {outcome.returncode}: {outcome.stderr or outcome.stdout}")


class RecordingDevice:
    """A mounted ext4 under `mount_point`, from `start` to `close`, which leaves nothing behind.

    Attributes:
        mount_point: the mounted file system.
        base: the device before the first recorded request, right after mkfs.
        log: the recording, in the format of dm-log-writes.
    """

    def __init__(self, folder: Path, daemon: Path, libraries: str) -> None:
        folder.mkdir(parents=True)
        self._daemon, self._libraries = daemon, libraries
        self._image, self._export = folder / "image", folder / "export"
        self.mount_point, self.base, self.log = folder / "mounted", folder / "base", folder / "log"
        self._clean_up = contextlib.ExitStack()

    def start(self) -> None:
        """Make the file system and mount it.

        Raises:
            RuntimeError: this machine does not allow it.
        """
        with contextlib.ExitStack() as clean_up:
            self._start(clean_up)
            self._clean_up = clean_up.pop_all()

    def close(self) -> None:
        """Unmount, end the daemon; the recording stays."""
        self._clean_up.close()

    def log_bytes(self) -> int:
        """Return how long the recording is now: every request the device finished is in it."""
        return self.log.stat().st_size

    def _start(self, clean_up: contextlib.ExitStack) -> None:
        with self._image.open("wb") as image:
            image.truncate(IMAGE_BYTES)
        run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", self._image)
        run("cp", "--sparse=always", self._image, self.base)
        self.log.touch()
        self._export.touch()
        self.mount_point.mkdir()
        process = self._start_daemon()
        clean_up.callback(_end, process)
        clean_up.callback(_detach, self._export)
        _wait_until(lambda: self._export.stat().st_size == IMAGE_BYTES, process)
        # The kernel frees the loop device when the file system goes, however it goes.
        run("mount", "-o", f"loop,{_OPTIONS}", self._export, self.mount_point)
        clean_up.callback(_detach, self.mount_point)

    def _start_daemon(self) -> subprocess.Popen[bytes]:
        nodes = (
            f"driver=file,node-name=image,filename={self._image}",
            f"driver=file,node-name=log,filename={self.log}",
            "driver=blklogwrites,node-name=recorded,file=image,log=log,log-sector-size=512",
        )
        export = f"fuse,id=export,node-name=recorded,mountpoint={self._export},writable=on"
        blocks = [word for node in nodes for word in ("--blockdev", node)]
        # It ends with this process, should that be killed.
        line = ["setpriv", "--pdeathsig", "KILL", str(self._daemon), *blocks, "--export", export]
        return subprocess.Popen(line, env={**os.environ, "LD_LIBRARY_PATH": self._libraries})


@contextlib.contextmanager
def mounted(image: Path, mount_point: Path) -> Iterator[None]:
    """Mount an image while the block runs."""
    run("mount", "-o", f"loop,{_OPTIONS}", image, mount_point)
    try:
        yield
    finally:
        run("umount", mount_point)


def _wait_until(done: Callable[[], bool], process: subprocess.Popen[bytes], within_s: float = 15) -> None:
    deadline = time.monotonic() + within_s
    while not done():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("qemu-storage-daemon did not export the device")
        threading.Event().wait(0.02)  # nothing announces it: ask again soon


def _detach(place: Path) -> None:
    if subprocess.run(["umount", str(place)], capture_output=True, check=False).returncode:
        subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
