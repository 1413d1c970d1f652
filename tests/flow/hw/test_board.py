"""What `board.sh` settles of a board, and when it is settled anew."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# What `relay board` prints of a board with one line and a watchdog.
RELAY = """#!/bin/sh
echo "$*" >>"{folder}/asked"
[ ! -e "{folder}/broken" ] || exit 1
case "$*" in
*--systemd) echo '[Service]' ;;
*--console) [ ! -e "{folder}/device" ] || cat "{folder}/device" ;;
*--watchdog) echo '[Manager]' ;;
*--json) echo '{{"console": [{{"dev": "/dev/ttyS0"}}]}}' ;;
esac
"""


class Board:
    """A made-up machine whose service manager notes what it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home, self.etc = folder, folder / "home", folder / "etc"
        self.break_release(False)
        programs = folder / "programs"
        for path in (self.home / "current/bin", self.etc / "doorstep", programs, folder / "state"):
            path.mkdir(parents=True)
        (self.home / "current/python").write_text("/usr/bin/python3\n")
        self._program(self.home / "current/bin/relay", RELAY.format(folder=folder))
        self._program(programs / "systemctl", f'#!/bin/sh\necho "$@" >>"{folder}/told"\n')
        self._program(programs / "sync", "#!/bin/sh\n")
        self._path = f"{programs}:{os.environ['PATH']}"

    @staticmethod
    def _program(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def break_release(self, broken: bool) -> None:
        (self.folder / "broken").unlink(missing_ok=True)
        if broken:
            (self.folder / "broken").touch()

    def opens(self, line: str) -> None:
        """Have the release say this of what a console needs; nothing: nothing."""
        (self.folder / "device").write_text(f"{line}\n" if line else "")

    def start(self, *options: str) -> bool:
        """Do what a start does, or who calls it with other options; return whether the release was asked."""
        (self.folder / "asked").unlink(missing_ok=True)
        environment = {
            "PATH": self._path,
            "DOORSTEP_HOME": str(self.home),
            "DOORSTEP_STATE": str(self.folder / "state"),
            "DOORSTEP_ETC": str(self.etc),
        }
        command = ["sh", str(ROOT / "hw/package/board.sh"), *options]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=30)
        return (self.folder / "asked").exists()

    def says(self, name: str) -> str:
        path = self.etc / "systemd" / name
        return path.read_text() if path.exists() else ""


def test_a_board_is_settled_once_and_again_when_it_is_another(tmp_path: Path) -> None:
    board = Board(tmp_path)
    assert board.start("--if-changed")
    assert board.says("system/relay.service.d/50-board.conf") == "[Service]\n"
    assert board.says("system.conf.d/60-doorstep.conf") == "[Manager]\n"
    assert not (board.etc / "systemd/system/relay-console@.service.d/50-board.conf").exists()
    assert "enable --quiet relay-console@ttyS0.service" in (tmp_path / "told").read_text()
    assert not board.start("--if-changed")
    (tmp_path / "state/profile.toml").write_text("")
    assert not board.start("--if-changed")
    (tmp_path / "state/profile.toml").write_text("[watchdog]\n")
    assert board.start("--if-changed")


def test_who_runs_under_what_was_settled_before_is_started_again_when_it_is_settled_by_hand(tmp_path: Path) -> None:
    board = Board(tmp_path)
    restart = "try-restart --no-block relay.service relay-console@*.service"

    def restarts(*options: str) -> bool:
        (tmp_path / "told").write_text("")
        assert board.start(*options)
        return restart in (tmp_path / "told").read_text().splitlines()

    assert restarts()
    assert not restarts()
    board.opens("DeviceAllow=/dev/tpmrm0 rw")
    assert restarts()
    assert board.says("system/relay-console@.service.d/50-board.conf") == "DeviceAllow=/dev/tpmrm0 rw\n"
    board.opens("")
    assert restarts()
    assert not board.says("system/relay-console@.service.d/50-board.conf")


def test_a_console_goes_on_when_a_start_settles_another_board(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.opens("DeviceAllow=/dev/tpmrm0 rw")
    assert board.start("--if-changed")
    assert board.says("system/relay-console@.service.d/50-board.conf") == "DeviceAllow=/dev/tpmrm0 rw\n"
    assert "restart" not in (tmp_path / "told").read_text()


def test_a_release_that_says_nothing_of_the_board_is_asked_again_at_the_next_start(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.break_release(True)
    assert board.start("--if-changed")
    assert not (board.etc / "systemd/system/relay.service.d/50-board.conf").exists()
    board.break_release(False)
    assert board.start("--if-changed")
    assert board.says("system/relay.service.d/50-board.conf") == "[Service]\n"
    assert not board.start("--if-changed")


def test_what_was_settled_stays_when_a_release_no_longer_says_it(tmp_path: Path) -> None:
    board = Board(tmp_path)
    assert board.start("--if-changed")
    board.break_release(True)
    (tmp_path / "state/profile.toml").write_text("[watchdog]\n")
    assert board.start("--if-changed")
    assert board.says("system/relay.service.d/50-board.conf") == "[Service]\n"
    assert board.start("--if-changed")
