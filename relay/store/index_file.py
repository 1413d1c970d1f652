"""The index on flash: one SQLite database, every page encrypted, changed inside one long transaction.

Nothing of the transaction reaches the file before `commit` (`cache_spill` is off), and nothing of a commit needs to be
on flash before `copy_back` says so: until then the journal keeps the same changes.
"""

import contextlib
import ctypes
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw

from relay.base.errors import DamagedError, NewerFormatError, StorageError
from relay.store.files import FileLayer
from relay.store.read_only import ReadOnlyFiles
from relay.store.tables import FIRST_FORMAT, Operation, Tables, Value, layout_digest, newest_format, number_operations

_PAGE_BYTES = 4096
_FRAME_BYTES = _PAGE_BYTES + 24
_CACHE_KIB = 4096
_BUSY_TIMEOUT_MS = 5_000
_STATE_FORMAT = "INSERT INTO state_format VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET number = excluded.number"
_READER_PAGES = 64
# What columns of interned names are called, in every room's tables.
_NAME_COLUMNS = frozenset({"user", "room", "server", "sender", "origin", "creator", "state_key", "type"})
# About 3 KiB each: the statements that a busy house uses again and again.
_STATEMENTS = 300


T = TypeVar("T")


class LogNotSyncedError(StorageError):
    """The write-ahead log may not be on flash, now or ever: it is to be thrown away and written again."""

    code = "storage.index_log"


Rows = list[tuple[Any, ...]]


