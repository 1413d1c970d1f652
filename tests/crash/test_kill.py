"""A real process over real files, killed at random moments, with threads, a second connection and the page cache."""

import random  # noqa: TID251 - a seeded generator
import subprocess
import sys
from pathlib import Path

import pytest

from relay.store.ledger import Index, open_ledger
from tests.crash.killed_box import CONFIG, SEGMENT_BYTES
from tests.crash.workload import TABLES
from tests.fakes.ledger import KEYRING

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
LIVES = 6


def live_and_kill(folder: Path, first: int, notes: int) -> set[int]:
    """Return what one life acknowledged before it was killed, `notes` or a few more."""
    box = subprocess.Popen(
        [sys.executable, "-m", "tests.crash.killed_box", str(folder), str(first)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert box.stdout is not None
    with box:
        told = {int(box.stdout.readline()) for _ in range(notes)}
        box.kill()
        # What the pipe still holds was acknowledged too; the last line may be cut.
        told |= {int(line) for line in box.stdout.read().split("\n")[:-1] if line}
    return told


def ids(index: Index) -> set[int]:
    rows = index.rows("SELECT n.id FROM notes n JOIN checks c USING (id)")
    assert index.rows("SELECT count(*) FROM notes") == index.rows("SELECT count(*) FROM checks") == [(len(rows),)]
    return {number for (number,) in rows}


async def test_a_box_killed_again_and_again_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(3)
    told: set[int] = set()
    for life in range(LIVES):
        told |= live_and_kill(tmp_path, life * 1_000_000, chance.randint(20, 500))
    async with open_ledger(tmp_path, KEYRING, (TABLES,), CONFIG, segment_bytes=SEGMENT_BYTES) as ledger:
        assert told - await ledger.read(ids) == set()
        assert ledger.boot == LIVES + 1
        assert await ledger.read(lambda index: index.rows("PRAGMA integrity_check")) == [("ok",)]
