"""What a room's rows refer to: a repair keeps no change whose state, groups or events are among what was lost."""

import contextlib
from collections.abc import Sequence
from typing import Any

from relay.base.errors import RelayError
from relay.base.ids import EventId, RoomId, server_of
from relay.rooms.matrix.storage import graph, packing
from relay.rooms.matrix.tables import ADD_EVENT
from relay.store.index import Index

_GROUP = "EXISTS (SELECT 1 FROM main.state_groups WHERE number = {})"
_EVENT = "EXISTS (SELECT 1 FROM main.events WHERE number = {})"
_EVENTS = (
    "NOT EXISTS (SELECT 1 FROM json_each(u32s({}, {}, {})) AS entry"
    " WHERE entry.value <> 0 AND NOT EXISTS (SELECT 1 FROM main.events WHERE number = entry.value))"
)

SOUND = (
    (
        "events",
        "NEW.place IS NULL OR EXISTS (SELECT 1 FROM main.rooms WHERE number = NEW.room)"
        " OR EXISTS (SELECT 1 FROM main.joins WHERE room = NEW.room)",
    ),
    ("events", f"coalesce(NEW.state, 0) = 0 OR {_GROUP.format('NEW.state')}"),
    ("state_groups", f"(NEW.depth = 0 OR {_GROUP.format('NEW.parent')}) AND {_EVENTS.format('NEW.delta', 12, 8)}"),
    ("rooms", f"(NEW.state = 0 OR {_GROUP.format('NEW.state')}) AND {_EVENTS.format('NEW.tips', 4, 0)}"),
    ("current_state", _EVENT.format("NEW.event")),
)
"""(table, condition about the row NEW), for `relay.store.repair`."""


def fits(index: Index, here: str, number: int, params: Sequence[Any]) -> bool:
    """Return whether an operation may stand behind a gap.

    An event of another server whose ancestors were lost is left out: that server has it, and hands it out together with
    them. One made here is kept: nobody else may have it yet.
    """
    if number != ADD_EVENT.number or params[2] is None:
        return True
    room = index.value("SELECT text FROM names WHERE number = ?", params[1])
    if room is None:
        return False
    with contextlib.suppress(RelayError, KeyError, ValueError, TypeError):
        raw = packing.unpack(params[6], RoomId(room))
        if server_of(raw["sender"]) == here:
            return True
        return all(graph.known(index, EventId(parent)) is not None for parent in raw["prev_events"])
    return False
