import contextlib
import shutil
from pathlib import Path

import pytest

from relay.base.config import StoreConfig
from relay.base.errors import DamagedError, NewerFormatError
from relay.store.chunks import Chunk, Picture, Reached, Schema
from relay.store.ledger import Change, Ledger, open_ledger
from relay.store.rebuild import IndexBuilder, apply_commits, make_journal, read_reached
from relay.store.tables import STORE_TABLES, Operation, Tables
from tests.fakes import formats
from tests.fakes.ledger import KEYRING

CHUNK_KEY = b"c" * 16
PUT = Operation(900, "INSERT OR REPLACE INTO notes VALUES (?, ?)")
TABLES = Tables(
    "notes",
    (
        "CREATE TABLE IF NOT EXISTS notes(id INTEGER PRIMARY KEY, text TEXT)",
        "CREATE INDEX IF NOT EXISTS t ON notes(text)",
    ),
    (PUT,),
)


def put(change: Change, number: int) -> int:
    change.write(PUT, number, change.name(change.intern(f"name {number}")))
    return change.position


async def copy(ledger: Ledger, builder: IndexBuilder) -> Reached:
    async with contextlib.aclosing(ledger.snapshot(Picture(CHUNK_KEY))) as items:
        async for item in items:
            match item:
                case Schema():
                    builder.begin(item)
                case Chunk():
                    builder.put(item)
                case Reached():
                    return item
    raise AssertionError


def open_at(folder: Path) -> contextlib.AbstractAsyncContextManager[Ledger]:
    return open_ledger(folder, KEYRING, (TABLES,), StoreConfig())


async def test_a_copied_box_goes_on_with_numbers_that_were_never_used(tmp_path: Path) -> None:
    builder = IndexBuilder(tmp_path / "new" / "index.db", KEYRING.index_key, CHUNK_KEY)
    (tmp_path / "new").mkdir()
    async with open_at(tmp_path / "old") as old:
        for number in range(300):
            await old.run_early(put, number)
        reached = await copy(old, builder)
        await old.run(put, 1000)
        last, boot = old.position, old.boot
    made = builder.finish(reached)
    make_journal(tmp_path / "new" / "journal", KEYRING.journal_key, reached, made, segments=8)
    async with open_at(tmp_path / "new") as new:
        assert await new.read(lambda index: index.rows("SELECT count(*), max(id) FROM notes")) == [(300, 299)]
        position = await new.run(put, 1)
        assert position > last + (1 << 31)
        assert new.boot > boot + (1 << 15)
        assert await new.read(lambda index: index.find("name 7")) is not None
    async with open_at(tmp_path / "new") as again:
        assert again.position > position


async def test_later_commits_of_the_journal_can_follow(tmp_path: Path) -> None:
    builder = IndexBuilder(tmp_path / "new" / "index.db", KEYRING.index_key, CHUNK_KEY)
    (tmp_path / "new").mkdir()
    async with open_at(tmp_path / "old") as old:
        await old.run(put, 1)
        reached = await copy(old, builder)
        tail = old.tail(reached.sequence)
        await old.run(put, 2)
        position = await old.run(put, 3)
        commits = await tail.read(1 << 20)
        sequence = old.sequence
    builder.finish(reached)
    tables = (STORE_TABLES, TABLES)
    path = tmp_path / "new" / "index.db"
    with pytest.raises(DamagedError, match="is missing"):
        apply_commits(path, KEYRING.index_key, tables, commits[1:])
    assert apply_commits(path, KEYRING.index_key, tables, commits) == (position, sequence)
    make_journal(
        tmp_path / "new" / "journal",
        KEYRING.journal_key,
        Reached(position, sequence, reached.boot, b""),
        2,
        segments=8,
    )
    async with open_at(tmp_path / "new") as new:
        assert await new.read(lambda index: index.rows("SELECT id FROM notes")) == [(1,), (2,), (3,)]


