"""What a room keeps on flash: table definitions and numbered operations.

An operation is one constant SQL statement with a number. The journal stores the number and the parameters; a replay
runs the same statement with the same parameters, so neither number nor statement may ever change its meaning.
"""

import dataclasses
import hashlib
from collections.abc import Sequence

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
    """

    number: int
    sql: str
    lazy: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Tables:
    """What one room keeps.

    Attributes:
        name: the room's name, for messages.
        ddl: statements that may run again without harm (CREATE TABLE IF NOT EXISTS).
        operations: every operation that any release of the room ever wrote.
    """

    name: str
    ddl: tuple[str, ...]
    operations: tuple[Operation, ...]


INTERN = Operation(1, "INSERT INTO names(number, text) VALUES (?, ?)")

STORE_TABLES = Tables(
    name="store",
    ddl=(
        "CREATE TABLE IF NOT EXISTS names(number INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)",
        # One row: what the journal holds beyond these numbers is replayed at the next start.
        "CREATE TABLE IF NOT EXISTS applied("
        "one INTEGER PRIMARY KEY CHECK (one = 1), position INTEGER NOT NULL, sequence INTEGER NOT NULL,"
        " layout BLOB NOT NULL)",
    ),
    operations=(INTERN,),
)


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


def layout_digest(tables: Sequence[Tables]) -> bytes:
    """Return 16 bytes that change when any table definition changes."""
    text = "\n".join(statement for room in tables for statement in room.ddl)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
