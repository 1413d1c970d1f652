"""Repair: what is intact stays, what still fits is kept, what is lost is named, and the box goes on."""

import json
from collections.abc import Callable

import pytest

from relay.base.config import StoreConfig
from relay.base.errors import DamagedError
from relay.base.limits import MAX_QUARANTINE_BYTES
from relay.store.frame import BLOCK_BYTES
from relay.store.ledger import Change
from relay.store.opening import StateFolder
from relay.store.repair import Repaired, Soundness, repair
from relay.store.tables import Operation, Tables
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import FOLDER, KEYRING, SEGMENT_BYTES, memory_ledger
from tests.unit.store.test_ledger import NOTES, put
from tests.unit.store.test_opening import notes, segment, written

pytestmark = pytest.mark.usefixtures("autojump_clock")

JOURNAL = "/state/journal"


def mend(files: MemoryFiles, *tables: Tables, sound: Soundness | None = None) -> Repaired:
    state = StateFolder(
        folder=FOLDER,
        keys=KEYRING,
        tables=tables or (NOTES,),
        config=StoreConfig(journal_segments=4, checkpoint_journal_mib=4),
        files=files,
        segment_bytes=SEGMENT_BYTES,
    )
    return repair(state, sound or Soundness((), lambda _index, _number, _params: True))


async def reopened(files: MemoryFiles) -> list[int]:
    async with memory_ledger(NOTES, files=files) as ledger:
        assert ledger.healthy
        await ledger.run(put, 1_000, "goes on")
        cut = files.copy()
    async with memory_ledger(NOTES, files=cut) as ledger:
        return await ledger.read(notes)


async def test_a_sound_folder_is_left_alone() -> None:
    files = await written()
    before = {path: bytes(content) for path, content in files.contents.items() if "journal" in path}
    assert mend(files).lines() == ["nothing to repair"]
    assert {path: bytes(content) for path, content in files.contents.items() if "journal" in path} == before


async def test_a_hole_costs_the_commits_in_it_and_their_blocks_are_set_aside() -> None:
    files = await written()
    segment(files)[3 * BLOCK_BYTES + 100] ^= 1
    damaged = bytes(segment(files)[3 * BLOCK_BYTES : 4 * BLOCK_BYTES])
    done = mend(files)
    assert (done.held, done.lost, done.applied, done.left_out) == (2, [(4, 4)], 3, [])
    assert bytes(files.contents["/state/lost/1/segment-00.byte-12288"]) == damaged
    report = json.loads(bytes(files.contents["/state/lost/1/report.json"]))
    assert report["lost"] == [[4, 4]]
    assert "lost: commit 4" in report["lines"]
    assert await reopened(files) == [1, 2, 3, 5, 6, 1_000]


async def test_a_hole_at_the_end_names_what_the_headers_tell() -> None:
    files = await written()
    for block in (4, 5):
        segment(files)[block * BLOCK_BYTES + 100] ^= 1
    assert mend(files).lost == [(5, 6)]
    assert await reopened(files) == [1, 2, 3, 4, 1_000]


def lose_roots(files: MemoryFiles) -> None:
    for page in ("root.a", "root.b"):
        files.contents[f"{JOURNAL}/{page}"][100] ^= 1


def lose_segment(files: MemoryFiles) -> None:
    del files.contents[f"{JOURNAL}/segment-00"]


@pytest.mark.parametrize(("damage", "lost"), [(lose_roots, [(3, 6)]), (lose_segment, [])])
async def test_without_roots_or_segment_the_index_goes_on(
    damage: Callable[[MemoryFiles], None], lost: list[tuple[int, int]]
) -> None:
    files = await written()
    damage(files)
    done = mend(files)
    assert done.lost == lost
    assert done.fault
    async with memory_ledger(NOTES, files=files) as ledger:
        assert ledger.boot > 2**20 - 2
        assert ledger.position > 2**32
    assert await reopened(files) == [1, 2, 1_000]


async def test_a_missing_index_is_not_repaired_away() -> None:
    files = await written()
    del files.contents["/state/index.db"]
    with pytest.raises(DamagedError, match="only a backup"):
        mend(files)


REFER = Operation(940, "INSERT INTO answers(id, note) VALUES (?, ?)")
BY = Operation(941, "INSERT INTO authors(id, user) VALUES (?, ?)")
ANSWERS = Tables(
    "answers",
    (
        "CREATE TABLE IF NOT EXISTS answers(id INTEGER PRIMARY KEY, note INTEGER NOT NULL)",
        "CREATE TABLE IF NOT EXISTS authors(id INTEGER PRIMARY KEY, user INTEGER NOT NULL) WITHOUT ROWID",
    ),
    (REFER, BY),
)
SOUND = Soundness(
    (("answers", "EXISTS (SELECT 1 FROM main.notes WHERE id = NEW.note)"),), lambda _index, _number, _params: True
)


async def test_what_refers_to_something_lost_is_left_out_whole() -> None:
    files = MemoryFiles()

    def answer(change: Change, number: int, note: int, name: str) -> None:
        change.write(BY, number, change.intern(name))
        change.write(REFER, number, note)

    async with memory_ledger(NOTES, ANSWERS, files=files) as ledger:
        await ledger.run(put, 1, "kept")
        await ledger.run(answer, 10, 1, "@ann:example")  # the one that is lost, with the name it made
        await ledger.run(put, 2, "kept too")
        await ledger.run(answer, 11, 2, "@bob:example")
        await ledger.run(answer, 12, 2, "@ann:example")
        cut = files.copy()
    segment(cut)[BLOCK_BYTES + 100] ^= 1
    done = mend(cut, NOTES, ANSWERS, sound=SOUND)
    assert done.lost == [(2, 2)]
    assert [sequence for sequence, _ in done.left_out] == [5]
    async with memory_ledger(NOTES, ANSWERS, files=cut) as ledger:
        assert await ledger.read(lambda index: index.rows("SELECT id, note FROM answers")) == [(11, 2)]
        assert await ledger.read(lambda index: index.rows("SELECT id FROM authors")) == [(11,)]


async def test_a_repair_that_the_power_cut_ended_is_made_again() -> None:
    files = MemoryFiles(recording=True)
    files.contents = (await written()).contents
    segment(files)[3 * BLOCK_BYTES + 100] ^= 1
    states: list[MemoryFiles] = []
    files.record = lambda event: states.append(files.copy())  # type: ignore[method-assign]
    mend(files)
    assert len(states) > 20
    for state in states:
        mend(state)
        assert await reopened(state) == [1, 2, 3, 5, 6, 1_000]
        state.unregister()


@pytest.mark.parametrize("limit_blocks", [2, 3, 64])
async def test_no_more_is_set_aside_than_the_limit(monkeypatch: pytest.MonkeyPatch, limit_blocks: int) -> None:
    monkeypatch.setattr("relay.store.repair.MAX_QUARANTINE_BYTES", limit_blocks * BLOCK_BYTES)
    assert MAX_QUARANTINE_BYTES >= 4 * 1024 * 1024
    files = await written()
    for spoilt in (2, 3):
        segment(files)[spoilt * BLOCK_BYTES + 100] ^= 1
    done = mend(files)
    # Both root pages and the two damaged blocks, as far as the limit allows.
    assert done.aside_bytes == min(limit_blocks, 4) * BLOCK_BYTES
    aside = [path for path in files.contents if path.startswith("/state/lost/1/") and "report" not in path]
    assert sum(len(files.contents[path]) for path in aside) == done.aside_bytes
