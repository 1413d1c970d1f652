"""The USB gadget script against a made-up configfs: plain folders, where the kernel's would hold attributes."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


class Board:
    """A board whose kernel shows `controllers` USB device controllers."""

    def __init__(self, folder: Path, *, controllers: int = 1) -> None:
        self.gadget = folder / "config/usb_gadget/doorstep"
        self.gadget.parent.mkdir(parents=True)
        self.controllers = folder / "udc"
        self.controllers.mkdir()
        for number in range(controllers):
            (self.controllers / f"fe98000{number}.usb").touch()
        self.programs = folder / "programs"
        self.programs.mkdir()
        # In configfs the kernel's own attributes and groups go with their folder; links and what we made do not.
        rmdir = self.programs / "rmdir"
        rmdir.write_text(
            "#!/bin/sh\n"
            '[ -z "$(find "$1" -mindepth 1 -type l)" ] || exit 1\n'
            'find "$1" -type f -delete\n'
            'find "$1" -depth -mindepth 1 -type d -name "*s" -empty -delete\n'
            'exec /bin/rmdir "$1"\n'
        )
        rmdir.chmod(0o755)

    def run(self, verb: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "CONFIGFS": str(self.gadget.parents[1]),
            "UDC_CLASS": str(self.controllers),
        }
        return subprocess.run(
            [str(ROOT / "hw/gadget.sh"), verb], env=environment, capture_output=True, text=True, timeout=20, check=False
        )

    def says(self, name: str) -> str:
        return (self.gadget / name).read_text().strip()


def test_the_data_port_becomes_a_console_and_a_network_link(tmp_path: Path) -> None:
    board = Board(tmp_path)
    assert board.run("up").returncode == 0
    assert board.says("UDC") == "fe980000.usb"
    assert sorted(path.name for path in (board.gadget / "configs/c.1").iterdir() if path.is_symlink()) == [
        "acm.GS0",
        "ncm.usb0",
    ]
    assert board.says("strings/0x409/product") == "Doorstep console"
    # Locally administered, unicast, and not the same at both ends.
    ends = [board.says(f"functions/ncm.usb0/{end}_addr") for end in ("host", "dev")]
    assert [int(end[:2], 16) & 3 for end in ends] == [2, 2]
    assert ends[0] != ends[1]


def test_a_second_start_gives_the_same_addresses_and_down_leaves_nothing(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.run("up")
    before = board.says("functions/ncm.usb0/host_addr")
    assert board.run("up").returncode == 0
    assert board.says("functions/ncm.usb0/host_addr") == before
    assert board.run("down").returncode == 0
    assert not board.gadget.exists()
    assert board.run("down").returncode == 0


def test_a_board_that_cannot_be_a_device_says_so(tmp_path: Path) -> None:
    done = Board(tmp_path, controllers=0).run("up")
    assert (done.returncode, done.stderr) == (1, "gadget: this board has no USB device controller\n")


@pytest.mark.parametrize("verb", ["", "sideways"])
def test_anything_else_is_wrong_usage(tmp_path: Path, verb: str) -> None:
    assert Board(tmp_path).run(verb).returncode == 2
