"""A run of many minutes that its first miss ends: what it saw is a table, and after a miss its folder stays."""

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.guest.findings import Findings, MissError
from tests.guest.image import MissingError
from tests.guest.qemu import GuestError


def require(packages: Iterable[str]) -> None:
    """Go on if none is lacking; the names are Debian's."""
    if lacking := " ".join(sorted(packages)):
        sys.exit(f"This machine lacks: {lacking}. As root: apt-get install {lacking}")


def accept(name: str, look: Callable[[Findings, Path], None], *, within_minutes: int, keep: bool) -> int:
    """Return 0 when `look`, which gets a folder of its own, missed nothing in time; `keep` the folder in any case."""
    findings, folder = Findings(), Path(tempfile.mkdtemp(prefix=f"doorstep-{name}-"))
    passed = False

    def too_late(_number: int, _frame: object) -> None:
        raise TimeoutError(f"it takes longer than {within_minutes} minutes")

    def told_to_end(_number: int, _frame: object) -> None:
        # The boards go down with this process.
        sys.exit(1)

    signal.signal(signal.SIGALRM, too_late)
    signal.signal(signal.SIGTERM, told_to_end)
    signal.alarm(within_minutes * 60)
    try:
        look(findings, folder)
        passed = True
    except (MissError, MissingError, GuestError, TimeoutError, OSError, subprocess.SubprocessError) as error:
        print(f"MISSED: {error}", flush=True)
    finally:
        signal.alarm(0)
        print(findings.table("Nothing was missed" if passed else "MISSED"), flush=True)
        if passed and not keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"disks and logs: {folder}")
    return 0 if passed else 1
