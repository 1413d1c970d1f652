"""The way back: an index out of chunks, and a journal that goes on where the index ends.

Nothing here is safe against a power cut while it runs: it is done in a folder that only counts once it was renamed.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw

from relay.base.errors import DamagedError, NewerFormatError, StorageError
from relay.store.chunks import Chunk, Key, Reached, Schema, TableForm, quoted, total_digest
from relay.store.files import OS_FILES, FileLayer
from relay.store.index_file import IndexFile, connect_index
from relay.store.packing import unpack_all
from relay.store.replay import apply_change
from relay.store.root_page import Root
from relay.store.segments import SEGMENT_BYTES, Segments
from relay.store.tables import FIRST_FORMAT, STATE_FORMAT, Tables

# Beyond anything that the box which made the backup can have numbered since: positions and starts are never used twice.
_POSITION_JUMP = 1 << 32
_BOOT_JUMP = 1 << 16
_CACHE_KIB = 4096
_STAGE = "stage_"


class IndexBuilder:
    """Writes an index as its source had it, in the source's own words; what is newer comes when it is opened."""

    def __init__(self, path: Path, key: bytes, chunk_key: bytes, files: FileLayer = OS_FILES) -> None:
        self._path = path
        self._key = key
        self._chunk_key = chunk_key
        self._files = files
        self._schema: Schema | None = None
        self._connection: apsw.Connection | None = None
        self._forms: dict[str, TableForm] = {}

    def begin(self, schema: Schema) -> None:
        """Take in how the tables were made; other tables than before begin afresh.

        Raises:
            DamagedError: these are no tables.
        """
        if schema == self._schema:
            return
        self.close()
        self._files.remove(self._path)
        self._schema = schema
        connection = self._connection = self._open()
        with _named("the tables of the backup cannot be made"):
            connection.execute("BEGIN")
            for sql in schema.tables.values():
                if not sql.upper().startswith("CREATE TABLE"):
                    raise DamagedError("the backup names something as a table that is none")
                connection.execute(sql)
            self._forms = {name: TableForm.read(connection, name) for name in schema.tables}
            for form in self._forms.values():
                if form.unique:
                    connection.execute(_stage_sql(form))

    def put(self, chunk: Chunk) -> None:
        """Make one range of a table what the chunk says.

        Raises:
            DamagedError: the chunk does not fit the tables.
        """
        form = self._forms.get(chunk.table)
        if form is None or self._connection is None:
            raise DamagedError("the backup holds rows of a table that it does not describe")
        target = quoted(_STAGE + form.name if form.unique else form.name)
        columns = ", ".join(form.columns)
        places = ", ".join("?" * len(form.columns))
        with _named("rows of the backup do not fit their table"):
            self._connection.execute(*_delete(form, target, chunk.low, chunk.high))
            self._connection.executemany(
                f"INSERT INTO {target} ({columns}) VALUES ({places})",  # noqa: S608 - names of the schema
                unpack_all(chunk.packed),
            )

    def finish(self, reached: Reached) -> int:
        """Complete the index, compare it with what the source had, bring it to flash; return the format of its tables.

        Raises:
            DamagedError: it is not the same.
            NewerFormatError: this release does not know such tables.
            OSError: flash refused it.
        """
        connection, schema = self._connection, self._schema
        if connection is None or schema is None:
            raise DamagedError("the backup holds no tables")
        with _named("the index of the backup cannot be completed"):
            for form in self._forms.values():
                if form.unique:
                    _unstage(connection, form)
            for sql in schema.indexes:
                if not sql.upper().startswith(("CREATE INDEX", "CREATE UNIQUE INDEX")):
                    raise DamagedError("the backup names something as an index that is none")
                connection.execute(sql)
            if total_digest(connection, self._chunk_key) != reached.digest:
                raise DamagedError("the restored index is not what was backed up")
            number = _format(connection, schema)
            connection.execute("UPDATE applied SET position = ?, sequence = ?", (reached.position, reached.sequence))
            connection.pragma("user_version", schema.version)
            connection.execute("COMMIT")
        self.close()
        file = self._files.open(self._path)
        file.sync()
        file.close()
        self._files.sync_folder(self._path.parent)
        return number

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> apsw.Connection:
        self._files.open(self._path, create=True).close()
        connection = connect_index(self._path, self._key, self._files)
        connection.pragma("journal_mode", "off")
        connection.pragma("synchronous", "off")
        connection.pragma("locking_mode", "exclusive")
        connection.pragma("temp_store", "memory")
        connection.pragma("cache_size", -_CACHE_KIB)
        return connection


