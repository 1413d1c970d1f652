"""Departures without rooms: events that go to named servers, as `relay.rooms.matrix.storage.departures` has them."""

from dataclasses import dataclass
from typing import Any

import orjson

from relay.base.ids import ServerName
from relay.store.ledger import Change, Index
from relay.store.tables import Operation, Tables

_ADD = Operation(990, "INSERT INTO fake_departure VALUES (?, ?, ?)")

TABLES = Tables(
    name="fake.departures",
    ddl=("CREATE TABLE IF NOT EXISTS fake_departure (number INTEGER PRIMARY KEY, servers TEXT NOT NULL, pdu BLOB)",),
    operations=(_ADD,),
)


@dataclass(frozen=True)
class FakeEvent:
    sender: str
    raw: dict[str, Any]


@dataclass(frozen=True)
class Departure:
    number: int
    event: FakeEvent


def add(change: Change, servers: list[ServerName], pdu: dict[str, Any]) -> None:
    """Let `pdu` leave for `servers`."""
    change.write(_ADD, newest(change) + 1, " ".join(servers), orjson.dumps(pdu))
    change.wake(("outbox",))


def newest(index: Index) -> int:
    return int(index.value("SELECT max(number) FROM fake_departure") or 0)


def since(index: Index, server: ServerName, after: int, limit: int) -> list[Departure]:
    rows = [row for row in recipients(index, after, 10_000) if server in row[1]]
    return [departure for departure, _ in rows[:limit]]


def recipients(index: Index, after: int, limit: int) -> list[tuple[Departure, frozenset[ServerName]]]:
    rows = index.rows("SELECT * FROM fake_departure WHERE number > ? ORDER BY number LIMIT ?", after, limit)
    return [(_departure(row), frozenset(map(ServerName, row[1].split()))) for row in rows]


def _departure(row: tuple[Any, ...]) -> Departure:
    pdu = orjson.loads(row[2])
    return Departure(row[0], FakeEvent(pdu.get("sender", "@ada:box.example"), pdu))
