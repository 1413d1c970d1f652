"""A real file system that is full, or takes no writes any more, under SQLite itself; mounting one takes root."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from relay.base.config import StoreConfig
from relay.base.errors import RelayError, StorageError
from relay.store.ledger import Index, Ledger, open_ledger
from tests.crash.workload import TABLES, put
from tests.fakes.ledger import KEYRING

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system"),
]

CONFIG = StoreConfig(journal_segments=4, checkpoint_journal_mib=1)
SEGMENT_BYTES = 1 << 20


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "mount"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


def count(index: Index) -> int:
    found: int = index.value("SELECT count(*) FROM notes")
    return found


async def send(ledger: Ledger, first: int, end: int) -> int:
    """Return how many notes were acknowledged."""
    told = 0
    for number in range(first, end):
        with contextlib.suppress(RelayError):
            await ledger.run(put, number, b"y" * 5000)
            told += 1
    return told


def fill(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(descriptor, bytes(4096))
    os.close(descriptor)


async def test_a_full_file_system_loses_nothing_and_needs_no_restart(mount: Path) -> None:
    state = mount / "state"
    async with open_ledger(state, KEYRING, (TABLES,), CONFIG, segment_bytes=SEGMENT_BYTES) as ledger:
        told = await send(ledger, 0, 40)
        await ledger.checkpoint()
        fill(mount / "fill")
        told += await send(ledger, 40, 400)
        assert told < 400
        assert ledger.status().fault_code == "storage.no_room"
        assert await ledger.read(count) == told
        (mount / "fill").unlink()
        with trio.fail_after(35):
            while not ledger.status().healthy:
                await trio.sleep(0.1)
        assert await send(ledger, 1_000, 1_010) == 10
    async with open_ledger(state, KEYRING, (TABLES,), CONFIG, segment_bytes=SEGMENT_BYTES) as ledger:
        assert await ledger.read(count) == told + 10


async def test_a_file_system_gone_read_only_is_read_to_the_last_commit(mount: Path, tmp_path: Path) -> None:
    state, cut = mount / "state", tmp_path / "cut"
    async with open_ledger(state, KEYRING, (TABLES,), CONFIG, segment_bytes=SEGMENT_BYTES) as ledger:
        told = await send(ledger, 0, 20)
        shutil.copytree(state, cut, ignore=shutil.ignore_patterns("*-shm"))
    shutil.rmtree(state)
    shutil.copytree(cut, state)
    subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
    async with open_ledger(state, KEYRING, (TABLES,), CONFIG, segment_bytes=SEGMENT_BYTES) as ledger:
        assert "Read-only file system" in ledger.status().fault
        assert await ledger.read(count) == told == 20
        with pytest.raises(StorageError):
            await ledger.run(put, 99, b"refused")
