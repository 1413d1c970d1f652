import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import apsw
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.base.config import StoreConfig
from relay.store import snapshot
from relay.store.chunks import Chunk, Picture, Reached, Schema
from relay.store.files import OS_FILES
from relay.store.ledger import Change, Ledger, open_ledger
from relay.store.rebuild import IndexBuilder
from relay.store.snapshot import TooBusyError, take_snapshot
from relay.store.tables import Operation, Tables
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import KEYRING, memory_ledger

T = TypeVar("T")
Item = Schema | Chunk | Reached
CHUNK_KEY = b"c" * 16
FOLDER = Path("/copy")

PUT = Operation(900, "INSERT OR REPLACE INTO notes VALUES (?, ?)")
DROP = Operation(901, "DELETE FROM notes WHERE id = ?")
TABLES = Tables("notes", ("CREATE TABLE IF NOT EXISTS notes(id INTEGER PRIMARY KEY, text TEXT)",), (PUT, DROP))


class ScriptedSource:
    """An index in memory that somebody changes before each read that is not held."""

    def __init__(self, changes: list[tuple[int, int]], *, pressed: int = 0) -> None:
        self.connection = apsw.Connection(":memory:")
        self.connection.execute("CREATE TABLE applied (one INTEGER PRIMARY KEY, position INTEGER, sequence INTEGER)")
        self.connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        self.connection.execute("CREATE TABLE names (number INTEGER PRIMARY KEY, text TEXT UNIQUE)")
        self.connection.execute("INSERT INTO applied VALUES (1, 0, 0)")
        self.connection.executemany("INSERT INTO notes VALUES (?, 'x')", [(n,) for n in range(0, 400, 3)])
        self.changes = changes
        self.held = False
        self.refused = pressed

    @property
    def pressed(self) -> bool:
        self.refused -= 1
        return self.refused >= 0

    async def read(self, function: Callable[[apsw.Connection], T]) -> T:
        await trio.lowlevel.checkpoint()
        if not self.held:
            self.change()
        return function(self.connection)

    @contextlib.asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        self.held = True
        try:
            yield
        finally:
            self.held = False

    async def mark(self) -> tuple[int, int]:
        ((position, sequence),) = self.connection.execute("SELECT position, sequence FROM applied")
        return position, sequence

    async def refresh(self) -> None:
        self.change()

    def change(self) -> None:
        if self.changes:
            number, what = self.changes.pop()
            if what == 0:
                self.connection.execute("DELETE FROM notes WHERE id = ?", (number,))
            else:
                self.connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (number, "y" * what))
            # A name wanders from number to number: no two ever have it at once.
            self.connection.execute("DELETE FROM names")
            self.connection.execute("INSERT INTO names VALUES (?, 'wanderer')", (number,))
            self.connection.execute("UPDATE applied SET position = position + 1, sequence = sequence + 1")


async def collect(source: snapshot.Source, known: Picture) -> list[Item]:
    async with contextlib.aclosing(take_snapshot(source, known, boot=3)) as items:
        return [item async for item in items]


def put_all(builder: IndexBuilder, items: list[Item]) -> Reached:
    reached = items[-1]
    assert isinstance(reached, Reached)
    for item in items[:-1]:
        if isinstance(item, Schema):
            builder.begin(item)
        elif isinstance(item, Chunk):
            builder.put(item)
    return reached


