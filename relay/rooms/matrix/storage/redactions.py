"""Applying redactions, whichever of the two events comes first.

Source: Matrix specification v1.19, room version 3, "Handling redactions".
"""

import contextlib

from relay.base.errors import InvalidInputError
from relay.base.ids import parse_event_id
from relay.core.matrix.events import Event, redacted_event
from relay.core.matrix.power_levels import CREATE_KEY, POWER_LEVELS_KEY, PowerLevels
from relay.rooms.matrix.storage import graph, state
from relay.rooms.matrix.storage.packing import pack
from relay.rooms.matrix.storage.stored_event import Flags, StoredEvent, id_blob
from relay.rooms.matrix.tables import ADD_WAITING_REDACTION, DROP_WAITING_REDACTION, FLAG_EVENT, REDACT_EVENT
from relay.store.ledger import Change, Index

_REDACTION = "m.room.redaction"


def settle(change: Change, number: int, event: Event) -> None:
    """Do what the newly stored event in row `number` makes possible: redact its target, or be redacted itself.

    A redaction without a target here waits, hidden from clients; one that was not its sender's to make stays hidden.
    """
    if event.type == _REDACTION and event.redacts is not None:
        _redact_target(change, graph.by_number(change, number))
    waiting = change.rows(
        "SELECT event FROM waiting_redactions WHERE target = ? ORDER BY event", id_blob(event.event_id)
    )
    for (redaction,) in waiting:
        stored = graph.by_number(change, number)
        because = graph.by_number(change, redaction)
        if _may(change, because, stored.event):
            _apply(change, because, stored)
            change.write(FLAG_EVENT, redaction, int(because.flags & ~Flags.HIDDEN))
        change.write(DROP_WAITING_REDACTION, id_blob(stored.event_id), redaction)


def _redact_target(change: Change, redaction: StoredEvent) -> None:
    assert redaction.event.redacts is not None
    target = None
    # Room versions 10 and 11 let anything stand there.
    with contextlib.suppress(InvalidInputError):
        target_id = parse_event_id(redaction.event.redacts)
        target = graph.event(change, target_id)
        if target is None:
            change.write(ADD_WAITING_REDACTION, id_blob(target_id), redaction.number)
    if target is not None and _may(change, redaction, target.event):
        _apply(change, redaction, target)
    else:
        change.write(FLAG_EVENT, redaction.number, int(redaction.flags | Flags.HIDDEN))


def _may(index: Index, redaction: StoredEvent, target: Event) -> bool:
    if redaction.room_id != target.room_id or target.type == "m.room.create":
        return False
    group = state.group_before(index, redaction.number)
    if group is None:
        return False
    levels = PowerLevels.of(state.events_of(index, group, (CREATE_KEY, POWER_LEVELS_KEY)), redaction.event.version)
    return levels.may_redact(redaction.event.sender, target.sender)


def _apply(change: Change, redaction: StoredEvent, target: StoredEvent) -> None:
    if target.redacted_because is None:
        change.write(REDACT_EVENT, target.number, redaction.number, pack(redacted_event(target.event).raw))
