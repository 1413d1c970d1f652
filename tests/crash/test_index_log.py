"""The index's write-ahead log when it cannot begin anew, because a change began while the copy ran."""

import random  # noqa: TID251 - a seeded generator: the same states every time
from pathlib import Path

import pytest

from relay.store.files import OS_FILES, FileLayer
from relay.store.index_file import IndexFile
from relay.store.tables import STORE_TABLES
from tests.crash.power_cut import Flash, Weather, restart
from tests.crash.workload import CHECK, TABLES
from tests.fakes.files import Event
from tests.fakes.ledger import FOLDER, KEYRING

pytestmark = pytest.mark.slow
LOG = str(FOLDER / "index.db-wal")


FRAME_BYTES = 24 + 4096


def open_index(files: FileLayer, folder: Path) -> IndexFile:
    index = IndexFile(folder / "index.db", KEYRING.index_key, (STORE_TABLES, TABLES), files)
    index.open()
    return index


def write_checks(index: IndexFile, first: int) -> None:
    index.begin_change()
    for number in range(first, first + 300):
        index.apply(CHECK, (number, b"x" * 32))
    index.keep_change()


def copied_and_appended(folder: Path) -> tuple[bytes, bytes, bytes]:
    """Return the database after a copy, its log then, and the log after one more commit that could not begin anew."""
    index = open_index(OS_FILES, folder)
    write_checks(index, 1_000)
    index.commit(10, 1)
    log = folder / "index.db-wal"
    # The change begins before the copy ends: its snapshot keeps the log from starting again.
    write_checks(index, 2_000)
    assert index.copy_back()
    database, copied_log = (folder / "index.db").read_bytes(), log.read_bytes()
    index.commit(20, 2)
    longer_log = log.read_bytes()
    index.close()
    return database, copied_log, longer_log


def test_a_log_garbled_behind_a_finished_copy_is_thrown_away(tmp_path: Path) -> None:
    database, copied_log, longer_log = copied_and_appended(tmp_path)
    assert longer_log.startswith(copied_log), "the log began anew: the test shows nothing"
    assert len(longer_log) > len(copied_log)
    thrown_away = 0
    for seed in range(200):
        chance = random.Random(seed)
        flash = Flash({str(FOLDER / "index.db"): database, LOG: copied_log})
        for offset in range(len(copied_log), chance.randint(len(copied_log) + 1, len(longer_log)), FRAME_BYTES):
            flash.play(Event("write", LOG, offset, longer_log[offset : offset + FRAME_BYTES]))
        found = restart(flash.after_cut(Weather.SECTORS, chance))
        index = open_index(found, FOLDER)
        if index.sequence < 1:
            index.discard_log()
            thrown_away += 1
        assert index.sequence in (1, 2)
        assert index.rows("PRAGMA integrity_check") == [("ok",)]
        assert index.rows("SELECT count(*) FROM checks") == [(300 * index.sequence,)]
        index.close()
        found.unregister()
    assert thrown_away, "no cut reached the border between old and new frames"
