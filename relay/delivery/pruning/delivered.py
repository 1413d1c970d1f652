"""Who still has to get what: other servers by their cursors, our devices by what they synced."""

from dataclasses import dataclass

from relay.base.config import DeliveryConfig
from relay.base.ids import RoomId, UserId, server_of
from relay.delivery.outbox import queue
from relay.delivery.outbox.backoff import is_given_up
from relay.delivery.pruning import marks
from relay.household import accounts, acknowledged, devices
from relay.rooms.matrix.storage import departures, members
from relay.rooms.matrix.storage.stored_event import StoredEvent, first_place_after
from relay.store.ledger import Index

_EVERYTHING = 1 << 62


@dataclass(frozen=True, slots=True)
class Delivered:
    """How far everybody had come at one moment; all of them only ever go forward.

    Attributes:
        here: this box, as a number.
        dispatched: how far a server without a cursor of its own has come.
        servers: cursor by server number; one that was given up needs nothing.
        people: user of this box -> the position that all of their active devices have; who has none needs nothing.
    """

    here: int
    dispatched: int
    servers: dict[int, int]
    people: dict[UserId, int]

    def has_left(self, index: Index, number: int, sender: str) -> bool:
        """Return whether the event in row `number` has arrived wherever it must."""
        owed = departures.owed_to(index, number)
        own = {self.here, index.find(server_of(UserId(sender)))}
        return all(server in own or self.servers.get(server, self.dispatched) >= number for server in owed)

    def is_everywhere(self, index: Index, stored: StoredEvent) -> bool:
        """Return whether no other server waits for the event."""
        return self.has_left(index, stored.number, stored.event.sender)

    def synced_to(self, index: Index, room: RoomId) -> int:
        """Return the order up to which everybody at home has the room."""
        least = _EVERYTHING
        for user, position in self.people.items():
            stake = members.stake(index, room, user)
            if stake is not None and (stake[0] in ("join", "invite", "knock") or stake[1] > position):
                least = min(least, first_place_after(position))
        return least


def look(index: Index, config: DeliveryConfig, here: str, device_days: int, now_ms: int) -> Delivered:
    """Return how far everybody is now."""
    servers: dict[int, int] = {}
    for server, standing in queue.all_standings(index).items():
        number = index.find(server)
        assert number is not None
        since_ms = standing.failing_since_ms
        given_up = is_given_up(None if since_ms is None else marks.certain(index, since_ms), now_ms, config)
        servers[number] = _EVERYTHING if given_up else standing.cursor
    people = {}
    for account in accounts.list_accounts(index):
        position = _of_person(index, account.user, device_days, now_ms)
        if position is not None:
            people[account.user] = position
    return Delivered(index.find(here) or 0, queue.dispatched(index), servers, people)


def _of_person(index: Index, user: UserId, device_days: int, now_ms: int) -> int | None:
    positions: list[int] = []
    for device in devices.list_devices(index, user):
        seen_ms = marks.certain(index, device.last_seen_ms)
        if now_ms - seen_ms > device_days * marks.DAY_MS:
            continue
        position = acknowledged.position_of(index, user, device.device)
        if position is None:
            # It never came back with a token, or did so before this was noted: it may want what came since.
            position = marks.position_before(index, device.last_seen_ms - marks.DAY_MS)
        positions.append(position)
    return min(positions, default=None)
