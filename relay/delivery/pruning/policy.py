"""What goes: by age, by number, and when space runs short."""

from collections.abc import Callable
from dataclasses import dataclass

from relay.base.clock import was_set
from relay.base.config import RetentionConfig
from relay.base.ids import RoomId, UserId, server_of
from relay.core.matrix.events import Event
from relay.delivery.pruning import marks
from relay.delivery.pruning.delivered import Delivered
from relay.rooms.matrix import retention
from relay.rooms.matrix.storage import pruning
from relay.rooms.matrix.storage.stored_event import StoredEvent
from relay.store.ledger import Index

MayGo = Callable[[Index, StoredEvent], bool]


@dataclass(frozen=True, slots=True)
class Cut:
    """What of one room may go now.

    Attributes:
        before: no event from this order on.
        may_go: asked for each event below it, oldest first.
        for_good: whether it is not fetched again: by age, not for want of space.
    """

    before: int
    may_go: MayGo
    for_good: bool


def most_age_ms(index: Index, config: RetentionConfig, room: RoomId) -> int | None:
    """Return how old a room's messages may get; None for any age."""
    wanted = retention.wanted(index, room).most_ms if config.rooms_decide else None
    if wanted is None:
        return config.days * marks.DAY_MS or None
    most_ms = config.most_days * marks.DAY_MS or wanted
    return max(min(wanted, most_ms), config.least_days * marks.DAY_MS)


def least_age_ms(index: Index, config: RetentionConfig, room: RoomId) -> int:
    """Return how old a room's messages get whatever their number."""
    own_ms = config.least_days * marks.DAY_MS
    wanted = retention.wanted(index, room).least_ms if config.rooms_decide else None
    most_ms = config.most_days * marks.DAY_MS or wanted
    return own_ms if wanted is None or most_ms is None else max(own_ms, min(wanted, most_ms))


def is_expired(index: Index, config: RetentionConfig, room: RoomId, event: Event, now_ms: int) -> bool:
    """Return whether an event of the past is not worth fetching: it would go at once."""
    most_ms = most_age_ms(index, config, room)
    return most_ms is not None and retention.is_over(event, most_ms, now_ms)


def by_age(index: Index, config: RetentionConfig, room: RoomId, delivered: Delivered, now_ms: int) -> Cut | None:
    """Return what goes because it is old, None where nothing is ever too old."""
    most_ms = most_age_ms(index, config, room)
    if most_ms is None:
        return None
    return Cut(delivered.synced_to(index, room), older_than(index, most_ms, delivered, now_ms), for_good=True)


def by_number(index: Index, config: RetentionConfig, room: RoomId, delivered: Delivered, now_ms: int) -> Cut | None:
    """Return what goes because there is too much of it, None where there is not."""
    first = pruning.place_of_the_last(index, room, config.events_per_room) if config.events_per_room else None
    if first is None:
        return None
    least_ms = least_age_ms(index, config, room)
    before = min(first, delivered.synced_to(index, room))
    return Cut(before, older_than(index, least_ms, delivered, now_ms), for_good=False)


def by_space(
    index: Index, config: RetentionConfig, room: RoomId, delivered: Delivered, *, up_to: int, now_ms: int
) -> Cut:
    """Return what goes because space runs short, up to the order `up_to`."""
    least_ms = config.least_days * marks.DAY_MS
    before = min(up_to, delivered.synced_to(index, room))
    return Cut(before, older_than(index, least_ms, delivered, now_ms), for_good=False)


def older_than(index: Index, age_ms: int, delivered: Delivered, now_ms: int) -> MayGo:
    """Return a judge of events: old by their sender's clock or certainly by ours, and wanted by no other server."""
    received = marks.position_before(index, now_ms - age_ms)

    def may_go(then: Index, stored: StoredEvent) -> bool:
        is_old = stored.position <= received or (
            retention.is_over(stored.event, age_ms, now_ms) and not _was_timeless(then, stored, delivered)
        )
        return is_old and delivered.is_everywhere(then, stored)

    return may_go


def _was_timeless(index: Index, stored: StoredEvent, delivered: Delivered) -> bool:
    """Return whether one of us sent the event while our own clock was not set."""
    if was_set(stored.event.origin_server_ts):
        return False
    return index.find(server_of(UserId(stored.event.sender))) == delivered.here
