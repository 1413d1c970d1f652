"""Everything the client-server API answers, hung on one door."""

from dataclasses import dataclass

from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.ids import ServerName
from relay.client_api import (
    account,
    account_data,
    create_room,
    cross_signing,
    devices,
    discovery,
    filters,
    history,
    key_backup,
    keys,
    login,
    media,
    membership,
    profile,
    push_rules,
    read_receipts,
    register,
    relations,
    room_directory,
    room_state,
    send_events,
    send_to_device,
    sync,
    unoffered,
)
from relay.client_api.door import Authenticate, Door
from relay.client_api.interactive_auth import InteractiveAuth
from relay.client_api.inviting import Invites
from relay.client_api.rates import MessageRate
from relay.delivery.bounds.admission import Admission
from relay.delivery.device_fan_out import note
from relay.delivery.in_touch import in_touch_since
from relay.delivery.ledger import Ledger
from relay.delivery.media import Media
from relay.delivery.member_refresh import MemberRefresh
from relay.delivery.outbox.outboxes import Outboxes
from relay.delivery.sync.long_poll import Sync
from relay.delivery.unread import Unread
from relay.household.key_queries import KeyQueries
from relay.household.login_limits import LoginLimits
from relay.household.peers import PeoplePeers
from relay.rooms.matrix.deciding.writer import RoomWriter
from relay.rooms.matrix.exchange.backfill import Backfiller
from relay.rooms.matrix.membership.inviting import Inviting
from relay.rooms.matrix.membership.joining import Joining
from relay.rooms.matrix.membership.leaving import Leaving
from relay.rooms.matrix.typing import Typing


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientParts:
    """What the endpoints stand on, made by the composition root.

    Attributes:
        public_url: what apps are told to use, empty for nothing.
        federation_authority: HOST:PORT that other servers are told to use, empty for nothing.
    """

    config: Config
    ledger: Ledger
    clock: Clock
    authenticate: Authenticate
    people: PeoplePeers
    writer: RoomWriter
    joining: Joining
    leaving: Leaving
    inviting: Inviting
    backfiller: Backfiller
    typing: Typing
    outboxes: Outboxes
    media: Media
    admission: Admission
    public_url: str = ""
    federation_authority: str = ""

    @property
    def server(self) -> ServerName:
        """The name of the box."""
        return self.config.server.name


def build(parts: ClientParts) -> Door:
    """Return the door with every endpoint on it."""
    door = Door(parts.authenticate, parts.admission)
    discovery.register(door, parts.public_url, parts.federation_authority)
    answers = Sync(parts.ledger, parts.typing, Unread(), parts.clock)
    sync.register(door, sync.SyncDoor(parts.ledger, answers))
    _add_people(door, parts, answers)
    _add_rooms(door, parts)
    return door


def _add_people(door: Door, parts: ClientParts, answers: Sync) -> None:
    ledger, clock, server = parts.ledger, parts.clock, parts.server
    limits = LoginLimits(parts.config.rate)
    auth = InteractiveAuth(ledger, server, limits)
    queries = KeyQueries(ledger, parts.people, server, in_touch_since)
    shown = MemberRefresh(ledger, parts.writer, parts.leaving, clock)
    login.register(door, ledger, clock, server=server, limits=limits, note=note)
    register.register(door, ledger, clock, server=server, auth=auth, limits=limits)
    account.register(door, ledger, clock, auth=auth, note=note, leave_rooms=shown.leave_all)
    devices.register(door, ledger, auth, note)
    keys.register(door, ledger, queries, note, answers.device_changes)
    cross_signing.register(door, ledger, auth, queries, note)
    key_backup.register(door, ledger)
    account_data.register(door, ledger)
    filters.register(door, ledger)
    push_rules.register(door, ledger)
    profile.register(door, ledger, server, parts.people, shown.spread)


def _add_rooms(door: Door, parts: ClientParts) -> None:
    ledger, clock, server = parts.ledger, parts.clock, parts.server
    rate = MessageRate(parts.config.rate)
    invites = Invites(ledger, parts.inviting, server)
    create_room.register(door, create_room.RoomCreation(ledger, parts.writer, invites, rate, server))
    membership.register(
        door, membership.Membership(ledger, parts.writer, invites, rate, joining=parts.joining, leaving=parts.leaving)
    )
    send_events.register(door, send_events.Sending(ledger, parts.writer, invites, rate, clock=clock, server=server))
    room_state.register(door, room_state.RoomState(ledger))
    history.register(door, history.History(ledger, parts.backfiller, clock, parts.admission))
    relations.register(door, relations.Relations(ledger, clock))
    room_directory.register(door, room_directory.RoomDirectory(ledger, parts.joining, server, parts.authenticate))
    read_receipts.register(door, read_receipts.ReadReceipts(ledger, parts.outboxes, parts.typing, clock))
    send_to_device.register(door, send_to_device.SendToDevice(ledger, clock, parts.config.limits))
    media.register(door, media.MediaDoor(parts.media, server))
    unoffered.register(door, unoffered.UserDirectory(ledger))
