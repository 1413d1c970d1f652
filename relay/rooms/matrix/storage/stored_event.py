"""One event as the rooms keep it: the event itself and what this box decided about it."""

import base64
import enum
import functools
from dataclasses import dataclass
from typing import Any

from relay.base.ids import EventId, RoomId
from relay.core.matrix.events import Event, client_format

POSITION_SHIFT = 10
"""A place is a change's position shifted by this much, plus the number of the event within the change."""


class Flags(enum.IntFlag):
    """What was decided about an event; stored, so values never change."""

    NONE = 0
    OUTLIER = 1
    """Kept for its place in auth chains or states; its own ancestors are not known."""
    REJECTED = 2
    SOFT_FAILED = 4
    GAP = 8
    """What came before it in the timeline has not been fetched."""
    LOCAL = 16
    """Made on this box."""
    HIDDEN = 32
    """A redaction whose target is unknown or was not its to redact: not for clients."""
    EDGE = 64
    """The join of this box, whose earlier state is known though its ancestors are not."""


@functools.lru_cache
def flags_of(value: int) -> Flags:
    """Return what a stored number means."""
    return Flags(value)


def id_blob(event_id: EventId) -> bytes:
    """Return the 32 bytes of an event id of room version 4 and later."""
    return base64.urlsafe_b64decode(event_id[1:] + "=")


def id_text(blob: bytes) -> EventId:
    """Return the event id whose bytes are `blob`."""
    return EventId("$" + base64.urlsafe_b64encode(blob).decode("ascii").rstrip("="))


def first_place_after(position: int) -> int:
    """Return the first place that is after every event of the change at `position`."""
    return (position + 1) << POSITION_SHIFT


def position_of(place: int) -> int:
    """Return the position of the change that put a live event at `place`."""
    return max(place >> POSITION_SHIFT, 0)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event and its place.

    Attributes:
        number: the row; ascending by arrival.
        order: the place in the room's timeline, ascending; None outside of it (outliers, rejected, soft-failed).
        position: the change that made it visible to sync, 0 if none did.
        redacted_because: the redaction that was applied to `event`.
        replaced: the state event of the same type and key before this one, where the reader asked for it.
    """

    event: Event
    number: int
    flags: Flags
    order: int | None
    redacted_because: Event | None = None
    replaced: Event | None = None

    @property
    def position(self) -> int:
        """The stream position of the event."""
        return 0 if self.order is None else position_of(self.order)

    @property
    def event_id(self) -> EventId:
        """The event's id."""
        return self.event.event_id

    @property
    def room_id(self) -> RoomId:
        """The event's room."""
        return self.event.room_id

    @property
    def outlier(self) -> bool:
        """Whether it is kept only for auth chains and states."""
        return Flags.OUTLIER in self.flags

    @property
    def rejected(self) -> bool:
        """Whether authorization refused it."""
        return Flags.REJECTED in self.flags

    @property
    def soft_failed(self) -> bool:
        """Whether the current state refused it when it came."""
        return Flags.SOFT_FAILED in self.flags

    def client(self, *, now_ms: int | None = None, with_room_id: bool = True) -> dict[str, Any]:
        """Return the event as apps see it.

        `unsigned` holds `age` where `now_ms` is given, `prev_content`, `replaces_state` and `redacted_because` where
        there are such. Source: Matrix C-S v1.19, "Room event format".
        """
        unsigned: dict[str, Any] = {}
        if now_ms is not None:
            unsigned["age"] = max(now_ms - self.event.origin_server_ts, 0)
        if self.replaced is not None:
            unsigned["prev_content"] = self.replaced.content
            unsigned["prev_sender"] = self.replaced.sender
            unsigned["replaces_state"] = self.replaced.event_id
        if self.redacted_because is not None:
            unsigned["redacted_because"] = client_format(self.redacted_because, with_room_id=with_room_id)
        return client_format(self.event, unsigned=unsigned, with_room_id=with_room_id)
