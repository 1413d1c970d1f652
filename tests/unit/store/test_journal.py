from pathlib import Path

import pytest

from relay.base.errors import DamagedError
from relay.store.faults import StaleIndexError
from relay.store.frame import BLOCK_BYTES
from relay.store.journal import Journal
from relay.store.segments import NoFreeSegmentError
from tests.fakes.files import MemoryFiles

FOLDER = Path("/state/journal")
SEGMENT = str(FOLDER / "segment-00")


def open_journal(files: MemoryFiles, *, segments: int = 4) -> Journal:
    journal = Journal(files, FOLDER, b"j" * 32, segments=segments, segment_bytes=256 * 1024)
    journal.open()
    return journal


def begin(files: MemoryFiles, *, after: int = 0) -> tuple[Journal, list[bytes]]:
    journal = open_journal(files)
    commits = list(journal.replay(after))
    journal.start(sequence=commits[-1][0] if commits else after, position=0, gap=10)
    return journal, [payload for _, payload in commits]


def test_commits_come_back_in_order_over_many_starts() -> None:
    files = MemoryFiles()
    written: list[bytes] = []
    for start in range(3):
        journal, found = begin(files)
        assert found == written
        for number in range(3):
            written.append(b"%d-%d" % (start, number))
            journal.commit(written[-1])
        journal.close()


def test_a_commit_larger_than_a_frame_spans_segments_and_comes_back_whole() -> None:
    files = MemoryFiles()
    journal, _ = begin(files)
    journal.commit(b"small")
    journal.commit(b"x" * 600_000)
    assert begin(files)[1] == [b"small", b"x" * 600_000]


def test_a_start_without_a_commit_eats_no_segment() -> None:
    files = MemoryFiles()
    boots = []
    for _ in range(20):
        journal, _ = begin(files)
        boots.append(journal.boot)
        assert journal.segments[0] == 0
    assert boots == list(range(1, 21))


def test_a_crash_loop_with_one_commit_each_is_stopped_by_the_full_journal_not_by_loss() -> None:
    files = MemoryFiles()
    for number in range(4):
        journal, found = begin(files)
        assert len(found) == number
        journal.commit(b"x")
    journal, found = begin(files)
    with pytest.raises(NoFreeSegmentError):
        journal.commit(b"y")
    assert len(found) == 4


def test_segments_come_back_when_the_index_holds_them_and_old_frames_are_not_read_as_new() -> None:
    files = MemoryFiles()
    journal, _ = begin(files)
    for number in range(40):
        journal.commit(b"%d" % number + b"x" * 30_000)
        journal.release(journal.sequence)
    assert journal.segments[0] <= 2
    assert journal.sequence == 40
    assert list(open_journal(files).replay(40)) == []


def test_a_torn_last_commit_is_taken_for_never_made() -> None:
    files = MemoryFiles()
    journal, _ = begin(files)
    journal.commit(b"first")
    journal.commit(b"second")
    files.contents[SEGMENT][BLOCK_BYTES + 100] ^= 1
    assert begin(files)[1] == [b"first"]


def test_damage_before_a_readable_commit_is_named_with_its_place() -> None:
    files = MemoryFiles()
    journal, _ = begin(files)
    for text in (b"first", b"second", b"third"):
        journal.commit(text)
    files.contents[SEGMENT][BLOCK_BYTES + 100] ^= 1
    with pytest.raises(DamagedError, match=r"commit 2 of the journal .*: segment 0 from byte 4096 to byte 8192"):
        list(open_journal(files).replay(0))


def test_damage_in_what_the_index_already_holds_does_not_matter() -> None:
    files = MemoryFiles()
    journal, _ = begin(files)
    for text in (b"first", b"second", b"third"):
        journal.commit(text)
    files.contents[SEGMENT][100] ^= 1
    assert [payload for _, payload in open_journal(files).replay(1)] == [b"second", b"third"]


def test_damage_in_an_earlier_segment_is_found_though_a_later_one_is_whole() -> None:
    files = MemoryFiles()
    journal, _ = begin(files)
    journal.commit(b"first")
    journal.commit(b"second")
    journal, _ = begin(files)
    journal.commit(b"third")
    files.contents[SEGMENT][BLOCK_BYTES + 100] ^= 1
    with pytest.raises(DamagedError, match="commit 2"):
        list(open_journal(files).replay(0))


def test_a_torn_tail_that_reads_well_later_loses_against_the_newer_segment() -> None:
    files = MemoryFiles()
    journal, _ = begin(files)
    journal.commit(b"first")
    journal.commit(b"never acknowledged")
    files.contents[SEGMENT][BLOCK_BYTES + 100] ^= 1
    journal, found = begin(files)
    assert found == [b"first"]
    journal.commit(b"second")
    files.contents[SEGMENT][BLOCK_BYTES + 100] ^= 1
    assert begin(files)[1] == [b"first", b"second"]


def test_an_index_older_than_the_journal_is_a_named_fault() -> None:
    files = MemoryFiles()
    journal, _ = begin(files)
    journal.commit(b"first")
    journal.commit(b"second")
    journal.release(2)
    with pytest.raises(StaleIndexError):
        list(open_journal(files).replay(1))


def test_a_garbled_root_page_leaves_the_other_one() -> None:
    files = MemoryFiles()
    journal, _ = begin(files)
    journal.commit(b"first")
    newest = max(("root.a", "root.b"), key=lambda name: bytes(files.contents[str(FOLDER / name)][8:16][::-1]))
    older = "root.b" if newest == "root.a" else "root.a"
    files.contents[str(FOLDER / older)][50] ^= 1
    assert begin(files)[1] == [b"first"]


def test_two_garbled_root_pages_are_damage() -> None:
    files = MemoryFiles()
    begin(files)
    for name in ("root.a", "root.b"):
        files.contents[str(FOLDER / name)][50] ^= 1
    with pytest.raises(DamagedError, match="neither root page"):
        open_journal(files)


def test_has_room_says_what_commit_does() -> None:
    journal, _ = begin(MemoryFiles())
    while journal.has_room(100_000):
        journal.commit(b"x" * 100_000)
    with pytest.raises(NoFreeSegmentError):
        journal.commit(b"x" * 100_000)
    assert not journal.has_room(5_000_000)