class IndexFile:
    """The connection that steps use, and the one that copies the write-ahead log back.

    Attributes:
        log_bytes: the size of the write-ahead log after the last commit, or as a start found it.
        position: the last change whose effect the committed index holds.
        sequence: the journal commit that change was in.
        format: the format of the tables; while it is older than `newest_format` they are those of an older release.
        newest_format: the format of this release.
    """

    def __init__(
        self, path: Path, key: bytes, tables: Sequence[Tables], files: FileLayer, *, read_only: bool = False
    ) -> None:
        self._read_only = read_only
        self._path = path
        self._log_path = path.with_name(f"{path.name}-wal")
        self._key = key
        self.tables = tables
        self.files = self._files = files
        self.operations = number_operations(tables)
        self.newest_format = self.format = newest_format(tables)
        self.log_bytes = 0
        self.position = 0
        self.sequence = 0
        self._main: apsw.Connection | None = None
        self._copier: apsw.Connection | None = None
        self._readers: list[apsw.Connection] = []

    @property
    def folder(self) -> Path:
        """Return the state folder."""
        return self._path.parent

    @property
    def copies_alone(self) -> bool:
        """Return whether the log is copied by a connection of its own, beside running steps."""
        # Without shared memory, as in a file system written in Python, one connection holds the file and does all.
        return self._files.shares_memory

    @property
    def exists(self) -> bool:
        """Return whether there is a file."""
        return self._files.exists(self._path)

    def open(self) -> None:
        """Set the connections up and make the tables; those of an older format are left as they are.

        Raises:
            NewerFormatError: the tables are of a format that this release does not know.
            DamagedError: the file is garbled or sealed with another key, or a setting that safety rests on was refused.
        """
        # SQLite would let others read the file; the log takes its mode from it.
        self._files.open(self._path, create=True).close()
        if self._files.exists(self._log_path):
            log_file = self._files.open(self._log_path)
            self.log_bytes = log_file.size_bytes()
            log_file.close()
        connection = self._main = self._connect()
        try:
            if not self.copies_alone:
                _set(connection, "locking_mode", "exclusive", "exclusive")
            _set(connection, "journal_mode", "wal", "wal")
            _set(connection, "synchronous", "normal", 1)
            _set(connection, "cache_spill", "off", 0)
            _set(connection, "temp_store", "memory", 2)
            _set(connection, "wal_autocheckpoint", 0, 0)
            _set(connection, "cache_size", -_CACHE_KIB, -_CACHE_KIB)
            # Freed cells need no zeros: every page is encrypted.
            _set(connection, "secure_delete", "off", 0)
            connection.set_wal_hook(self._note_log)
            self.format = self._read_format()
            if self.format == self.newest_format:
                self._make_tables()
            ((self.position, self.sequence),) = self.rows("SELECT position, sequence FROM applied")
        except (apsw.NotADBError, apsw.CorruptError) as error:
            raise DamagedError(f"{self._path} is damaged or was sealed with another key: {error}") from None
        if self.copies_alone:
            self._copier = self._connect()
            _set(self._copier, "synchronous", "full", 2)
            _set(self._copier, "wal_autocheckpoint", 0, 0)
            _set(self._copier, "cache_size", 8, 8)

    def copied_sequence(self) -> int | None:
        """Return the journal commit that the database itself holds, whatever its log adds; None while it needs that."""
        files = ReadOnlyFiles(self._files, hide="-wal")
        alone = IndexFile(self._path, self._key, self.tables, files, read_only=True)
        try:
            alone.open()
        except (DamagedError, apsw.Error):
            return None
        finally:
            alone.close()
            files.close()
        return alone.sequence

    def log_frames(self) -> int:
        """Return how many frames of the log count: those up to the last commit that is whole."""
        frames, _ = self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        return frames

    def discard_log(self) -> None:
        """Go back to the last complete copy: throw the write-ahead log away and open again.

        Only while the database file is what the last complete copy left: a copy that stopped half-way needs its log.
        """
        self.close()
        self._files.remove(self._log_path)
        self._files.remove(self._path.with_name(f"{self._path.name}-shm"))
        self._files.sync_folder(self._path.parent)
        self.log_bytes = 0
        self.open()

    def rows(self, sql: str, params: Sequence[Value] = ()) -> Rows:
        """Return every row of a query."""
        return self._connection.execute(sql, params).fetchall()

    def row(self, sql: str, params: Sequence[Value] = ()) -> tuple[Any, ...] | None:
        """Return the first row of a query, None where it has none."""
        return self._connection.execute(sql, params).fetchone()

    def ask(self, function: Callable[[apsw.Connection], T]) -> T:
        """Return what `function`, which only reads, returns of the connection that steps use."""
        return function(self._connection)

    def apply(self, operation: Operation, params: Sequence[Value]) -> None:
        """Run one operation inside the open change."""
        self._connection.execute(operation.sql, params)

    @property
    def in_transaction(self) -> bool:
        """Return whether the long transaction is open; SQLite itself closes it after some failures."""
        return self._connection.in_transaction

    def begin_change(self) -> None:
        """Open a change, and the long transaction where there is none."""
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute("SAVEPOINT change")

    def keep_change(self) -> None:
        """Make the open change part of the long transaction."""
        self._connection.execute("RELEASE change")

    def drop_change(self) -> None:
        """Undo the open change."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK TO change")
            self._connection.execute("RELEASE change")

    def commit(self, position: int, sequence: int) -> None:
        """End the long transaction; the file then holds every change up to `position` and says so.

        Only to be called when the journal is durable to there.
        """
        if not self._connection.in_transaction:
            return
        self._connection.execute("UPDATE applied SET position = ?, sequence = ?", (position, sequence))
        self._connection.execute("COMMIT")
        self.position, self.sequence = position, sequence

    def roll_back(self) -> None:
        """Undo the whole long transaction."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def copy_back(self) -> bool:
        """Copy the write-ahead log into the database and sync both; return whether every frame was copied.

        Raises:
            LogNotSyncedError: the log may not be on flash; nothing was copied.
            apsw.Error, OSError: copying stopped half-way; the log is on flash and the copy can be made again.
        """
        self._sync_log()
        copier = self._copier or self._connection
        in_log, copied = copier.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        return in_log == copied

    def empty_log(self) -> None:
        """After a complete copy, with no transaction open: leave no log to read at the next start."""
        self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def rewrite(
        self, work: Callable[[apsw.Connection], None], *, sequence: int, last_words: Callable[[], None]
    ) -> None:
        """Let `work` change the tables of an older format into this release's: all or nothing, on flash on return.

        Memory stays bounded: what the cache cannot hold goes to the log, where it counts only once it is committed.
        The log is to be copied back, and no transaction open. The change counts as the journal's commit `sequence`,
        which the journal does not hold. `last_words` runs just before the commit.

        Raises:
            apsw.Error, OSError: nothing was changed; or the commit failed, and the next start finds out what is true.
        """
        connection = self._connection
        connection.pragma("cache_spill", "on")
        _set(connection, "synchronous", "full", 2)
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                work(connection)
                self._make_tables()
                connection.execute(_STATE_FORMAT, (self.newest_format,))
                connection.execute("UPDATE applied SET sequence = ?", (sequence,))
                # What can fail for want of room fails here; and a log that its folder does not list was never written.
                connection.cache_flush()
                self._files.sync_folder(self.folder)
                last_words()
                connection.execute("COMMIT")
            except BaseException:
                self.roll_back()
                raise
        finally:
            _set(connection, "synchronous", "normal", 1)
            _set(connection, "cache_spill", "off", 0)
        self.format, self.sequence = self.newest_format, sequence

    def guard(self, conditions: Sequence[tuple[str, str]]) -> list[str]:
        """Refuse every row that breaks one of these, (table, SQL about NEW) each; return what `unguard` is given.

        Interned names are conditions of their own: whoever refers to one by number must find it.
        """
        guards = [*conditions, *self._name_conditions()]
        self._connection.create_scalar_function("u32s", _u32s, 3, deterministic=True)
        names = []
        for number, (table, condition) in enumerate(guards):
            for event in ("INSERT", "UPDATE"):
                names.append(f"guard_{number}_{event.lower()}")
                self._connection.execute(
                    f'CREATE TEMP TRIGGER {names[-1]} AFTER {event} ON main."{table}" WHEN NOT ({condition}) '
                    "BEGIN SELECT RAISE(ABORT, 'refers to something lost'); END"
                )
        return names

    def unguard(self, names: Sequence[str]) -> None:
        """Accept rows as ever."""
        for name in names:
            self._connection.execute(f"DROP TRIGGER temp.{name}")

    def _name_conditions(self) -> Iterator[tuple[str, str]]:
        for (table,) in self.rows("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"):
            for _, column, *_ in self.rows(f"SELECT * FROM pragma_table_info('{table}')"):  # noqa: S608 - as above
                if column in _NAME_COLUMNS:
                    yield (
                        table,
                        f"coalesce(NEW.{column}, 0) = 0 OR typeof(NEW.{column}) <> 'integer'"  # noqa: S608 - as above
                        f" OR EXISTS (SELECT 1 FROM main.names WHERE number = NEW.{column})",
                    )

    def cache_bytes(self) -> int:
        """Return the memory that pages take."""
        return self._connection.status(apsw.SQLITE_DBSTATUS_CACHE_USED)[0]

    def used_bytes(self) -> int:
        """Return what the index takes, pages free for use again not counted; both numbers stand in its first page."""
        pages, free = self._connection.pragma("page_count"), self._connection.pragma("freelist_count")
        return (int(pages) - int(free)) * _PAGE_BYTES

    def shrink(self) -> None:
        """Give the memory of clean pages back to the system, not only to this process."""
        self._connection.execute("PRAGMA shrink_memory")
        with contextlib.suppress(AttributeError):  # a C library without it keeps what it has
            ctypes.CDLL(None).malloc_trim(0)

    def open_reader(self) -> apsw.Connection:
        """Return a connection that reads what was last committed; `close` and `discard_log` close it too.

        It may read only while neither `commit` nor `copy_back` runs: an open read keeps the log from being emptied.

        Raises:
            StorageError: the file system cannot serve several connections.
        """
        if not self.copies_alone:
            raise StorageError("this file system serves one connection to the index")
        reader = self._connect()
        _set(reader, "query_only", "on", 1)
        _set(reader, "cache_size", _READER_PAGES, _READER_PAGES)
        self._readers.append(reader)
        return reader

    def close_reader(self, reader: apsw.Connection) -> None:
        """Close what `open_reader` returned."""
        if reader in self._readers:
            self._readers.remove(reader)
            _close(reader)

    def close(self) -> None:
        """Close the connections; what was not committed is gone."""
        for connection in (*self._readers, self._copier, self._main):
            if connection is not None:
                _close(connection)
        self._readers.clear()
        self._copier = self._main = None

    @property
    def _connection(self) -> apsw.Connection:
        if self._main is None:
            raise StorageError("the index is closed")
        return self._main

    def _connect(self) -> apsw.Connection:
        return connect_index(self._path, self._key, self._files)

    def _sync_log(self) -> None:
        # SQLite syncs the log too, but its error would not say whether the database was already touched.
        if not self._files.exists(self._log_path):
            return
        try:
            log_file = self._files.open(self._log_path)
            try:
                log_file.sync()
            finally:
                log_file.close()
        except OSError as error:
            raise LogNotSyncedError(f"the index's log could not be synced: {error}") from error

    def _note_log(self, _connection: apsw.Connection, _name: str, frames: int) -> int:
        self.log_bytes = frames * _FRAME_BYTES
        return apsw.SQLITE_OK

    def _read_format(self) -> int:
        known = {
            name for (name,) in self.rows("SELECT name FROM sqlite_schema WHERE name IN ('applied', 'state_format')")
        }
        if "applied" not in known:
            return self.newest_format
        found: int = FIRST_FORMAT if "state_format" not in known else self.rows("SELECT number FROM state_format")[0][0]
        if found > self.newest_format:
            raise NewerFormatError.of(f"{self._path}", f"format {found}, this release knows {self.newest_format}")
        return found

    def _make_tables(self) -> None:
        digest = layout_digest(self.tables)
        known = self.row("SELECT 1 FROM sqlite_schema WHERE name = 'applied'")
        if known and self.row("SELECT layout FROM applied") == (digest,):
            return
        if self._read_only:
            # What is missing is there for as long as the transaction is open, which is never committed.
            self._connection.execute("BEGIN IMMEDIATE")
        with self._connection:
            for room in self.tables:
                for statement in room.ddl:
                    self._connection.execute(statement)
            self._connection.execute(
                "INSERT INTO applied VALUES (1, 0, 0, ?) ON CONFLICT (one) DO UPDATE SET layout = excluded.layout",
                (digest,),
            )
            if not known:
                self._connection.execute(_STATE_FORMAT, (self.newest_format,))