async def test_an_index_put_back_is_brought_forward_by_the_journal_that_survived(tmp_path: Path) -> None:
    builder = IndexBuilder(tmp_path / "index.db", KEYRING.index_key, CHUNK_KEY)
    async with open_at(tmp_path / "old") as old:
        await old.run(put, 1)
        builder.finish(await copy(old, builder))
        await old.run(put, 2)
        # The power goes: what a clean stop would still do is not done.
        shutil.copytree(tmp_path / "old", tmp_path / "box")
    for path in (tmp_path / "box").glob("index.db*"):
        path.unlink()
    (tmp_path / "index.db").rename(tmp_path / "box" / "index.db")
    async with open_at(tmp_path / "box") as new:
        assert await new.read(lambda index: index.rows("SELECT id FROM notes")) == [(1,), (2,)]


async def test_what_an_older_release_copied_is_upgraded_where_it_is_opened(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    builder = IndexBuilder(tmp_path / "new" / "index.db", KEYRING.index_key, CHUNK_KEY)
    async with open_ledger(tmp_path / "old", KEYRING, (formats.OLD,), StoreConfig()) as old:
        for number in range(40):
            await old.run_early(formats.put, number, b"x" * number)
        reached = await copy(old, builder)
    number = builder.finish(reached)
    assert number == formats.NEXT - 1
    make_journal(tmp_path / "new" / "journal", KEYRING.journal_key, reached, number, segments=8)
    async with open_ledger(tmp_path / "new", KEYRING, (formats.NEW,), StoreConfig()) as new:
        assert await new.read(lambda index: index.rows("SELECT count(*), sum(size) FROM letters")) == [(40, 780)]
        assert new.boot > 1 << 16


def schema(*tables: str) -> Schema:
    names = {sql.split()[2].split("(")[0]: sql for sql in tables}
    return Schema(names, (), 0)


def test_what_is_not_what_was_backed_up_is_refused(tmp_path: Path) -> None:
    builder = IndexBuilder(tmp_path / "index.db", b"k" * 32, CHUNK_KEY)
    builder.begin(schema("CREATE TABLE applied(one INTEGER PRIMARY KEY, position, sequence)"))
    builder.put(Chunk("applied", None, None, b"\x93\x01\x02\x03", 0))
    with pytest.raises(DamagedError, match="not what was backed up"):
        builder.finish(Reached(2, 3, 1, b"0" * 16))
    builder.close()


@pytest.mark.parametrize(
    "chunk",
    [
        Chunk("nothing", None, None, b"", 0),
        Chunk("notes", None, None, b"\x91\x01", 0),
        Chunk("notes", None, None, b"\xc1", 0),
        Chunk("notes", ([],), None, b"", 0),  # type: ignore[arg-type]
    ],
)
def test_rows_that_do_not_fit_are_damage(tmp_path: Path, chunk: Chunk) -> None:
    builder = IndexBuilder(tmp_path / "index.db", b"k" * 32, CHUNK_KEY)
    builder.begin(schema("CREATE TABLE notes(id INTEGER PRIMARY KEY, text TEXT)"))
    with pytest.raises(DamagedError):
        builder.put(chunk)
    builder.close()


@pytest.mark.parametrize("sql", ["DROP TABLE x", "CREATE TABLE (", "CREATE VIEW v AS SELECT 1"])
def test_a_schema_that_makes_no_tables_is_damage(tmp_path: Path, sql: str) -> None:
    builder = IndexBuilder(tmp_path / "index.db", b"k" * 32, CHUNK_KEY)
    with pytest.raises(DamagedError):
        builder.begin(Schema({"x": sql}, (), 0))
    builder.close()


def test_tables_of_a_newer_release_are_refused(tmp_path: Path) -> None:
    builder = IndexBuilder(tmp_path / "index.db", b"k" * 32, CHUNK_KEY)
    builder.begin(
        schema(
            "CREATE TABLE applied(one INTEGER PRIMARY KEY, position, sequence)",
            "CREATE TABLE state_format(one INTEGER PRIMARY KEY, number INTEGER)",
        )
    )
    builder.put(Chunk("state_format", None, None, b"\x92\x01\x7f", 0))
    connection = builder._connection
    assert connection is not None
    from relay.store.chunks import total_digest

    with pytest.raises(NewerFormatError, match="format 127"):
        builder.finish(Reached(1, 1, 1, total_digest(connection, CHUNK_KEY)))
    builder.close()


def test_a_record_that_says_no_end_is_damage() -> None:
    assert read_reached([1, 2, 3, b"d"]) == Reached(1, 2, 3, b"d")
    with pytest.raises(DamagedError):
        read_reached([1, 2, "3", b"d"])
