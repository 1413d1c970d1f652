"""What other servers must get from here: a cursor over the events made on this box, nothing copied."""

from dataclasses import dataclass

from relay.base.ids import ServerName
from relay.core.matrix.events import Event
from relay.rooms.matrix import graph
from relay.store.ledger import Index


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


def newest(index: Index) -> int:
    """Return the cursor behind everything that has to leave."""
    return int(index.value("SELECT max(event) FROM departures") or 0)
