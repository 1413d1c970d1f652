"""The box towards other servers: requests out, requests in."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import trio

from relay.app.holdings import free_bytes
from relay.app.house import House
from relay.app.set_clock import wait_until_set
from relay.app.version import VERSION
from relay.base.clock import Clock, knows_time
from relay.base.config import Config
from relay.base.errors import NotFoundError
from relay.base.ids import RoomId, UserId
from relay.base.limits import MIB
from relay.core.matrix.events import Event
from relay.delivery.bounds.admission import Admission
from relay.delivery.bounds.gauges import HouseGauges
from relay.delivery.bounds.relief import call_back
from relay.delivery.home_again import HomeAgain
from relay.delivery.incoming import Incoming
from relay.delivery.introductions import Introductions
from relay.delivery.media import Media, known_file_ids
from relay.delivery.outbox.outboxes import Outboxes
from relay.delivery.pruning import policy
from relay.delivery.pruning.files import FilePruner
from relay.delivery.pruning.pruner import Pruner
from relay.federation.matrix import door
from relay.federation.matrix.client.client import FederationClient, Places
from relay.federation.matrix.client.media import MatrixMedia
from relay.federation.matrix.client.outlet import MatrixOutlet
from relay.federation.matrix.client.people import MatrixPeoplePeers
from relay.federation.matrix.client.rooms import MatrixRoomPeers
from relay.federation.matrix.keys import OwnKeys
from relay.household import accounts, consent, to_device
from relay.rooms.matrix import signing_key
from relay.rooms.matrix.deciding.writer import RoomWriter
from relay.rooms.matrix.exchange.answering import Answering
from relay.rooms.matrix.exchange.backfill import Backfiller
from relay.rooms.matrix.exchange.catching_up import CatchingUp
from relay.rooms.matrix.exchange.inbox import RoomInboxes
from relay.rooms.matrix.exchange.receiving import PduReceiver
from relay.rooms.matrix.membership.hosting import Hosting
from relay.rooms.matrix.membership.inviting import Inviting
from relay.rooms.matrix.membership.joining import Joining
from relay.rooms.matrix.membership.leaving import Leaving
from relay.rooms.matrix.server_keys import ServerKeys
from relay.rooms.matrix.typing import Typing
from relay.store.ledger import Index
from relay.transport.client import HttpClient
from relay.transport.dialing import Dial, TcpDialer
from relay.transport.discovery import Discovery
from relay.transport.names import DnsResolver
from relay.transport.routing import Router
from relay.transport.tls import client_context


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Everything that speaks with other servers; `start` lets it."""

    http: HttpClient
    people: MatrixPeoplePeers
    writer: RoomWriter
    joining: Joining
    leaving: Leaving
    inviting: Inviting
    backfiller: Backfiller
    catching_up: CatchingUp
    inboxes: RoomInboxes
    outboxes: Outboxes
    home_again: HomeAgain
    introductions: Introductions
    typing: Typing
    media: Media
    pruner: Pruner
    admission: Admission
    federation: Router

    async def start(self, nursery: trio.Nursery) -> None:
        """Run what works in the background, in `nursery`; everything is ready on return."""
        follow = self.introductions.run
        prune = self.pruner.run
        for worker in (self.http.run, self.outboxes.run, self.inboxes.run, self.typing.run, follow, prune):
            await nursery.start(worker)
        nursery.start_soon(call_back, self.admission, self.outboxes)


