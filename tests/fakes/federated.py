"""Whole boxes in one process: rooms, household tables, delivery and the federation door, over memory streams."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from relay.base.clock import SystemClock
from relay.base.config import DeliveryConfig, LimitsConfig, RateConfig
from relay.base.ids import DeviceId, EventId, RoomId, ServerName, UserId
from relay.core.matrix.signing import SigningKey
from relay.delivery import incoming, media
from relay.delivery.bounds.relief import call_back
from relay.delivery.home_again import HomeAgain
from relay.delivery.incoming import Incoming
from relay.delivery.introductions import Introductions
from relay.delivery.media import Media
from relay.delivery.outbox import tables as outbox_tables
from relay.delivery.outbox.outboxes import Outboxes
from relay.federation.matrix import door
from relay.federation.matrix.client.client import FederationClient
from relay.federation.matrix.client.media import MatrixMedia
from relay.federation.matrix.client.outlet import MatrixOutlet
from relay.federation.matrix.client.people import MatrixPeoplePeers
from relay.federation.matrix.client.rooms import MatrixRoomPeers
from relay.federation.matrix.keys import OwnKeys
from relay.household import accounts, consent, devices, tables, to_device
from relay.rooms.matrix import signing_key, timeline
from relay.rooms.matrix.deciding.writer import InitialEvent, RoomPlan, RoomWriter
from relay.rooms.matrix.exchange.answering import Answering
from relay.rooms.matrix.exchange.inbox import RoomInboxes
from relay.rooms.matrix.exchange.receiving import PduReceiver
from relay.rooms.matrix.membership.hosting import Hosting
from relay.rooms.matrix.membership.inviting import Inviting
from relay.rooms.matrix.membership.joining import Joining
from relay.rooms.matrix.membership.leaving import Leaving
from relay.rooms.matrix.server_keys import ServerKeys
from relay.rooms.matrix.storage import members
from relay.rooms.matrix.tables import TABLES as ROOM_TABLES
from relay.rooms.matrix.typing import Typing
from relay.store.ledger import Change, Index, Ledger
from relay.store.media_files import MediaFiles
from relay.transport.destination import Destination
from relay.transport.routing import Router
from tests.fakes.bounds import SetGauges, admission
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import FOLDER, InlineWorkers, memory_ledger
from tests.fakes.network import MemoryNetwork, destination

ALL_TABLES = (ROOM_TABLES, tables.TABLES, outbox_tables.TABLES, incoming.TABLES, media.TABLES)
_QUOTA_BYTES = 64 * 1024 * 1024
FAST = DeliveryConfig(retry_first_s=0.05, retry_most_s=0.4)


class Places:
    """Every server is where its name says."""

    async def resolve(self, server: ServerName) -> Sequence[Destination]:
        return [destination(server)]


@dataclass
class FederatedBox:
    """One box; `run` is entered by `Town.box`."""

    name: ServerName
    ledger: Ledger
    key: SigningKey
    client: FederationClient
    rates: RateConfig
    config: DeliveryConfig
    disk: MemoryFiles
    limits: LimitsConfig
    clock: SystemClock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        ledger, name, key, clock = self.ledger, self.name, self.key, self.clock
        self.peers = MatrixRoomPeers(self.client)
        self.people = MatrixPeoplePeers(self.client)
        self.keys = ServerKeys(ledger, self.peers, clock, name)
        self.writer = RoomWriter(ledger, name, key, clock)
        shared: dict[str, Any] = {"peers": self.peers, "writer": self.writer, "server": name, "key": key}
        self.joining = Joining(ledger, keys=self.keys, clock=clock, **shared)
        self.inviting = Inviting(ledger, keys=self.keys, clock=clock, **shared)
        self.leaving = Leaving(ledger, clock=clock, **shared)
        self.inboxes = RoomInboxes(ledger, peers=self.peers, keys=self.keys, server=name)
        self.typing = Typing(ledger)
        self.receiver = PduReceiver(ledger, self.keys, name, clock, self.limits)
        self.gauges = SetGauges()
        self.admission = admission(self.gauges, self.limits)
        self.incoming = Incoming(ledger, self.receiver, self.typing, name, clock, self.admission, self.limits)
        self.outboxes = Outboxes(ledger, MatrixOutlet(self.client, name), clock, name, self.config)
        self.home_again = HomeAgain(ledger, self.outboxes, name)
        files = MediaFiles(FOLDER / "media", quota_bytes=_QUOTA_BYTES, files=self.disk, workers=InlineWorkers())
        self.media = Media(
            ledger,
            files,
            MatrixMedia(self.client),
            clock,
            name,
            quota_bytes=_QUOTA_BYTES,
            user_quota_bytes=_QUOTA_BYTES,
            admission=self.admission,
        )
        self.own_keys = OwnKeys(name, key, [], clock)
        self.router: Router = door.build(
            door.FederationParts(
                server=name,
                clock=clock,
                ledger=ledger,
                server_keys=self.keys,
                own_keys=self.own_keys,
                hosting=Hosting(ledger, keys=self.keys, server=name, key=key, clock=clock, may_invite=_may_invite),
                answering=Answering(ledger),
                incoming=self.incoming,
                media=self.media,
                admission=self.admission,
                rates=self.rates,
                peer_seen=self.outboxes.peer_seen,
                may_look=self.home_again.turn_away_once,
                version="0",
            )
        )

    def user(self, localpart: str) -> UserId:
        return UserId(f"@{localpart}:{self.name}")

    async def add_user(self, localpart: str, device: str = "D1") -> UserId:
        user = self.user(localpart)

        def step(change: Change, now_ms: int) -> None:
            accounts.create(change, user, "hash", now_ms)
            devices.ensure(change, user, DeviceId(device), "phone", now_ms)

        await self.ledger.run(step, self.clock.wall_ms())
        return user

    async def create(self, creator: UserId, version: str = "12") -> RoomId:
        users = {} if version == "12" else {creator: 100}
        events = [
            InitialEvent("m.room.power_levels", "", {"users": users}),
            InitialEvent("m.room.join_rules", "", {"join_rule": "public"}),
        ]
        return await self.writer.create(creator, RoomPlan(version=version, events=events))

    async def say(self, room: RoomId, sender: UserId, body: str) -> EventId:
        return await self.writer.send(room, sender, "m.room.message", {"msgtype": "m.text", "body": body})

    async def bodies(self, room: RoomId) -> list[str]:
        page = await self.ledger.read(timeline.page, room, None, None, backwards=False, limit=10_000)
        return [str(one.event.content.get("body")) for one in page.events if one.event.type == "m.room.message"]

    async def wait_for(self, room: RoomId, body: str) -> None:
        """Return once the room holds a message `body`, woken as a sync is."""
        with self.ledger.watch(("room", room)) as watch:
            while body not in await self.bodies(room):
                await watch.wait()

    async def membership(self, room: RoomId, user: UserId) -> str | None:
        return await self.ledger.read(members.membership, room, user)

    async def inbox_of(self, user: UserId, device: str = "D1") -> list[dict[str, Any]]:
        found = await self.ledger.read(to_device.pending, user, DeviceId(device), 0, 2**60, 1000)
        return [message for _, message in found]


def _may_invite(index: Index, sender: UserId, invited: UserId, _room: RoomId) -> None:
    consent.check_invite(index, invited, sender)


class FederatedTown:
    """Boxes that reach each other through their real clients and doors."""

    def __init__(self, nursery: trio.Nursery, *, http2: bool = False) -> None:
        self.network = MemoryNetwork(nursery, http2=http2)

    @contextlib.asynccontextmanager
    async def box(
        self,
        name: str,
        *,
        files: MemoryFiles | None = None,
        rates: RateConfig | None = None,
        config: DeliveryConfig = FAST,
        greet: bool = False,
        limits: LimitsConfig | None = None,
    ) -> AsyncIterator[FederatedBox]:
        """Run a box until the block ends; with the same `files` it is the same box again."""
        server = ServerName(name)
        disk = MemoryFiles() if files is None else files
        async with memory_ledger(*ALL_TABLES, files=disk) as ledger:
            key = await signing_key.own_key(ledger, SystemClock().wall_ms())
            client = FederationClient(await self.network.client(), Places(), server, key, timeout_s=10)
            rates = rates or RateConfig(federation_per_s=100_000, federation_burst=100_000)
            box = FederatedBox(server, ledger, key, client, rates, config, disk, limits or LimitsConfig())
            async with trio.open_nursery() as nursery:
                await nursery.start(box.outboxes.run)
                await nursery.start(box.inboxes.run)
                await nursery.start(box.typing.run)
                await nursery.start(Introductions(ledger, server).run)
                nursery.start_soon(call_back, box.admission, box.outboxes)
                self.network.serve(name, 8448, box.router.answer)
                self.network.cut.discard(name)
                if greet:
                    nursery.start_soon(box.home_again.run)
                yield box
                await self.cut_off(name)
                nursery.cancel_scope.cancel()
        if files is None:
            disk.unregister()

    async def cut_off(self, name: str) -> None:
        """Let nobody reach a box; connections that are open end."""
        self.network.cut.add(name)
        for stream in self.network.streams:
            await stream.aclose()
        self.network.streams.clear()
