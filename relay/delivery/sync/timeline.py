"""The timeline of one room in a sync: the newest events of a stretch, and where the rest can be fetched."""

from dataclasses import dataclass
from typing import Any

from relay.base.ids import RoomId
from relay.base.limits import MAX_TIMELINE_EVENTS
from relay.delivery.sync.view import View
from relay.rooms.matrix import timeline, visibility
from relay.rooms.matrix.storage.stored_event import StoredEvent, first_place_after
from relay.store.ledger import Index


@dataclass(frozen=True, slots=True)
class Stretch:
    """What of a room's timeline is told.

    Attributes:
        events: as stored, oldest first.
        shown: the same as the app sees them, in the same order.
        limited: whether something between `since` and the first event was left out.
        prev_batch: the token from which `/messages` goes on backwards.
    """

    events: list[StoredEvent]
    shown: list[dict[str, Any]]
    limited: bool
    prev_batch: str

    def render(self, view: View) -> dict[str, Any]:
        """Return the `timeline` object of the answer."""
        return {
            "events": [view.filters.trim(event) for event in self.shown],
            "limited": self.limited,
            "prev_batch": self.prev_batch,
        }


def stretch(index: Index, view: View, room: RoomId, after: int | None, up_to: int, *, check: bool) -> Stretch:
    """Return the newest wanted events of `room` after position `after` (None: from its beginning) up to `up_to`.

    `check`: whether history visibility has to be asked for each event; it has not for somebody who was in the room the
    whole time.
    """
    wanted = view.filters.timeline
    end_token = timeline.token(first_place_after(up_to))
    if not wanted.wants_room(room):
        return Stretch([], [], limited=False, prev_batch=end_token)
    limit = MAX_TIMELINE_EVENTS if wanted.selective else max(wanted.limit, 1)
    if after is None:
        found = timeline.latest(index, room, up_to, limit)
    else:
        found = timeline.since(index, room, after, up_to, limit)
    events = visibility.for_user(index, view.user, room, found.events) if check else found.events
    pairs = [(stored, view.show(index, stored)) for stored in events if _is_wanted(view, stored)]
    pairs = [pair for pair in pairs if wanted.wants(pair[1])]
    cut = len(pairs) > wanted.limit
    if cut:
        pairs = pairs[len(pairs) - wanted.limit :]
    if not pairs:
        # Whoever pages back from here with another filter finds all that is not told.
        prev_batch = end_token
    elif cut or not found.limited:
        prev_batch = timeline.token(pairs[0][0].order or 0)
    else:
        prev_batch = found.prev_batch
    return Stretch(
        [stored for stored, _ in pairs],
        [shown for _, shown in pairs],
        limited=found.limited or cut,
        prev_batch=prev_batch,
    )


def _is_wanted(view: View, stored: StoredEvent) -> bool:
    # Ignored people's state still counts: who is in a room must not differ between servers and apps.
    return stored.event.sender not in view.ignored or stored.event.is_state
