import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.app.theft import Place, place_of, theft
from relay.base.config import KEY_SOURCES, StoreConfig

SEALED, ALL = "no message", "everything"


def a_machine(tmp_path: Path, key_on: str) -> Path:
    """Return a root on which the state folder is on a card, and what is in /dev/shm on `key_on`."""
    card = tmp_path / "sys/devices/mmcblk0"
    for disk in ("mmcblk0/mmcblk0p2", "mmcblk0/mmcblk0p1", "sda/sda1"):
        (tmp_path / "sys/devices" / disk).mkdir(parents=True)
        (tmp_path / "sys/devices" / disk / "partition").touch()
    (tmp_path / "sys/dev/block").mkdir(parents=True)
    for folder, device in ((tmp_path, card / "mmcblk0p2"), (Path("/dev/shm"), tmp_path / "sys/devices" / key_on)):
        number = folder.stat().st_dev
        (tmp_path / f"sys/dev/block/{os.major(number)}:{os.minor(number)}").symlink_to(device)
    return tmp_path


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """Return a file on another file system than temporary folders are on."""
    path = Path("/dev/shm") / f"doorstep-test-{os.getpid()}.key"
    path.write_bytes(bytes(32))
    yield path
    path.unlink()


TOLD = [
    ("file in the folder", StoreConfig(), "none: desk profile", ALL, ALL),
    ("file on the card", StoreConfig(key_file="../root.key"), "none: desk profile", ALL, ALL),
    ("file on a stick", StoreConfig(key_file="STICK"), "card theft", SEALED, ALL),
    ("file that was pulled out", StoreConfig(key_file="/media/key/root.key"), "box theft", SEALED, SEALED),
    ("passphrase", StoreConfig(key_source="passphrase"), "box theft", SEALED, "once it is off: no message"),
    ("otp", StoreConfig(key_source="otp"), "card theft", SEALED, ALL),
    ("tpm", StoreConfig(key_source="tpm"), "card theft", SEALED, ALL),
    ("tpm with registers", StoreConfig(key_source="tpm", tpm_pcrs="7"), "card theft", SEALED, "what the system"),
]


@pytest.mark.parametrize(("what", "config", "protection", "card", "box"), TOLD, ids=[row[0] for row in TOLD])
def test_what_a_theft_reveals_is_said_for_each_place_of_the_key(
    what: str, config: StoreConfig, protection: str, card: str, box: str, tmp_path: Path, elsewhere: Path
) -> None:
    state, root = tmp_path / "state", a_machine(tmp_path, "sda/sda1")
    state.mkdir()
    (tmp_path / "root.key").touch()
    if config.key_file == "STICK":
        config = StoreConfig(key_file=str(elsewhere))
    found = theft(state, config, root)
    assert found.protection == protection
    assert found.card.startswith(card)
    assert found.box.startswith(box)
    # The keys of certificates lie in the folder as they are.
    assert ("get a new certificate" in found.card) == (card == SEALED)


def test_every_source_is_told_about() -> None:
    assert {config.key_source for _, config, *_ in TOLD} == set(KEY_SOURCES)


def test_another_partition_of_the_same_card_is_no_other_place(tmp_path: Path, elsewhere: Path) -> None:
    root = a_machine(tmp_path, "mmcblk0/mmcblk0p1")
    assert place_of(tmp_path, StoreConfig(key_file=str(elsewhere)), root) is Place.CARD
