"""How long a room wants its messages kept.

Source: MSC1763, as Synapse reads it (`m.room.retention`): `min_lifetime` and `max_lifetime` in milliseconds, both
optional. State is never meant, and neither is the newest event of a room.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relay.base.ids import RoomId
from relay.core.matrix.events import Event
from relay.rooms.matrix.storage import state
from relay.store.ledger import Index

TYPE = "m.room.retention"


@dataclass(frozen=True, slots=True)
class Lifetime:
    """What a room asks for; None where it says nothing.

    Attributes:
        least_ms: a message is not let go before it is so old.
        most_ms: a message is let go when it is so old.
    """

    least_ms: int | None = None
    most_ms: int | None = None


def wanted(index: Index, room: RoomId) -> Lifetime:
    """Return what the current state of the room asks for; nothing where it is malformed."""
    event = state.current_event(index, room, TYPE)
    return Lifetime() if event is None else read_content(event.content)


def read_content(content: Mapping[str, Any]) -> Lifetime:
    """Return what the content of an `m.room.retention` asks for; nothing where it contradicts itself."""
    least_ms, most_ms = content.get("min_lifetime"), content.get("max_lifetime")
    if not _is_lifetime(least_ms) or not _is_lifetime(most_ms):
        return Lifetime()
    if least_ms is not None and most_ms is not None and least_ms > most_ms:
        return Lifetime()
    return Lifetime(least_ms, most_ms)


def is_over(event: Event, most_ms: int, now_ms: int) -> bool:
    """Return whether the event, by its sender's clock, is older than `most_ms`."""
    return event.origin_server_ts + most_ms < now_ms


def _is_lifetime(value: object) -> bool:
    return value is None or (type(value) is int and value >= 0)
