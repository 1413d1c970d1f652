"""A table as a sequence of ranges: the logical form in which the index leaves this box and comes back.

Rows in key order are cut where a hash of the key says so, which is the same wherever the rows are read: two pictures of
one table differ only in the ranges that changed. Applying a range means: delete every row whose key is above `low` and
not above `high`, insert the rows. Ranges cover all keys, so what was deleted here is deleted there too.
"""

import dataclasses
import hashlib
import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Any

import apsw

from relay.base.limits import KIB
from relay.store.packing import pack, unpack
from relay.store.tables import Value

Key = tuple[Value, ...]
DIGEST_BYTES = 8
CHUNK_KEY_BYTES = 16
# One row in so many ends a range; many large rows end it earlier.
_ONE_IN = 64
_MAX_RANGE_BYTES = 128 * KIB
_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


@dataclasses.dataclass(frozen=True, slots=True)
class Schema:
    """How the tables were made: the source's own words, which need not be this release's."""

    tables: dict[str, str]
    indexes: tuple[str, ...]
    version: int

    def pack(self) -> list[Any]:
        """Return a form that msgpack keeps."""
        return [self.tables, list(self.indexes), self.version]


@dataclasses.dataclass(frozen=True, slots=True)
class Chunk:
    """One range of one table.

    Attributes:
        low: the last key before it, None at the beginning of the table.
        high: its last key, None at the end of the table.
        packed: the rows, msgpack lists one after another, columns in the order of `TableForm.columns`.
        digest: of all of the above, keyed.
    """

    table: str
    low: Key | None
    high: Key | None
    packed: bytes
    digest: int


@dataclasses.dataclass(frozen=True, slots=True)
class Reached:
    """The end of a snapshot: what all chunks together are.

    Attributes:
        position, sequence: the last change and the journal commit it was in.
        boot: the start in which the snapshot was taken.
        digest: of every range of every table.
    """

    position: int
    sequence: int
    boot: int
    digest: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class TableForm:
    """What one table looks like.

    Attributes:
        columns: every column in order, after `rowid` where that is the key and has no other name.
        key: the columns rows are ordered by.
        unique: whether other columns are unique too, so that two versions of its ranges cannot lie side by side.
    """

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    unique: bool

    @classmethod
    def read(cls, connection: apsw.Connection, name: str) -> "TableForm":
        """Return the form of a table of `connection`."""
        found: list[tuple[Any, ...]] = connection.execute(
            "SELECT name, type, pk FROM pragma_table_info(?)", (name,)
        ).fetchall()
        columns = tuple(quoted(column) for column, _, _ in found)
        keys = tuple(quoted(row[0]) for row in sorted((row for row in found if row[2]), key=lambda row: row[2]))
        types = [kind.upper() for _, kind, place in found if place]
        ((no_rowid,),) = connection.execute("SELECT wr FROM pragma_table_list(?) WHERE schema = 'main'", (name,))
        ((more,),) = connection.execute(
            "SELECT count(*) FROM pragma_index_list(?) WHERE \"unique\" AND origin <> 'pk'", (name,)
        )
        if not no_rowid and types != ["INTEGER"]:
            return cls(name, ("rowid", *columns), ("rowid",), bool(more or keys))
        return cls(name, columns, keys, bool(more))

    def select(self, low: Key | None) -> str:
        """Return the query for everything above `low`, in key order."""
        key, places = ", ".join(self.key), ", ".join("?" * len(self.key))
        where = "" if low is None else f" WHERE ({key}) > ({places})"
        return f"SELECT {', '.join(self.columns)} FROM {quoted(self.name)}{where} ORDER BY {key}"  # noqa: S608 - names


def read_schema(connection: apsw.Connection) -> Schema:
    """Return how the tables of `connection` were made."""
    rows: list[tuple[Any, ...]] = connection.execute(
        "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        " AND type IN ('table', 'index') ORDER BY name"
    ).fetchall()
    tables = {name: sql for kind, name, sql in rows if kind == "table"}
    return Schema(tables, tuple(sql for kind, _, sql in rows if kind == "index"), connection.pragma("user_version"))


