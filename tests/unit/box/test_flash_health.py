import os
from pathlib import Path

import pytest

from relay.box.flash_health import FlashHealth, look_at_flash, read_counter

# reads, merged, sectors, ms, writes, merged, sectors written, ms, in flight, ms, weighted ms
STAT = "  120 0 9000 80 4000 100 2000000 900 0 500 980 0 0 0 0 12 3\n"


def card(folder: Path, *, partition: bool = True, disk_name: str = "mmcblk0", **attributes: str) -> Path:
    """Make the kernel's view of the disk under `folder`; return its root."""
    number = os.stat(folder).st_dev
    disk = folder / "sys/devices/platform/mmc0/block" / disk_name
    (disk / "device").mkdir(parents=True)
    (disk / "stat").write_text(STAT)
    (disk / "size").write_text("62333952\n")
    for name, text in attributes.items():
        (disk / "device" / name).write_text(text)
    place = disk
    if partition:
        place = disk / f"{disk_name}p2"
        place.mkdir()
        (place / "partition").write_text("2\n")
    links = folder / "sys/dev/block"
    links.mkdir(parents=True)
    (links / f"{os.major(number)}:{os.minor(number)}").symlink_to(place)
    (folder / "proc").mkdir()
    (folder / "proc/uptime").write_text("86400.00 100000.00\n")
    return folder


@pytest.mark.parametrize("partition", [True, False])
def test_what_was_written_is_counted_on_the_whole_disk_and_thought_on_to_a_year(
    tmp_path: Path, partition: bool
) -> None:
    health = look_at_flash(tmp_path, root=card(tmp_path, partition=partition))
    assert health is not None
    assert (health.device, health.used_percent, health.reserve) == ("mmcblk0", None, "")
    assert (health.kind, health.size_bytes) == ("sd", 62_333_952 * 512)
    assert health.written_bytes == 2_000_000 * 512
    assert health.yearly_bytes == 2_000_000 * 512 * 365


@pytest.mark.parametrize(
    ("life", "reserve", "percent", "word"),
    [
        ("0x01 0x02\n", "0x01\n", 20, "normal"),
        ("0x0b 0x01\n", "0x03\n", 110, "urgent"),
        ("0x09 0x09\n", "02\n", 90, "warning"),
        ("0x00 0x00\n", "0x00\n", None, ""),
        ("?\n", "?\n", None, ""),
    ],
)
def test_emmc_says_how_worn_it_is(tmp_path: Path, life: str, reserve: str, percent: int | None, word: str) -> None:
    health = look_at_flash(tmp_path, root=card(tmp_path, life_time=life, pre_eol_info=reserve))
    assert health is not None
    assert (health.used_percent, health.reserve) == (percent, word)


def health_of(kind: str, size_bytes: int = 32 * 10**9) -> FlashHealth:
    return FlashHealth("disk", kind, size_bytes, None, "", 0, 0)


@pytest.mark.parametrize(
    ("kind", "figure", "bears_gb"),
    [
        ("sd", ("sd", 29_000), 29_000),
        ("sd", ("sd", 0), 0),
        # A board's figure for its card says nothing of another kind of disk in it.
        ("nvme", ("sd", 29_000), 0),
        ("disk", ("sd", 29_000), 0),
        ("emmc", ("sd", 29_000), 28_800),
        ("emmc", ("emmc", 90_000), 90_000),
        ("emmc", ("auto", 0), 28_800),
        ("nvme", ("auto", 300_000), 300_000),
    ],
)
def test_what_a_device_bears_is_the_profiles_to_say_or_what_flash_of_its_size_bears(
    kind: str, figure: tuple[str, int], bears_gb: int
) -> None:
    assert health_of(kind).endurance_bytes(*figure) == bears_gb * 10**9


@pytest.mark.parametrize(
    ("name", "kind"), [("mmcblk0", "emmc"), ("nvme0n1", "nvme"), ("sda", "disk"), ("vda", "virtio"), ("zram0", "")]
)
def test_the_kinds_of_disks_are_told_apart(tmp_path: Path, name: str, kind: str) -> None:
    health = look_at_flash(tmp_path, root=card(tmp_path, disk_name=name, type="MMC\n"))
    assert health is not None
    assert (health.device, health.kind, health.used_percent) == (name, kind, None)


def test_what_is_encrypted_or_joined_is_written_to_the_disk_below(tmp_path: Path) -> None:
    root = card(tmp_path, type="SD\n")
    number = os.stat(tmp_path).st_dev
    link = root / "sys/dev/block" / f"{os.major(number)}:{os.minor(number)}"
    slave = root / "sys/devices/virtual/block/dm-0/slaves/mmcblk0p2"
    slave.parent.mkdir(parents=True)
    slave.symlink_to(link.resolve())
    link.unlink()
    link.symlink_to(slave.parent.parent)
    health = look_at_flash(tmp_path, root=root)
    assert health is not None
    assert (health.device, health.kind, health.written_bytes) == ("mmcblk0", "sd", 2_000_000 * 512)


def test_a_folder_on_no_disk_of_this_machine_has_no_health(tmp_path: Path) -> None:
    assert look_at_flash(tmp_path, root=tmp_path / "nowhere") is None


def test_a_service_that_sees_no_uptime_asks_the_kernel(tmp_path: Path) -> None:
    root = card(tmp_path, cid="1b534d30")
    (root / "proc/uptime").unlink()
    counter = read_counter(tmp_path, root=root)
    assert counter is not None
    assert (counter.card, counter.sectors) == ("mmcblk0:1b534d30", 2_000_000)
    assert counter.up_s > 0
    (tmp_path / "sys/devices/platform/mmc0/block/mmcblk0/stat").write_text("1 2 3\n")
    assert read_counter(tmp_path, root=root) is None


def test_the_disk_of_this_machine_has_a_counter_where_it_has_a_disk() -> None:
    place = Path("/sys/dev/block") / "{}:{}".format(*(f(os.stat("/").st_dev) for f in (os.major, os.minor)))
    assert (read_counter(Path("/")) is not None) == place.exists()
