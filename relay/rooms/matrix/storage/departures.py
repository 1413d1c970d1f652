"""What other servers must get from here: a cursor over the events made on this box, nothing copied."""

from dataclasses import dataclass

from relay.base.ids import ServerName
from relay.core.matrix.events import Event
from relay.rooms.matrix.storage import graph
from relay.rooms.matrix.tables import DROP_DEPARTURE
from relay.store.ledger import Change, Index


@dataclass(frozen=True, slots=True)
class Departure:
    """One event to send. `number` is the cursor behind it."""

    number: int
    event: Event


def since(index: Index, server: ServerName, after: int, limit: int) -> list[Departure]:
    """Return the next events that `server` must get, oldest first, after the cursor `after`.

    Those of rooms it has a joined user in, made since it joined, and those that took its last user out. A server
    heard of for the first time starts with the cursor 0.
    """
    number = index.find(server)
    if number is None:
        return []
    rows = index.rows(
        "SELECT d.event FROM departures d WHERE d.event > ?1 AND (d.extra = ?2 OR EXISTS"
        " (SELECT 1 FROM room_servers s WHERE s.room = d.room AND s.server = ?2 AND s.since < d.event))"
        " ORDER BY d.event LIMIT ?3",
        after,
        number,
        limit,
    )
    return [Departure(event, graph.by_number(index, event).event) for (event,) in rows]


def recipients(index: Index, after: int, limit: int) -> list[tuple[Departure, frozenset[ServerName]]]:
    """Return the next departures after `after`, oldest first, each with the servers that must get it.

    The sender's own server is among them; this box is not, unless another server's event goes out from here.
    """
    rows = index.rows("SELECT event, room, extra FROM departures WHERE event > ? ORDER BY event LIMIT ?", after, limit)
    found: list[tuple[Departure, frozenset[ServerName]]] = []
    for event, room, extra in rows:
        joined = index.rows("SELECT server FROM room_servers WHERE room = ? AND since < ? ORDER BY server", room, event)
        numbers = {server for (server,) in joined} | ({extra} if extra is not None else set())
        servers = frozenset(ServerName(index.name(number)) for number in numbers)
        found.append((Departure(event, graph.by_number(index, event).event), servers))
    return found


def newest(index: Index) -> int:
    """Return the cursor behind everything that has to leave."""
    return int(index.value("SELECT max(event) FROM departures") or 0)


def is_departure(index: Index, number: int) -> bool:
    """Return whether the event in row `number` had to leave the house."""
    return index.row("SELECT 1 FROM departures WHERE event = ?", number) is not None


def owed_to(index: Index, number: int) -> set[int]:
    """Return the servers, by number, that must get the event in row `number`, this box and the sender's included."""
    row = index.row("SELECT room, extra FROM departures WHERE event = ?", number)
    if row is None:
        return set()
    joined = index.rows("SELECT server FROM room_servers WHERE room = ? AND since < ?", row[0], number)
    return {server for (server,) in joined} | ({row[1]} if row[1] is not None else set())


def oldest(index: Index, after: int, limit: int) -> list[int]:
    """Return the rows of the next departures after `after`."""
    rows = index.rows("SELECT event FROM departures WHERE event > ? ORDER BY event LIMIT ?", after, limit)
    return [event for (event,) in rows]


def forget(change: Change, number: int) -> None:
    """Note that every server has the event in row `number`."""
    change.write(DROP_DEPARTURE, number)
