"""A synthetic room in two formats: the old one's tables hold notes as one text, the next one's split and counted."""

from pathlib import Path
from typing import Any

import apsw

from relay.base.config import StoreConfig
from relay.store.index import Change
from relay.store.index_file import IndexFile
from relay.store.journal import Journal
from relay.store.replay import recover
from relay.store.tables import STATE_FORMAT, STORE_TABLES, Migration, Operation, Tables, newest_format
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import FOLDER, KEYRING, SEGMENT_BYTES

NEXT = STATE_FORMAT + 1
CONFIG = StoreConfig(journal_segments=4, checkpoint_journal_mib=1)
PAGE_ROWS = 16

PUT = Operation(910, "INSERT INTO letters(id, text) VALUES (?, ?)")
PUT_NEXT = Operation(911, "INSERT INTO letters(id, text, size) VALUES (?, ?, ?)")
OLD = Tables("letters", ("CREATE TABLE IF NOT EXISTS letters(id INTEGER PRIMARY KEY, text BLOB NOT NULL)",), (PUT,))


def measure(connection: apsw.Connection) -> None:
    """Fill the new column, a page of rows at a time."""
    last: Any = -1
    while rows := connection.execute(
        "SELECT id, length(text) FROM letters WHERE id > ? ORDER BY id LIMIT ?", (last, PAGE_ROWS)
    ).fetchall():
        connection.executemany("UPDATE letters SET size = ? WHERE id = ?", [(size, number) for number, size in rows])
        last = rows[-1][0]


NEW = Tables(
    "letters",
    (
        "CREATE TABLE IF NOT EXISTS letters("
        "id INTEGER PRIMARY KEY, text BLOB NOT NULL, size INTEGER NOT NULL DEFAULT 0)",
        "CREATE INDEX IF NOT EXISTS letters_by_size ON letters(size, id)",
        "CREATE TABLE IF NOT EXISTS stamps(id INTEGER PRIMARY KEY)",
    ),
    (PUT, PUT_NEXT),
    (Migration(NEXT, ("ALTER TABLE letters ADD COLUMN size INTEGER NOT NULL DEFAULT 0", measure)),),
)


def put(change: Change, number: int, text: bytes) -> int:
    change.write(PUT, number, text)
    change.intern(f"@user{number % 5}:example")
    return change.position


def start(files: MemoryFiles, *rooms: Tables) -> tuple[IndexFile, Journal]:
    """Recover as a start of a release with these rooms does; the caller closes both."""
    every = (STORE_TABLES, *rooms)
    journal = Journal(
        files,
        FOLDER / "journal",
        KEYRING.journal_key,
        segments=CONFIG.journal_segments,
        segment_bytes=SEGMENT_BYTES,
        newest_format=newest_format(every),
    )
    index = IndexFile(FOLDER / "index.db", KEYRING.index_key, every, files)
    try:
        recover(journal, index)
    except BaseException:
        index.close()
        journal.close()
        raise
    return index, journal


def layout(index: IndexFile) -> list[tuple[object, ...]]:
    """Return what the tables and indexes of a database are, however they came to be so."""
    names = index.rows("SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name")
    return [
        (kind, name, *index.rows(f'PRAGMA {"table_xinfo" if kind == "table" else "index_xinfo"}("{name}")'))
        for kind, name in names
    ]


def folder_of(files: MemoryFiles) -> dict[Path, bytes]:
    return {Path(path): bytes(content) for path, content in files.contents.items()}
