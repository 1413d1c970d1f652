"""The card images: `./box test image`. An hour and more, most of it for building two of them under an emulator.

Builds the packages and the images of every board, looks into them, starts each on an emulated board, sets it up over
its serial line, starts it again, and once more without its boot partition. Prints a table of what was seen.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.card import inspection, life, making
from tests.card.machine import EMULATIONS
from tests.guest.findings import Findings, MissError
from tests.guest.image import MissingError
from tests.guest.machine import GuestError

_MOST_MINUTES = 150


def main() -> int:
    """Run everything; return 0 when nothing was missed."""
    parser = argparse.ArgumentParser(prog="./box test image", description=__doc__)
    parser.add_argument("--board", action="append", choices=sorted(EMULATIONS), help="only this one; may be repeated")
    parser.add_argument("--images", type=Path, help="take doorstep_BOARD_*.img from here instead of building them")
    parser.add_argument("--twice", action="store_true", help="build each image again and compare")
    parser.add_argument("--keep", action="store_true", help="leave images, cards and logs where they are")
    asked = parser.parse_args()
    boards = asked.board or list(EMULATIONS)
    if lacking := making.missing_programs(boards):
        print(f"This machine lacks: {' '.join(lacking)}. As root: apt-get install {' '.join(lacking)}")
        return 1
    findings = Findings()
    folder = Path(tempfile.mkdtemp(prefix="doorstep-card-"))
    verdict = "MISSED"
    signal.signal(signal.SIGALRM, _too_late)
    signal.signal(signal.SIGTERM, _told_to_end)
    signal.alarm(_MOST_MINUTES * 60)
    try:
        for board in boards:
            _one(board, asked, folder, findings)
        verdict = "Nothing was missed"
    except (MissError, MissingError, GuestError, TimeoutError, OSError, subprocess.SubprocessError) as error:
        print(f"MISSED: {error}", flush=True)
    finally:
        signal.alarm(0)
        print(findings.table(verdict), flush=True)
        if asked.keep or verdict == "MISSED":
            print(f"images, cards and logs: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if verdict != "MISSED" else 1


def _one(board: str, asked: argparse.Namespace, folder: Path, findings: Findings) -> None:
    if asked.images is None:
        with findings.stage(f"{board}: build"):
            image, took_s = making.build(board, folder / "build")
            findings.see(f"{board}: package and image built", f"{took_s:.0f} s")
        if asked.twice:
            with findings.stage(f"{board}: build again"):
                again, _ = making.build(board, folder / "again")
                differing = inspection.compare(image, again, print)
                findings.see(f"{board}: bytes that differ when it is built again", differing)
                again.unlink()
    else:
        image = next(asked.images.glob(f"doorstep_{board}_*.img"))
    with findings.stage(f"{board}: looked into"):
        inspection.inspect(image, board, findings)
    life.live(board, image, folder, findings)


def _too_late(_number: int, _frame: object) -> None:
    raise TimeoutError(f"it takes longer than {_MOST_MINUTES} minutes")


def _told_to_end(_number: int, _frame: object) -> None:
    # The boards go down with this process.
    sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
