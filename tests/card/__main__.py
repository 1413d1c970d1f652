"""The card images: `./box test image`. An hour and more, most of it for building two of them under an emulator.

Builds the packages and the images of every board, looks into them, starts each on an emulated board, sets it up over
its serial line, starts it again, and once more without its boot partition. Prints a table of what was seen.
"""

import argparse
import sys
from pathlib import Path

from tests.card import inspection, life, making
from tests.card.machine import EMULATIONS
from tests.guest.acceptance import accept, require
from tests.guest.findings import Findings

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
    require(making.lacking(boards))

    def look(findings: Findings, folder: Path) -> None:
        for board in boards:
            _one(board, asked, folder, findings)

    return accept("card", look, within_minutes=_MOST_MINUTES, keep=asked.keep)


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
        found = sorted(asked.images.glob(f"doorstep_{board}_*.img"))
        findings.expect(found, f"there is no image of {board} in {asked.images}")
        image = found[0]
    with findings.stage(f"{board}: looked into"):
        inspection.inspect(image, board, findings)
    life.live(board, image, folder, findings)


if __name__ == "__main__":
    sys.exit(main())
