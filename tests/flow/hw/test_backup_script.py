import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def run(folder: Path, *, works: bool = True) -> int:
    relay = folder / "relay"
    # A backup that fails half-way has written something by then.
    relay.write_text(
        f'#!/bin/sh\necho "$@" >>{folder}/asked\nwhile [ "$1" != --to ]; do shift; done\n'
        f'echo sealed >"$2"\nexit {0 if works else 1}\n'
    )
    relay.chmod(0o755)
    stick = folder / "stick"
    stick.mkdir(exist_ok=True)
    return subprocess.run(
        [str(ROOT / "hw/backup.sh"), "/state", str(stick), "/key"],
        env={"PATH": os.environ["PATH"], "RELAY": str(relay)},
        timeout=20,
        check=False,
    ).returncode


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "stick").iterdir())


def test_the_first_of_a_month_is_whole_and_the_others_what_changed(tmp_path: Path) -> None:
    assert run(tmp_path) == 0
    assert run(tmp_path) == 0
    first, second = (tmp_path / "asked").read_text().splitlines()
    assert "--since-last" not in first
    assert "--since-last" in second
    assert sum(name.endswith("-whole.doorstep") for name in names(tmp_path)) == 1
    assert len(names(tmp_path)) == 2


def test_what_failed_is_not_left_under_a_backups_name(tmp_path: Path) -> None:
    assert run(tmp_path, works=False) == 1
    assert names(tmp_path) == [".part"]
    assert run(tmp_path) == 0
    assert ".part" not in names(tmp_path)