def make_journal(
    folder: Path,
    key: bytes,
    reached: Reached,
    format_number: int,
    *,
    segments: int,
    files: FileLayer = OS_FILES,
    segment_bytes: int = SEGMENT_BYTES,
) -> None:
    """Make a journal in `folder` that goes on after `reached`.

    Its starts and positions are numbered far beyond those of the box that made the backup: nothing that box ever showed
    can mean something else here.
    """
    made = Segments(files, folder, key, count=segments, segment_bytes=segment_bytes)
    try:
        made.make(
            Root(
                sequence=0,
                boot=reached.boot + _BOOT_JUMP,
                floor=reached.position + _POSITION_JUMP,
                released=reached.sequence,
                next_use=1,
                uses=(),
                format=format_number,
            )
        )
    finally:
        made.close()


def apply_commits(
    path: Path,
    key: bytes,
    tables: Sequence[Tables],
    commits: Iterable[tuple[int, bytes]],
    *,
    files: FileLayer = OS_FILES,
) -> tuple[int, int]:
    """Bring the index at `path` forward by journal commits, (sequence, payload) each; return (position, sequence).

    Raises:
        DamagedError: a commit does not follow the one before, or does not fit.
    """
    index = IndexFile(path, key, tables, files)
    try:
        index.open()
        position, sequence = index.position, index.sequence
        for number, payload in commits:
            if number != sequence + 1:
                raise DamagedError(f"commit {sequence + 1} is missing: the next one is {number}")
            with _named(f"commit {number} does not fit the index"):
                for change in unpack_all(payload):
                    position = apply_change(index, change)
            sequence = number
        index.commit(position, sequence)
        if not index.copy_back():
            raise StorageError("the index could not be copied back")
        index.empty_log()
        return position, sequence
    finally:
        index.close()


def _format(connection: apsw.Connection, schema: Schema) -> int:
    number: int = FIRST_FORMAT
    if "state_format" in schema.tables:
        ((number,),) = connection.execute("SELECT number FROM state_format")
    if number > STATE_FORMAT:
        raise NewerFormatError.of("the backup", f"format {number}, this release knows {STATE_FORMAT}")
    return number


def read_reached(record: Sequence[Any]) -> Reached:
    """Return what the fields of a record say.

    Raises:
        DamagedError: no snapshot ends like this.
    """
    match record:
        case [int(position), int(sequence), int(boot), bytes(digest)]:
            return Reached(position, sequence, boot, digest)
    raise DamagedError("the backup does not say where it ends")


def _stage_sql(form: TableForm) -> str:
    # Ranges of different rounds may meet that never were in the table together: uniqueness is asked for at the end.
    columns, key = ", ".join(form.columns), ", ".join(form.key)
    return f"CREATE TABLE {quoted(_STAGE + form.name)} ({columns}, PRIMARY KEY ({key})) WITHOUT ROWID"


def _unstage(connection: apsw.Connection, form: TableForm) -> None:
    stage, columns = quoted(_STAGE + form.name), ", ".join(form.columns)
    connection.execute(
        f"INSERT INTO {quoted(form.name)} ({columns})"  # noqa: S608 - names of the schema
        f" SELECT {columns} FROM {stage} ORDER BY {', '.join(form.key)}"
    )
    connection.execute(f"DROP TABLE {stage}")


def _delete(form: TableForm, target: str, low: Key | None, high: Key | None) -> tuple[str, Key]:
    key, places = ", ".join(form.key), ", ".join("?" * len(form.key))
    bounds = [f"({key}) {sign} ({places})" for sign, bound in ((">", low), ("<=", high)) if bound is not None]
    where = f" WHERE {' AND '.join(bounds)}" if bounds else ""
    return f"DELETE FROM {target}{where}", (*(low or ()), *(high or ()))  # noqa: S608 - names of the schema


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except (apsw.IOError, apsw.FullError, apsw.CantOpenError) as error:
        raise StorageError(f"the index cannot be written: {error}") from error
    except (apsw.Error, ValueError, TypeError) as error:
        raise DamagedError(f"{what}: {error}") from error
