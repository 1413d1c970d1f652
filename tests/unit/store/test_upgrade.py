"""An older format becomes this release's at the first start; a newer one is refused and left alone."""

import shutil
from pathlib import Path

import apsw
import pytest

from relay.base.errors import DamagedError, NewerFormatError, StorageError
from relay.store.faults import StaleIndexError
from relay.store.keyring import FILE_NAME, KeyFile, create_keyring, open_keyring
from relay.store.ledger import open_ledger
from relay.store.packing import pack, unpack
from relay.store.root_page import page_format
from relay.store.segments import read_pages
from relay.store.tables import FIRST_FORMAT, STATE_FORMAT, STORE_TABLES, Migration, Tables, newest_format, steps_between
from relay.store.tail import RecycledError, Tail
from relay.store.upgrade import MARK, UpgradeError
from tests.fakes.files import MemoryFiles
from tests.fakes.formats import CONFIG, NEW, NEXT, OLD, PUT_NEXT, folder_of, layout, put, start
from tests.fakes.ledger import FOLDER, KEYRING, SEGMENT_BYTES, memory_ledger


async def used(*, cleanly: bool, count: int = 40) -> MemoryFiles:
    """Return the files of a box of the old release."""
    files = MemoryFiles()
    async with memory_ledger(OLD, files=files, config=CONFIG) as ledger:
        for number in range(count):
            await ledger.run(put, number, bytes([number]) * (number + 1))
        cut = files.copy()
    return files if cleanly else cut


@pytest.mark.parametrize("cleanly", [True, False])
async def test_the_first_start_of_a_newer_release_upgrades_what_journal_and_index_hold(cleanly: bool) -> None:
    files = await used(cleanly=cleanly)
    async with memory_ledger(NEW, files=files, config=CONFIG) as ledger:
        assert await ledger.read(lambda index: index.rows("SELECT id, size FROM letters ORDER BY id")) == [
            (number, number + 1) for number in range(40)
        ]
        await ledger.run(lambda change: change.write(PUT_NEXT, 99, b"x", 1))
        cut = files.copy()
    index, journal = start(cut, NEW)
    assert index.format == journal.format == NEXT
    assert index.rows("SELECT count(*), max(id) FROM letters") == [(41, 99)]
    assert index.rows("SELECT text FROM names ORDER BY text")[0] == ("@user0:example",)
    assert not files.exists(FOLDER / MARK)


async def test_a_copy_of_the_index_from_before_is_not_taken_for_the_present_one() -> None:
    files = await used(cleanly=True)
    before = bytes(files.contents[str(FOLDER / "index.db")])
    async with memory_ledger(NEW, files=files, config=CONFIG) as ledger:
        with pytest.raises(RecycledError):
            Tail(ledger._journal, ledger.sequence - 1).read(1)
        await ledger.run(put, 99, b"x")
        cut = files.copy()
    cut.contents[str(FOLDER / "index.db")] = bytearray(before)
    cut.contents.pop(str(FOLDER / "index.db-wal"))
    with pytest.raises(StaleIndexError):
        start(cut, NEW)


async def test_an_upgraded_folder_has_the_tables_of_a_new_one() -> None:
    upgraded, _ = start(await used(cleanly=False), NEW)
    fresh, _ = start(MemoryFiles(), NEW)
    assert layout(upgraded) == layout(fresh)
    assert fresh.rows("SELECT number FROM state_format") == [(NEXT,)]


@pytest.mark.parametrize("cleanly", [True, False])
async def test_an_older_release_refuses_an_upgraded_folder_and_changes_no_byte(cleanly: bool) -> None:
    files = MemoryFiles()
    async with memory_ledger(NEW, files=files, config=CONFIG) as ledger:
        await ledger.run(put, 1, b"x")
        cut = files.copy()
    files = files if cleanly else cut
    before = folder_of(files)
    with pytest.raises(NewerFormatError, match=f"format {NEXT}, this release knows {STATE_FORMAT}; install") as refused:
        start(files, OLD)
    assert refused.value.code == "storage.newer_format"
    assert folder_of(files) == before


async def test_both_root_pages_are_raised_so_that_no_release_takes_the_other_for_the_newest() -> None:
    files = await used(cleanly=True)
    start(files, NEW)
    assert [page_format(page) for page in read_pages(files, FOLDER / "journal")] == [NEXT, NEXT]


async def test_a_newer_index_beside_an_older_journal_is_refused_too() -> None:
    old, new = await used(cleanly=True), await used(cleanly=True)
    start(new, NEW)
    old.contents[str(FOLDER / "index.db")] = new.contents[str(FOLDER / "index.db")]
    with pytest.raises(NewerFormatError, match=r"index.db was made by a newer release"):
        start(old, OLD)


async def test_one_garbled_format_beside_a_good_page_is_a_torn_page() -> None:
    files = await used(cleanly=True)
    files.contents[str(FOLDER / "journal" / "root.a")][4] ^= 0x40
    index, journal = start(files, OLD)
    assert index.rows("SELECT count(*) FROM letters") == [(40,)]
    assert journal.format == STATE_FORMAT