def connect_index(path: Path, key: bytes, files: FileLayer) -> apsw.Connection:
    """Return a connection to a database whose every page is encrypted with `key`, made if there is none."""
    vfs = None if files.vfs is None else f"multipleciphers-{files.vfs}"
    connection = apsw.Connection(str(path), vfs=vfs, statementcachesize=_STATEMENTS)
    _set(connection, "cipher", "chacha20", "chacha20")
    connection.pragma("key", f"raw:{key.hex()}")
    connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
    return connection


def _close(connection: apsw.Connection) -> None:
    # SQLite would copy the log by itself, not knowing whether it can be trusted.
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.close()


def _u32s(*values: Any) -> str:  # noqa: ANN401 - whatever SQL hands over
    """Return a JSON list of the little-endian numbers at (blob, stride in bytes, offset) of each stride of the blob."""
    blob, stride_bytes, offset = values
    starts = range(offset, len(blob) - 3, stride_bytes)
    return json.dumps([int.from_bytes(blob[start : start + 4], "little") for start in starts])


def _set(connection: apsw.Connection, name: str, value: str | int, expected: str | int) -> None:
    connection.pragma(name, value)
    found = connection.pragma(name)
    if found != expected:
        raise DamagedError(f"the index refuses {name} = {value}: it is {found}")