class Cutter:
    """Cuts tables into ranges under one 16-byte key."""

    def __init__(self, chunk_key: bytes) -> None:
        self._key = chunk_key
        self._seed = int.from_bytes(chunk_key[:8], "little") | 1
        self._crc = int.from_bytes(chunk_key[8:12], "little")

    def next_range(self, connection: apsw.Connection, form: TableForm, low: Key | None) -> Chunk:
        """Return the range above `low`; its `high` is None where the table ends."""
        places = [form.columns.index(column) for column in form.key]
        packed = bytearray()
        high: Key | None = None
        rows = connection.execute(form.select(low), low or ())
        for row in rows:
            packed += pack(row)
            key = tuple(row[place] for place in places)
            if len(packed) >= _MAX_RANGE_BYTES or self._ends(key):
                high = key
                break
        # Ends the read: an open one would keep the log from being copied.
        rows.close(True)  # noqa: FBT003 - apsw's
        content = bytes(packed)
        return Chunk(form.name, low, high, content, self._digest(form.name, low, high, content))

    def ranges(self, connection: apsw.Connection, form: TableForm) -> Iterator[Chunk]:
        """Yield all ranges of a table."""
        low: Key | None = None
        while True:
            chunk = self.next_range(connection, form, low)
            yield chunk
            if chunk.high is None:
                return
            low = chunk.high

    def _ends(self, key: Key) -> bool:
        first = key[0]
        if len(key) == 1 and isinstance(first, int):
            return ((first * _GOLDEN ^ self._seed) * _GOLDEN & _MASK) >> 32 & (_ONE_IN - 1) == 0
        return zlib.crc32(pack(key), self._crc) & (_ONE_IN - 1) == 0

    def _digest(self, table: str, low: Key | None, high: Key | None, packed: bytes) -> int:
        digest = hashlib.blake2b(pack([table, low, high]), key=self._key, digest_size=DIGEST_BYTES)
        digest.update(packed)
        return int.from_bytes(digest.digest(), "little")


class Picture:
    """What somebody holds who applied every chunk so far: the digest of each range, 8 bytes a range.

    Attributes:
        chunk_key: what the ranges were cut with.
    """

    def __init__(self, chunk_key: bytes) -> None:
        self.chunk_key = chunk_key
        self._schema = b""
        self._tables: dict[str, array[int]] = {}

    def fits(self, schema: Schema) -> bool:
        """Return whether the picture is of these very tables."""
        return self._schema == _schema_digest(schema)

    def holds(self, chunk: Chunk) -> bool:
        """Return whether this range is in the picture as it is."""
        known = self._tables.get(chunk.table)
        if known is None:
            return False
        place = bisect_left(known, chunk.digest)
        return place < len(known) and known[place] == chunk.digest

    def restart(self, schema: Schema) -> None:
        """Hold nothing yet of these tables."""
        self._schema = _schema_digest(schema)
        self._tables = {}

    def replace(self, digests: "Digests") -> None:
        """Make a complete round of ranges the picture."""
        self._tables = {name: array("Q", sorted(found)) for name, found in digests.tables.items()}

    def pack(self) -> bytes:
        """Return the picture as bytes."""
        return pack([self.chunk_key, self._schema, {name: known.tobytes() for name, known in self._tables.items()}])

    @classmethod
    def unpack(cls, packed: bytes) -> "Picture":
        """Return the picture that `pack` was called on.

        Raises:
            ValueError: these are not such bytes.
        """
        chunk_key, schema, tables = unpack(packed)
        picture = cls(chunk_key)
        picture._schema = schema
        for name, content in tables.items():
            picture._tables[name] = array("Q")
            picture._tables[name].frombytes(content)
        return picture


class Digests:
    """The digests of one round, in the order of the ranges."""

    def __init__(self) -> None:
        self.tables: dict[str, array[int]] = {}

    def add(self, chunk: Chunk) -> None:
        """Take in the next range."""
        self.tables.setdefault(chunk.table, array("Q")).append(chunk.digest)

    def total(self, chunk_key: bytes) -> bytes:
        """Return one digest of 16 bytes over everything."""
        total = hashlib.blake2b(key=chunk_key, digest_size=16)
        for name in sorted(self.tables):
            digests = self.tables[name]
            total.update(pack([name, struct.pack(f"<{len(digests)}Q", *digests)]))
        return total.digest()


def total_digest(connection: apsw.Connection, chunk_key: bytes) -> bytes:
    """Return the digest over everything in `connection`, as `Reached.digest` has it."""
    cutter, digests = Cutter(chunk_key), Digests()
    for form in table_forms(connection, read_schema(connection).tables):
        for chunk in cutter.ranges(connection, form):
            digests.add(chunk)
    return digests.total(chunk_key)


def table_forms(connection: apsw.Connection, tables: Mapping[str, str]) -> list[TableForm]:
    """Return the forms of tables of `connection`, by name."""
    return [TableForm.read(connection, name) for name in sorted(tables)]


def _schema_digest(schema: Schema) -> bytes:
    return hashlib.blake2b(pack(schema.pack()), digest_size=16).digest()


def quoted(name: str) -> str:
    """Return a name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'