async def open_network(house: House, dial: Dial | None = None, places: Places | None = None) -> Network:
    """Connect the rooms that other servers take part in; nothing runs yet.

    Without `dial` and `places` connections are TCP and servers are where the names of the internet say.
    """
    config, ledger, clock, server, key = house.config, house.ledger, house.clock, house.server, house.key
    http = HttpClient(dial or _dialer(house))
    discovery = places or Discovery(http, DnsResolver(), clock)
    client = FederationClient(http, discovery, server, key, timeout_s=config.federation.request_timeout_s)
    peers = MatrixRoomPeers(client)
    keys = ServerKeys(ledger, peers, clock, server)
    writer = RoomWriter(ledger, server, key, clock)
    receiver = PduReceiver(ledger, keys, server, clock, config.limits)
    typing = Typing(ledger)
    outboxes = Outboxes(
        ledger, MatrixOutlet(client, server), clock, server, config.delivery, may_leave=partial(wait_until_set, clock)
    )
    home_again = HomeAgain(ledger, outboxes, server)
    admission = admission_of(house)
    media = await _open_media(house, MatrixMedia(client), admission)
    old_keys = await ledger.read(signing_key.old_keys)
    federation = door.build(
        door.FederationParts(
            server=server,
            clock=clock,
            ledger=ledger,
            server_keys=keys,
            own_keys=OwnKeys(server, key, old_keys, clock),
            hosting=Hosting(ledger, keys=keys, server=server, key=key, clock=clock, may_invite=_may_invite),
            answering=Answering(ledger),
            incoming=Incoming(ledger, receiver, typing, server, clock, admission, config.limits),
            media=media,
            admission=admission,
            rates=config.rate,
            peer_seen=outboxes.peer_seen,
            may_look=home_again.turn_away_once,
            version=VERSION,
        )
    )
    return Network(
        http=http,
        people=MatrixPeoplePeers(client),
        writer=writer,
        joining=Joining(ledger, peers=peers, keys=keys, writer=writer, server=server, key=key, clock=clock),
        leaving=Leaving(ledger, peers=peers, writer=writer, server=server, key=key, clock=clock),
        inviting=Inviting(ledger, peers=peers, keys=keys, writer=writer, server=server, key=key, clock=clock),
        backfiller=Backfiller(ledger, peers=peers, keys=keys, server=server, is_expired=_expiry(config, clock)),
        catching_up=CatchingUp(ledger, peers=peers, receiver=receiver, server=server, is_welcome=_welcome(admission)),
        inboxes=RoomInboxes(ledger, peers=peers, keys=keys, server=server),
        outboxes=outboxes,
        home_again=home_again,
        introductions=Introductions(ledger, server),
        typing=typing,
        media=media,
        pruner=_pruner(house, media),
        admission=admission,
        federation=federation,
    )


def _welcome(admission: Admission) -> Callable[[], bool]:
    return lambda: admission.growing_is_welcome


def _pruner(house: House, media: Media) -> Pruner:
    return Pruner(
        house.ledger,
        house.config,
        house.clock,
        house.server,
        budget_bytes=house.config.limits.index_mib * MIB,
        files=FilePruner(house.ledger, media, house.config.retention, house.server),
    )


def _expiry(config: Config, clock: Clock) -> Callable[[Index, RoomId, Event], bool]:
    return lambda index, room, event: policy.is_expired(index, config.retention, room, event, clock.wall_ms())


def _dialer(house: House) -> TcpDialer:
    config = house.config
    return TcpDialer(
        client_context(house.folder / config.tls.ca if config.tls.ca else None),
        allow_private=config.federation.allow_private_peers,
        timeout_s=config.federation.connect_timeout_s,
        knows_time=partial(knows_time, house.clock),
    )


def admission_of(house: House) -> Admission:
    """Return what decides at the doors of `house`, from its own gauges."""
    limits = house.config.limits
    gauges = HouseGauges(house.ledger, partial(free_bytes, house.folder), limits, trio.current_time)
    return Admission(limits, gauges)


async def _open_media(house: House, remote: MatrixMedia, admission: Admission) -> Media:
    files = house.flash.media_files(house.folder, house.config)
    # Before anyone is served: what a power cut left without its row goes, the rest is counted against the quota.
    # Beside a fault nothing is known to be without a row, and nothing can be written.
    if house.ledger.healthy:
        await files.sweep(frozenset(await house.ledger.read(known_file_ids)))
        if await house.ledger.read(to_device.is_miscounted):
            await house.ledger.run(to_device.recount)
    return Media(
        house.ledger,
        files,
        remote,
        house.clock,
        house.server,
        quota_bytes=house.config.store.media_quota_mib * MIB,
        user_quota_bytes=house.config.limits.user_media_mib * MIB,
        admission=admission,
    )


def _may_invite(index: Index, sender: UserId, invited: UserId, _room: RoomId) -> None:
    """Put a stranger's question to somebody at home, or refuse to."""
    if not accounts.is_active(index, invited):
        raise NotFoundError("nobody here has this name")
    consent.check_invite(index, invited, sender)
