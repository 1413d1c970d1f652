"""What a room keeps on flash: table definitions and numbered operations.

An operation is one constant SQL statement with a number. The journal stores the number and the parameters; a replay
runs the same statement with the same parameters, so neither number nor statement may ever change its meaning.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence

import apsw

Value = None | int | float | str | bytes
"""What a parameter may be: the types that SQLite and the journal both keep exactly."""


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """One numbered, constant SQL statement.

    Attributes:
        number: unique in the whole house: store 1-99, rooms 100-299, household 300-499, delivery 500-699,
            federation 700-749, client_api 750-799, bridges from 800.
        sql: deterministic: no random(), no SQL clock, no LIMIT without ORDER BY.
        lazy: may ride with the next commit, up to 30 s later, and be lost in a power cut before that.
        patient: lazy, and never worth a commit of its own: it waits for the next one, however long that takes.
    """

    number: int
    sql: str
    lazy: bool = False
    patient: bool = False


Step = str | Callable[[apsw.Connection], None]
"""Part of a migration: one statement, or a function that reads and writes through the index's connection."""

FIRST_FORMAT = 1
"""The format of state folders whose release gave none: 0.1.0."""


@dataclasses.dataclass(frozen=True, slots=True)
class Migration:
    """What makes a room's tables of the format before into those of `format`. Once released it never changes.

    Attributes:
        format: the format number of the whole state folder that it leads to; several rooms may share one.
        steps: run in order inside one transaction. They see the tables as the formats before left them and stand on
            their own: the room's present `ddl` runs after the last of all migrations. Tables and indexes that are
            merely new need no step. A function goes through big tables in pages: what it changes may be more than
            memory holds, what it reads at a time may not.
    """

    format: int
    steps: tuple[Step, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Tables:
    """What one room keeps.

    Attributes:
        name: the room's name, for messages.
        ddl: statements that may run again without harm (CREATE TABLE IF NOT EXISTS).
        operations: every operation that any release of the room ever wrote.
        migrations: how the tables of older releases become these.
    """

    name: str
    ddl: tuple[str, ...]
    operations: tuple[Operation, ...]
    migrations: tuple[Migration, ...] = ()


INTERN = Operation(1, "INSERT INTO names(number, text) VALUES (?, ?)")

STORE_TABLES = Tables(
    name="store",
    ddl=(
        "CREATE TABLE IF NOT EXISTS names(number INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)",
        # One row: what the journal holds beyond these numbers is replayed at the next start.
        "CREATE TABLE IF NOT EXISTS applied("
        "one INTEGER PRIMARY KEY CHECK (one = 1), position INTEGER NOT NULL, sequence INTEGER NOT NULL,"
        " layout BLOB NOT NULL)",
        # One row, in every format since 2: a copy of all tables carries its format with it.
        "CREATE TABLE IF NOT EXISTS state_format(one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL)",
    ),
    operations=(INTERN,),
    # Every format stands here, and steps of other rooms bear one of these numbers.
    # 2: the first that names itself; what else is new in it are tables and operations.
    migrations=(Migration(2),),
)

STATE_FORMAT = max(migration.format for migration in STORE_TABLES.migrations)
"""The format of the state folder as a whole, in this release; formats of released versions never change again."""


def number_operations(tables: Sequence[Tables]) -> dict[int, Operation]:
    """Return every operation by its number.

    Raises:
        ValueError: two operations share a number.
    """
    numbered: dict[int, Operation] = {}
    for room in tables:
        for operation in room.operations:
            if operation.number in numbered:
                raise ValueError(f"operation {operation.number} of {room.name} is taken")
            numbered[operation.number] = operation
    return numbered


def newest_format(tables: Sequence[Tables]) -> int:
    """Return the format of a state folder with these tables: the highest number among their migrations."""
    return max((migration.format for room in tables for migration in room.migrations), default=FIRST_FORMAT)


def steps_between(tables: Sequence[Tables], old: int, new: int) -> list[tuple[int, Step]]:
    """Return every (format, step) that leads from format `old` to `new`, in the order to run them."""
    due = [migration for room in tables for migration in room.migrations if old < migration.format <= new]
    return [
        (migration.format, step) for migration in sorted(due, key=lambda one: one.format) for step in migration.steps
    ]


def layout_digest(tables: Sequence[Tables]) -> bytes:
    """Return 16 bytes that change when any table definition changes."""
    text = "\n".join(statement for room in tables for statement in room.ddl)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
