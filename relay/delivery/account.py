"""The account of what the box holds: per queue, per other server, per person, and in all; made when somebody asks."""

from collections.abc import Sequence
from dataclasses import dataclass

from relay.base.config import Config
from relay.base.ids import UserId
from relay.base.limits import MAX_SHOWN_HOLDERS, MIB
from relay.delivery import media
from relay.delivery.bounds.levels import Level
from relay.delivery.outbox import queue
from relay.household import accounts, to_device
from relay.rooms.matrix.storage import inbox_book
from relay.store.ledger import Index

_ROOM_STEP = "leave the room, if this does not end by itself"
_SERVER_STEP = "none: what is missing is asked for; it is given up after a week"
_DEVICE_STEP = "open the app of that device, or log it out"
_OUTBOX_STEP = "none: it is tried again; leave rooms that you share with servers that are gone for good"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who or what holds something, and how many messages of it were dropped."""

    level: Level
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """What is held.

    Attributes:
        wholes: everything of a kind together.
        rooms: inboxes of rooms, fullest first.
        servers: events that wait, by the server that sent them.
        devices: inboxes of devices here.
        outboxes: what waits for other servers.
        people: files, by person.
    """

    wholes: Sequence[Holder]
    rooms: Sequence[Holder]
    servers: Sequence[Holder]
    devices: Sequence[Holder]
    outboxes: Sequence[Holder]
    people: Sequence[Holder]

    def all(self) -> list[Holder]:
        """Return every line, wholes first."""
        return [*self.wholes, *self.rooms, *self.servers, *self.devices, *self.outboxes, *self.people]


def account(index: Index, config: Config) -> Account:
    """Return what is held, as one moment has it; of each list the `MAX_SHOWN_HOLDERS` fullest."""
    most, room_mib = MAX_SHOWN_HOLDERS, config.limits.room_inbox_mib
    people = [person.user for person in accounts.list_accounts(index)]
    return Account(
        wholes=_wholes(index, config),
        rooms=[_of_inbox(held, room_mib, _ROOM_STEP) for held in inbox_book.fullest_rooms(index, most)],
        servers=[
            _of_inbox(held, config.limits.server_inbox_mib, _SERVER_STEP)
            for held in inbox_book.fullest_servers(index, most)
        ],
        devices=_devices(index, config.limits.device_inbox_mib * MIB),
        outboxes=_outboxes(index, config.delivery.to_device_quota_mib * MIB),
        people=[_files_of(index, user, config.limits.user_media_mib * MIB) for user in people[:most]],
    )


def _wholes(index: Index, config: Config) -> list[Holder]:
    limits = config.limits
    outboxes = sum(standing.queued_bytes for standing in queue.all_standings(index).values())
    lines = [
        ("files", media.all_bytes(index), config.store.media_quota_mib, media.FULL_STEP),
        ("events waiting for ancestors", inbox_book.held_bytes(index), limits.inbox_mib, _SERVER_STEP),
        ("messages for devices here", to_device.held_bytes(index), limits.devices_inbox_mib, _DEVICE_STEP),
        ("messages for devices elsewhere", outboxes, config.delivery.to_device_total_mib, _OUTBOX_STEP),
    ]
    return [Holder(Level(what, held_bytes, mib * MIB, step)) for what, held_bytes, mib, step in lines]


def _of_inbox(held: inbox_book.Held, limit_mib: int, step: str) -> Holder:
    return Holder(Level(held.name, held.held_bytes, limit_mib * MIB, step), held.dropped)


def _devices(index: Index, limit_bytes: int) -> list[Holder]:
    return [
        Holder(Level(f"{inbox.user} {inbox.device}", inbox.held_bytes, limit_bytes, _DEVICE_STEP), inbox.dropped)
        for inbox in to_device.fullest(index, MAX_SHOWN_HOLDERS)
    ]


def _outboxes(index: Index, limit_bytes: int) -> list[Holder]:
    found = [
        Holder(Level(server, standing.queued_bytes, limit_bytes, _OUTBOX_STEP), standing.dropped)
        for server, standing in queue.all_standings(index).items()
        if standing.queued_bytes or standing.dropped
    ]
    return sorted(found, key=lambda holder: (-holder.level.held_bytes, holder.level.what))[:MAX_SHOWN_HOLDERS]


def _files_of(index: Index, user: UserId, limit_bytes: int) -> Holder:
    return Holder(Level(user, media.held_bytes(index, user), limit_bytes, "raise limits.user_media_mib"))