async def test_the_files_of_the_system_are_upgraded_like_those_in_memory(tmp_path: Path) -> None:
    async with open_ledger(tmp_path, KEYRING, (OLD,), CONFIG, segment_bytes=SEGMENT_BYTES) as ledger:
        for number in range(40):
            await ledger.run(put, number, bytes(number + 1))
        shutil.copytree(tmp_path, tmp_path / "cut")
    for folder in (tmp_path, tmp_path / "cut"):
        for _ in range(2):
            async with open_ledger(folder, KEYRING, (NEW,), CONFIG, segment_bytes=SEGMENT_BYTES) as ledger:
                assert await ledger.read(lambda index: index.row("SELECT count(*), sum(size) FROM letters")) == (
                    40,
                    820,
                )
        with pytest.raises(NewerFormatError):
            async with open_ledger(folder, KEYRING, (OLD,), CONFIG, segment_bytes=SEGMENT_BYTES):
                pass


def broken(step: object) -> Tables:
    return Tables(NEW.name, NEW.ddl, NEW.operations, (Migration(NEXT, (*NEW.migrations[0].steps, step)),))  # type: ignore[arg-type]


def refuse(_connection: apsw.Connection) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("step", "error", "words"),
    [
        ("INSERT INTO letters(id, text) VALUES (1, 'taken')", UpgradeError, "go back to the older release"),
        (refuse, StorageError, "make room"),
    ],
)
async def test_a_migration_that_fails_leaves_the_folder_to_the_older_release(
    step: object, error: type[Exception], words: str
) -> None:
    files = await used(cleanly=False)
    with pytest.raises(error, match=f"failed; nothing was changed.*{words}"):
        start(files, broken(step))
    index, journal = start(files, OLD)
    assert index.rows("SELECT count(*) FROM letters") == [(40,)]
    assert layout(index) == layout(start(await used(cleanly=True), OLD)[0])
    assert journal.format == STATE_FORMAT


class FullCard(MemoryFiles):
    """A card that refuses writes to one file from some moment on."""

    refused = ""

    def before(self, kind: str, path: str) -> None:
        if kind == "write" and self.refused and self.refused in path:
            raise OSError(28, "No space left on device")


@pytest.mark.parametrize("name", ["index.db-wal", "index.db", "/journal/root."])
async def test_a_card_that_is_full_during_the_upgrade_loses_nothing(name: str) -> None:
    files = FullCard()
    files.contents = (await used(cleanly=False)).contents
    files.refused = name
    with pytest.raises((StorageError, DamagedError, OSError)):
        start(files, NEW)
    files.refused = ""
    index, _ = start(files, NEW)
    assert index.rows("SELECT count(*), sum(size) FROM letters") == [(40, 820)]


async def test_memory_stays_bounded_whatever_an_upgrade_changes() -> None:
    files = MemoryFiles()
    async with memory_ledger(OLD, files=files, config=CONFIG) as ledger:
        for number in range(120):
            await ledger.run(put, number, bytes(100_000))
    again = Tables(
        "letters",
        ("CREATE TABLE IF NOT EXISTS copies(id INTEGER PRIMARY KEY, text BLOB NOT NULL)",),
        OLD.operations,
        (
            Migration(
                NEXT,
                (
                    "CREATE TABLE copies(id INTEGER PRIMARY KEY, text BLOB NOT NULL)",
                    "INSERT INTO copies SELECT id, text FROM letters ORDER BY id",
                    "DROP TABLE letters",
                ),
            ),
        ),
    )
    before = apsw.memory_used()
    apsw.memory_high_water(True)
    index, _ = start(files, again)
    assert apsw.memory_high_water() - before < 7 << 20
    assert index.rows("SELECT count(*), sum(length(text)) FROM copies") == [(120, 12_000_000)]


class Told:
    """What was logged, by name."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def warning(self, name: str, **facts: object) -> None:
        self.lines.append((name, facts))


async def test_a_long_upgrade_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    monkeypatch.setattr("relay.store.upgrade.log", told)
    monkeypatch.setattr("relay.store.upgrade._TELL_EVERY_S", 0.0)
    monkeypatch.setattr("relay.store.upgrade._LOOK_EVERY_INSTRUCTIONS", 50)
    files = await used(cleanly=True)
    seen: list[bytes] = []

    def look(_connection: apsw.Connection) -> None:
        seen.append(bytes(files.contents[str(FOLDER / MARK)]))

    start(files, broken(look))
    assert seen == [b"3 of 3"]
    assert told.lines[0] == ("store.upgrade_begun", {"kind": f"{STATE_FORMAT} to {NEXT}"})
    assert told.lines[-2] == ("store.upgrade_continued", {"count": 1, "limit": 3})
    assert told.lines[-1][0] == "store.upgraded"


def test_steps_run_by_format_and_within_one_format_by_room() -> None:
    a = Tables("a", (), (), (Migration(5, ("five of a",)), Migration(6, ("six of a",))))
    b = Tables("b", (), (), (Migration(4, ("four of b",)), Migration(5, ("five of b",))))
    assert newest_format((a, b)) == 6
    assert newest_format(()) == FIRST_FORMAT
    assert steps_between((a, b), 4, 6) == [(5, "five of a"), (5, "five of b"), (6, "six of a")]
    assert newest_format((STORE_TABLES,)) == STATE_FORMAT


def test_a_keyring_of_a_newer_format_is_named(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    create_keyring(tmp_path, KeyFile(key))
    _, *fields = unpack((tmp_path / FILE_NAME).read_bytes())
    (tmp_path / FILE_NAME).write_bytes(pack([7, *fields, "and more"]))
    with pytest.raises(NewerFormatError, match="format 7, this release knows 1"):
        open_keyring(tmp_path, KeyFile(key))
