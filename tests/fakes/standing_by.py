"""A house in memory whose commits follow to a target in memory."""

import contextlib
from collections.abc import AsyncIterator, Collection
from pathlib import Path

import trio

from relay.base.errors import NotFoundError
from relay.delivery.media import MEDIA_KEPT
from relay.delivery.standby.envelope import box_id
from relay.delivery.standby.reading import Reader
from relay.delivery.standby.records import Item, Origin, OwnFile
from relay.delivery.standby.standby import House, Standby
from relay.delivery.standby.tables import TABLES, key_of
from relay.store.chunks import Chunk, Reached, Schema
from relay.store.index_file import IndexFile
from relay.store.ledger import Change, Index, Ledger
from relay.store.rebuild import IndexBuilder, apply_commits
from relay.store.tables import STORE_TABLES, Operation, Tables
from tests.fakes.clock import FakeClock
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import InlineWorkers, memory_ledger
from tests.fakes.standby_target import MemoryTarget

NOTE = Operation(900, "INSERT INTO notes(text) VALUES (?)")
FORGET = Operation(901, "DELETE FROM notes WHERE text = ?")
LAZY = Operation(902, "INSERT INTO notes(text) VALUES ('lazy ' || ?)", lazy=True)
NOTES = Tables("notes", ("CREATE TABLE IF NOT EXISTS notes(text TEXT)",), (NOTE, FORGET, LAZY))
BOX = box_id(b"j" * 32)


def note(change: Change, text: str) -> None:
    change.write(NOTE, text)


def forget(change: Change, text: str) -> None:
    change.write(FORGET, text)


def note_lazily(change: Change, text: str) -> None:
    change.write(LAZY, text)


class MemoryFolder:
    """Sealed files by id."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    async def read_sealed(self, file_id: str, start: int, size_bytes: int) -> bytes:
        await trio.lowlevel.checkpoint()
        if file_id not in self.files:
            raise NotFoundError("gone")
        return self.files[file_id][start : start + size_bytes]

    def known(self, _index: Index) -> Collection[str]:
        return list(self.files)


class StandingBy:
    """One start of the house with its standby."""

    def __init__(self, ledger: Ledger, standby: Standby, folder: MemoryFolder) -> None:
        self.ledger = ledger
        self.standby = standby
        self.folder = folder

    async def settle(self) -> None:
        """Return when the target holds everything, a base included."""
        while True:
            status = self.standby.status()
            if status.sent == self.ledger.sequence and status.base is not None and not status.media_missing:
                return
            await trio.sleep(0.1)

    async def keep_file(self, file_id: str, content: bytes) -> None:
        self.folder.files[file_id] = content
        self.ledger.ring(MEDIA_KEPT)


@contextlib.asynccontextmanager
async def standing_by(
    target: MemoryTarget, files: MemoryFiles, folder: MemoryFolder | None = None, *, base_after_mib: int = 64
) -> AsyncIterator[StandingBy]:
    """Start the house; give the same `files` again to play a restart."""
    folder = folder or MemoryFolder()

    @contextlib.asynccontextmanager
    async def open_target() -> AsyncIterator[MemoryTarget]:
        await target.names("")
        yield target

    async with memory_ledger(NOTES, TABLES, files=files) as ledger:
        house = House(
            name="home.example",
            box=BOX,
            ledger=ledger,
            clock=FakeClock(),
            workers=InlineWorkers(),
            files=folder,
            describe=lambda: [Origin("0", "home.example", {}), OwnFile("relay.toml", 0o600, b"[server]")],
            known_files=folder.known,
        )
        standby = Standby(house, "memory", open_target, base_after_mib=base_after_mib)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(standby.run)
            yield StandingBy(ledger, standby, folder)
            await standby.finish(2.0)
            nursery.cancel_scope.cancel()


class Restored:
    """What a second box makes of the target."""

    def __init__(self, reader: Reader, notes: list[str], items: list[Item], starts: int, held: int) -> None:
        self.reader = reader
        self.notes = notes
        self.items = items
        self.starts = starts
        self.held = held


async def restore(target: MemoryTarget, key: bytes) -> Restored:
    """Build the index that the target holds, and read the notes in it."""
    reader = Reader(target, key, BOX)
    await reader.open()
    files, path = MemoryFiles(), Path("/second/index.db")
    builder = IndexBuilder(path, b"i" * 32, reader.chunk_key, files)
    items: list[Item] = []
    try:
        async with contextlib.aclosing(reader.base()) as found:
            async for item in found:
                items.append(item)
                match item:
                    case Schema():
                        builder.begin(item)
                    case Chunk():
                        builder.put(item)
        builder.finish([item for item in items if isinstance(item, Reached)][-1])
        follower, following = reader.follower(), []
        async with contextlib.aclosing(reader.frames()) as frames:
            async for data in frames:
                head, commits = follower.feed(data)
                reader.note(head)
                following += commits
        rooms = (STORE_TABLES, NOTES, TABLES)
        apply_commits(path, b"i" * 32, rooms, following, files=files)
        index = IndexFile(path, b"i" * 32, rooms, files)
        index.open()
        notes = [text for (text,) in index.rows("SELECT text FROM notes ORDER BY rowid")]
        ((starts,),) = index.rows("SELECT value FROM standby WHERE name = 'starts'")
        index.close()
    finally:
        builder.close()
        files.unregister()
    return Restored(reader, notes, items, len(starts) // 8, follower.held)


async def key_in(ledger: Ledger) -> bytes:
    key = await ledger.read(key_of)
    assert key is not None
    return key