def rows_of(files: MemoryFiles, builder: IndexBuilder, table: str) -> list[tuple[object, ...]]:
    connection = builder._open()
    try:
        return connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
    finally:
        connection.close()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 420), st.integers(0, 3)), max_size=60),
    st.lists(st.tuples(st.integers(0, 420), st.integers(0, 3)), max_size=10),
)
def test_what_changes_meanwhile_never_mixes_two_moments(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    files = MemoryFiles()
    source, known = ScriptedSource(first), Picture(CHUNK_KEY)
    base = trio.run(collect, source, known)
    source.changes = second
    later = trio.run(collect, source, Picture.unpack(known.pack()))
    builder = IndexBuilder(FOLDER / "index.db", b"k" * 32, CHUNK_KEY, files)
    put_all(builder, base)
    reached = put_all(builder, later)
    builder.finish(reached)
    assert (reached.position, reached.sequence) == trio.run(source.mark)
    assert reached.boot == 3
    for table in ("notes", "names"):
        assert (
            rows_of(files, builder, table) == source.connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
        )
    files.unregister()


def test_the_second_time_only_what_changed_is_given() -> None:
    source, known = ScriptedSource([]), Picture(CHUNK_KEY)
    assert len([item for item in trio.run(collect, source, known) if isinstance(item, Chunk)]) > 3
    source.changes = [(100, 1)]
    changed = [item.table for item in trio.run(collect, source, known) if isinstance(item, Chunk)]
    assert sorted(changed) == ["applied", "names", "notes"]


def test_other_tables_than_known_are_given_whole() -> None:
    source, known = ScriptedSource([]), Picture(CHUNK_KEY)
    whole = len(trio.run(collect, source, known))
    source.connection.execute("CREATE TABLE more (x INTEGER PRIMARY KEY)")
    assert len(trio.run(collect, source, known)) == whole + 1


def test_a_checkpoint_that_waits_is_let_through_before_the_last_round_is_tried_again() -> None:
    items = trio.run(collect, ScriptedSource([], pressed=2), Picture(CHUNK_KEY))
    assert isinstance(items[-1], Reached)


def test_a_box_that_never_rests_is_made_to_wait_but_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(patience_s: float) -> list[Item]:
        monkeypatch.setattr(snapshot, "_PATIENCE_S", patience_s)
        return await collect(ScriptedSource([], pressed=1 << 30), Picture(CHUNK_KEY))

    assert isinstance(trio.run(run, 1e9)[-1], Reached)
    with pytest.raises(TooBusyError):
        trio.run(run, 0.0)


def test_a_box_too_busy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "MAX_SNAPSHOT_BUFFER_BYTES", 1)

    class Restless(ScriptedSource):
        async def refresh(self) -> None:
            self.connection.execute("UPDATE notes SET text = text || 'z'")

    with pytest.raises(TooBusyError):
        trio.run(collect, Restless([]), Picture(CHUNK_KEY))


def put(change: Change, number: int) -> int:
    change.write(PUT, number % 700, str(change.position))
    if number % 5 == 0:
        change.write(DROP, number % 300)
    return change.position


async def take(ledger: Ledger, known: Picture) -> list[Item]:
    async with contextlib.aclosing(ledger.snapshot(known)) as items:
        return [item async for item in items]


async def test_a_running_ledger_is_copied_as_it_was_at_the_named_commit(tmp_path: Path) -> None:
    done = trio.Event()
    states: dict[int, dict[int, str]] = {}
    state: dict[int, str] = {}

    async def write(ledger: Ledger) -> None:
        number = 0
        while not done.is_set() or number < 200:
            number += 1
            position = await ledger.run(put, number)
            state[number % 700] = str(position)
            if number % 5 == 0:
                state.pop(number % 300, None)
            states[position] = dict(state)

    async with open_ledger(tmp_path / "state", KEYRING, (TABLES,), StoreConfig()) as ledger:
        known = Picture(os.urandom(16))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, ledger)
            items = [*await take(ledger, known)]
            first = items.pop()
            assert isinstance(first, Reached)
            items += await take(ledger, known)
            done.set()
        status = ledger.status()
        await ledger.checkpoint()
    builder = IndexBuilder(tmp_path / "copy.db", b"k" * 32, known.chunk_key, OS_FILES)
    reached = put_all(builder, items)
    builder.finish(reached)
    assert first.position < reached.position
    assert status.healthy
    assert status.failed_checkpoints == 0
    connection = builder._open()
    assert dict(connection.execute("SELECT id, text FROM notes")) == states[reached.position]
    connection.close()


async def test_a_snapshot_survives_that_the_index_is_opened_anew(tmp_path: Path) -> None:
    async with open_ledger(tmp_path / "state", KEYRING, (TABLES,), StoreConfig()) as ledger:
        for number in range(300):
            await ledger.run_early(put, number)
        known, kinds = Picture(CHUNK_KEY), []
        async with contextlib.aclosing(ledger.snapshot(known)) as items:
            async for item in items:
                kinds.append(type(item))
                if len(kinds) == 2:
                    ledger._checkpointer.log_suspect = True
                    await ledger.checkpoint()
        assert kinds[-1] is Reached
        assert not ledger._index._readers


async def test_an_index_that_one_connection_holds_is_read_by_steps() -> None:
    async with memory_ledger(TABLES) as ledger:
        await ledger.run(put, 1)
        items = await take(ledger, Picture(CHUNK_KEY))
        reached = items[-1]
        assert isinstance(reached, Reached)
        assert reached.position == ledger.position


async def test_after_flash_failed_all_that_was_acknowledged_can_still_be_copied(tmp_path: Path) -> None:
    async with open_ledger(tmp_path / "state", KEYRING, (TABLES,), StoreConfig()) as ledger:
        await ledger.checkpoint()
        position = await ledger.run(put, 1)
        ledger._committer.fail(OSError(5, "Input/output error"))
        items = await take(ledger, Picture(CHUNK_KEY))
        reached = items[-1]
        assert isinstance(reached, Reached)
        assert reached.position == position
        assert any(str(position).encode() in item.packed for item in items if isinstance(item, Chunk))
