"""What in the rooms' tables refers to something that is gone: after any pruning and any power cut, nothing may."""

import struct

from relay.core.matrix.events import Event
from relay.rooms.matrix.storage import graph
from relay.rooms.matrix.storage.stored_event import Flags, id_blob
from relay.store.ledger import Index

_ENTRY = struct.Struct("<III")
_REFERENCES = {
    "the creation of a room": "SELECT creation FROM rooms",
    "current state": "SELECT event FROM current_state",
    "a membership": "SELECT event FROM memberships",
    "a departure": "SELECT event FROM departures",
    "a redaction that waits": "SELECT event FROM waiting_redactions",
    "the redaction of an event": "SELECT redaction FROM events WHERE redaction IS NOT NULL",
}


def flaws(index: Index) -> list[str]:
    """Return every broken reference, in words."""
    numbers = {number for (number,) in index.rows("SELECT number FROM events")}
    broken = [
        f"{what}: event {number}"
        for what, sql in _REFERENCES.items()
        for (number,) in index.rows(sql)
        if number not in numbers
    ]
    groups = {
        number: (parent, depth, [event for _, _, event in _ENTRY.iter_unpack(delta) if event])
        for number, parent, depth, delta in index.rows("SELECT number, parent, depth, delta FROM state_groups")
    }
    for number, (parent, depth, events) in groups.items():
        if depth and parent not in groups:
            broken.append(f"state group {number}: parent {parent}")
        broken += [f"state group {number}: event {event}" for event in events if event not in numbers]
    for number, state in index.rows("SELECT number, state FROM events WHERE state IS NOT NULL AND state > 0"):
        if state not in groups:
            broken.append(f"the state at event {number}: group {state}")
    return broken + _rooms(index, set(groups)) + _chains(index)


def _rooms(index: Index, groups: set[int]) -> list[str]:
    broken = []
    for room in graph.rooms(index):
        row = graph.row(index, room)
        assert row is not None
        if row.state not in groups:
            broken.append(f"the state of a room: group {row.state}")
        for tip in row.tips:
            if index.value("SELECT state FROM events WHERE number = ?", tip) is None:
                broken.append(f"an extremity without a state: event {tip}")
    return broken


def _chains(index: Index) -> list[str]:
    """Auth chains of all that is in a timeline or a state: whole."""
    ids = {bytes(blob) for (blob,) in index.rows("SELECT id FROM events")}
    broken = []
    rows = index.rows(
        "SELECT number FROM events WHERE (place IS NOT NULL OR flags & ?1) AND NOT flags & ?2",
        int(Flags.OUTLIER),
        int(Flags.REJECTED),
    )
    for (number,) in rows:
        event: Event = graph.by_number(index, number).event
        broken += [f"an auth event of event {number}" for cited in event.all_auth_events if id_blob(cited) not in ids]
    return broken
