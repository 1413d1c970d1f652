import os
from pathlib import Path

from relay.box.disks import disks_under


def a_machine(tmp_path: Path, below: str) -> Path:
    """Return a root whose kernel says that this test's folder is on the block device `below`."""
    number = tmp_path.stat().st_dev
    for place in ("block/mmcblk0/mmcblk0p2", "block/sda", "virtual/block/dm-0/slaves"):
        (tmp_path / "sys/devices" / place).mkdir(parents=True)
    (tmp_path / "sys/devices/block/mmcblk0/mmcblk0p2/partition").write_text("2\n")
    slave = tmp_path / "sys/devices/virtual/block/dm-0/slaves/mmcblk0p2"
    slave.symlink_to(tmp_path / "sys/devices/block/mmcblk0/mmcblk0p2")
    (tmp_path / "sys/dev/block").mkdir(parents=True)
    name = f"{os.major(number)}:{os.minor(number)}"
    (tmp_path / "sys/dev/block" / name).symlink_to(tmp_path / "sys/devices" / below)
    return tmp_path


def test_a_partition_is_part_of_its_disk(tmp_path: Path) -> None:
    root = a_machine(tmp_path, "block/mmcblk0/mmcblk0p2")
    assert disks_under(tmp_path, root) == {"mmcblk0"}


def test_a_whole_disk_is_itself(tmp_path: Path) -> None:
    root = a_machine(tmp_path, "block/sda")
    assert disks_under(tmp_path, root) == {"sda"}


def test_what_is_laid_over_a_disk_is_stolen_with_it(tmp_path: Path) -> None:
    root = a_machine(tmp_path, "virtual/block/dm-0")
    assert disks_under(tmp_path, root) == {"mmcblk0"}


def test_what_is_on_no_disk_or_not_there_is_under_none(tmp_path: Path) -> None:
    assert disks_under(tmp_path, tmp_path) == frozenset()
    assert disks_under(tmp_path / "gone", tmp_path) == frozenset()
