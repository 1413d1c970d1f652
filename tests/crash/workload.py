"""A small household's traffic over the recorded file system, and the check of what a restart finds."""

import contextlib
import dataclasses
import functools
import hashlib
from pathlib import Path

import apsw
import trio

from relay.base.config import StoreConfig
from relay.base.errors import RelayError
from relay.store.files import FileLayer
from relay.store.index_file import IndexFile
from relay.store.journal import Journal
from relay.store.ledger import Change, Index, Ledger, open_ledger
from relay.store.media_files import MediaFiles, SealedFile
from relay.store.replay import recover
from relay.store.tables import STORE_TABLES, Operation, Tables
from relay.store.workers import ThreadWorkers, Workers
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import FOLDER, KEYRING, SEGMENT_BYTES, InlineWorkers
from tests.fakes.recorded_folder import RecordedFolder

PUT = Operation(900, "INSERT INTO notes(id, sender, text) VALUES (?, ?, ?)")
CHECK = Operation(901, "INSERT INTO checks(id, digest) VALUES (?, ?)")
DELETE = Operation(902, "DELETE FROM notes WHERE id = ?")
UNCHECK = Operation(903, "DELETE FROM checks WHERE id = ?")
FILE = Operation(904, "INSERT INTO files(id, key, size, digest) VALUES (?, ?, ?, ?)")
SEEN = Operation(905, "INSERT INTO seen(id) VALUES (?) ON CONFLICT DO NOTHING", lazy=True)
TABLES = Tables(
    "crash",
    (
        "CREATE TABLE IF NOT EXISTS notes(id INTEGER PRIMARY KEY, sender INTEGER NOT NULL, text BLOB NOT NULL)",
        "CREATE TABLE IF NOT EXISTS checks(id INTEGER PRIMARY KEY, digest BLOB NOT NULL)",
        "CREATE TABLE IF NOT EXISTS files(id TEXT PRIMARY KEY, key BLOB, size INTEGER, digest BLOB) WITHOUT ROWID",
        "CREATE TABLE IF NOT EXISTS seen(id INTEGER PRIMARY KEY)",
    ),
    (PUT, CHECK, DELETE, UNCHECK, FILE, SEEN),
)
CONFIG = StoreConfig(journal_segments=6, checkpoint_journal_mib=1)


@dataclasses.dataclass(slots=True)
class Acknowledged:
    """What was promised, and after how many recorded events."""

    notes: dict[int, tuple[int, bytes]] = dataclasses.field(default_factory=dict)
    deleted: dict[int, int] = dataclasses.field(default_factory=dict)
    begun_deleting: dict[int, int] = dataclasses.field(default_factory=dict)
    media: dict[str, int] = dataclasses.field(default_factory=dict)
    positions: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    starts: list[tuple[int, int]] = dataclasses.field(default_factory=list)

    def later(self, events: int) -> "Acknowledged":
        """Return the same promises as the next recording sees them: all made before it began, `events` or earlier."""
        kept = {number: (0, digest) for number, (at, digest) in self.notes.items() if at <= events}
        deleted = {number: 0 for number, at in self.deleted.items() if at <= events}
        begun = {number: 0 for number, at in self.begun_deleting.items() if at <= events}
        return Acknowledged(
            kept,
            deleted,
            begun,
            {file_id: 0 for file_id, at in self.media.items() if at <= events},
            [(0, position) for at, position in self.positions if at <= events],
            [(0, boot) for at, boot in self.starts if at <= events],
        )

    def take_in(self, other: "Acknowledged") -> None:
        """Add the promises of the next recording."""
        self.notes |= other.notes
        self.deleted |= other.deleted
        self.begun_deleting |= other.begun_deleting
        self.media |= other.media
        self.positions += other.positions
        self.starts += other.starts


def put(change: Change, number: int, text: bytes) -> int:
    change.write(PUT, number, change.intern(f"@user{number % 7}:example"), text)
    change.write(CHECK, number, hashlib.sha256(text).digest())
    return change.position


def forget(change: Change, number: int) -> None:
    change.write(DELETE, number)
    change.write(UNCHECK, number)


def keep_file(change: Change, file: SealedFile) -> None:
    change.write(FILE, file.file_id, file.key, file.size_bytes, file.sha256)


async def play(
    files: MemoryFiles | RecordedFolder, first: int, rounds: int, config: StoreConfig = CONFIG
) -> Acknowledged:
    """Open a ledger on `files`, send notes numbered from `first`, and note what was acknowledged when.

    A real folder is used as the box does, with threads and two connections to the index.
    """
    told = Acknowledged()
    folder = files.root if isinstance(files, RecordedFolder) else FOLDER
    workers: Workers = ThreadWorkers() if isinstance(files, RecordedFolder) else InlineWorkers()
    media = MediaFiles(folder / "media", quota_bytes=1 << 30, files=files, workers=workers)
    async with open_ledger(
        folder, KEYRING, (TABLES,), config, files=files, workers=workers, segment_bytes=SEGMENT_BYTES
    ) as ledger:
        assert ledger.healthy, ledger.status().fault
        told.starts.append((len(files.events), ledger.boot))
        await media.sweep(await ledger.read(_known_files))
        for number in range(first, first + rounds * 10, 10):
            await _play_round(files, ledger, media, number, told)
    return told


def _known_files(index: Index) -> frozenset[str]:
    return frozenset(file_id for (file_id,) in index.rows("SELECT id FROM files"))


