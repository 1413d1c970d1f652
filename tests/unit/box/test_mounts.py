from pathlib import Path

import pytest

from relay.box.mounts import MOUNTS, Mount, mount_of

TEXT = r"""proc /proc proc rw,nosuid 0 0
/dev/mmcblk0p2 / ext4 rw,noatime 0 0
tmpfs /srv tmpfs rw 0 0
/dev/mmcblk0p3 /srv/door\040step ext4 rw,noatime,commit=300 0 0
/dev/sda1 /mnt vfat rw 0 0
not a line
"""


@pytest.mark.parametrize(
    ("folder", "place"),
    [
        ("/srv/door step/state", "/srv/door step"),
        ("/srv/door step", "/srv/door step"),
        ("/srv/door", "/srv"),
        ("/srvdoor", "/"),
        ("/mnt/x", "/mnt"),
    ],
)
def test_the_innermost_file_system_is_found(folder: str, place: str) -> None:
    mount = mount_of(Path(folder), TEXT)
    assert mount is not None
    assert mount.place == Path(place)


@pytest.mark.parametrize(
    ("kind", "options", "commit_s"),
    [
        ("ext4", ("rw",), 5),
        ("ext4", ("rw", "commit=300"), 300),
        ("ext3", ("commit=30", "commit=60"), 60),
        ("ext4", ("commit=soon",), 5),
        ("f2fs", ("rw",), None),
    ],
)
def test_only_journalled_file_systems_have_a_commit_interval(
    kind: str, options: tuple[str, ...], commit_s: int | None
) -> None:
    assert Mount(Path("/"), kind, options).commit_s == commit_s


def test_a_later_mount_hides_an_earlier_one_at_the_same_place() -> None:
    mount = mount_of(Path("/a"), "x / ext4 rw 0 0\ny / btrfs rw 0 0\n")
    assert mount is not None
    assert mount.kind == "btrfs"


def test_without_mounts_nothing_is_known() -> None:
    assert mount_of(Path("/a"), "") is None


def test_this_machine_says_where_its_files_are(tmp_path: Path) -> None:
    assert mount_of(tmp_path, MOUNTS.read_text("utf-8")) is not None