async def flood(files: MemoryFiles, first: int, count: int, config: StoreConfig) -> Acknowledged:
    """Open a ledger on `files`, send so many notes that each fill most of a segment, and note what was acknowledged."""
    told = Acknowledged()
    async with open_ledger(
        FOLDER, KEYRING, (TABLES,), config, files=files, workers=InlineWorkers(), segment_bytes=SEGMENT_BYTES
    ) as ledger:
        for number in range(first, first + count):
            await _send(files, ledger, told, number, SEGMENT_BYTES * 3 // 4)
    return told


async def _send(
    files: MemoryFiles | RecordedFolder, ledger: Ledger, told: Acknowledged, note: int, size_bytes: int
) -> None:
    text = hashlib.shake_128(str(note).encode()).digest(size_bytes)
    try:
        position = await ledger.run(put, note, text)
    except RelayError:
        return
    told.notes[note] = (len(files.events), hashlib.sha256(text).digest())
    told.positions.append((len(files.events), position))


async def _play_round(
    files: MemoryFiles | RecordedFolder, ledger: Ledger, media: MediaFiles, number: int, told: Acknowledged
) -> None:
    send = functools.partial(_send, files, ledger, told)

    async def remove(note: int) -> None:
        told.begun_deleting[note] = len(files.events)
        try:
            await ledger.run(forget, note)
        except RelayError:
            return
        told.deleted[note] = len(files.events)

    await send(number, 100)
    await send(number + 1, 5_000)
    async with trio.open_nursery() as nursery:
        if number % 50 == 0:
            nursery.start_soon(ledger.checkpoint)
        for extra in range(2, 7):
            nursery.start_soon(send, number + extra, 700)
        nursery.start_soon(remove, number)
    with contextlib.suppress(RelayError):
        await ledger.run(lambda change: change.write(SEEN, number))
    if number % 40 == 0:
        await send(number + 7, 300_000)
    if number % 30 == 0:
        await _keep_media(files, ledger, media, told, number)


async def _keep_media(
    files: MemoryFiles | RecordedFolder, ledger: Ledger, media: MediaFiles, told: Acknowledged, number: int
) -> None:
    async with media.receive(1 << 20) as writer:
        await writer.write(hashlib.shake_128(b"file%d" % number).digest(70_000))
        sealed = await writer.keep()
    try:
        await ledger.run(keep_file, sealed)
    except RelayError:
        return
    told.media[sealed.file_id] = len(files.events)


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What a restart found."""

    notes: dict[int, bytes]
    media: dict[str, SealedFile]
    position: int
    boot: int


def look(files: FileLayer, folder: Path = FOLDER) -> Found:
    """Recover as a start does and return what is there.

    Raises:
        RelayError: recovery refused; after a mere power cut that is a failure too.
        AssertionError: a change is there by half, or garbled.
    """
    journal = Journal(
        files, folder / "journal", KEYRING.journal_key, segments=CONFIG.journal_segments, segment_bytes=SEGMENT_BYTES
    )
    index = IndexFile(folder / "index.db", KEYRING.index_key, (STORE_TABLES, TABLES), files)
    try:
        position, _ = recover(journal, index)
        rows = index.rows(
            "SELECT n.id, n.text, c.digest, m.text FROM notes n LEFT JOIN checks c USING (id)"
            " LEFT JOIN names m ON m.number = n.sender"
        )
        for number, text, digest, name in rows:
            assert digest == hashlib.sha256(text).digest(), f"note {number} is there by half"
            assert name == f"@user{number % 7}:example", f"note {number} lost its sender"
        assert index.rows("SELECT count(*) FROM checks") == [(len(rows),)]
        media = {row[0]: SealedFile(*row) for row in index.rows("SELECT id, key, size, digest FROM files")}
        return Found({row[0]: row[2] for row in rows}, media, position, journal.boot)
    finally:
        index.close()
        journal.close()


def broken_promises(files: FileLayer, told: Acknowledged, events: int, folder: Path = FOLDER) -> list[str]:
    """Return what was promised within the first `events` events and does not hold in `folder`."""
    try:
        found = look(files, folder)
    except (RelayError, AssertionError, apsw.Error) as error:
        return [f"{type(error).__name__}: {error}"]
    broken = [
        f"note {number} is lost"
        for number, (at, digest) in told.notes.items()
        if at <= events and told.begun_deleting.get(number, events + 1) > events and found.notes.get(number) != digest
    ]
    broken += [
        f"note {number} is back" for number, at in told.deleted.items() if at <= events and number in found.notes
    ]
    broken += [
        f"position {position} comes again"
        for at, position in told.positions
        if at <= events and position > found.position
    ]
    broken += [f"boot {boot} comes again" for at, boot in told.starts if at <= events and boot >= found.boot]
    broken += [
        f"file {file_id} has no row"
        for file_id, at in told.media.items()
        if at <= events and file_id not in found.media
    ]
    broken += [
        f"file {file_id} is not whole"
        for file_id, sealed in found.media.items()
        if not _is_whole(files, folder, sealed)
    ]
    return broken


def _is_whole(files: FileLayer, folder: Path, sealed: SealedFile) -> bool:
    media = MediaFiles(folder / "media", quota_bytes=1 << 30, files=files, workers=InlineWorkers())
    digest = hashlib.sha256()

    async def read() -> None:
        async for chunk in media.read(sealed):
            digest.update(chunk)

    try:
        trio.run(read)
    except RelayError:
        return False
    return digest.digest() == sealed.sha256
