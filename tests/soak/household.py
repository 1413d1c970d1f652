"""A household that lives fast: real ledger on a real folder, real writer, receiver, outboxes, sync and pruning."""

import dataclasses
import os
import resource
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from relay.app.house import TABLES
from relay.base.config import Config, StoreConfig
from relay.base.ids import DeviceId, KeyId, MediaId, RoomId, ServerName, UserId
from relay.base.limits import MIB
from relay.core.matrix import unpadded_base64
from relay.core.matrix.building import hash_and_sign
from relay.core.matrix.room_versions import room_version
from relay.core.matrix.signing import SigningKey, sign_json
from relay.delivery.incoming import Incoming
from relay.delivery.media import Media, RemoteFile
from relay.delivery.outbox.outboxes import Outboxes
from relay.delivery.pruning.files import FilePruner
from relay.delivery.pruning.marks import DAY_MS
from relay.delivery.pruning.pruner import Pruner
from relay.delivery.sync.filter import EVERYTHING
from relay.delivery.sync.long_poll import Asked, Sync
from relay.delivery.sync.token import SyncToken
from relay.delivery.unread import Unread
from relay.household import accounts, devices
from relay.household.sessions import Session
from relay.rooms.matrix import receipts, signing_key
from relay.rooms.matrix.deciding.drafting import Draft, held_room, lay_out
from relay.rooms.matrix.deciding.writer import InitialEvent, RoomPlan, RoomWriter
from relay.rooms.matrix.exchange.receiving import PduReceiver
from relay.rooms.matrix.membership.hosting import Hosting
from relay.rooms.matrix.server_keys import ServerKeys
from relay.rooms.matrix.typing import Typing
from relay.store.ledger import Change, Index, Ledger, open_ledger
from relay.store.media_files import MediaFiles
from relay.transport.message import Pieces
from tests.fakes.bounds import admission
from tests.fakes.clock import FakeClock
from tests.fakes.family import Nobody
from tests.fakes.ledger import KEYRING

HOME, FAR = ServerName("home.test"), ServerName("far.test")
ANN, BOB, FAR_USER = UserId("@ann:home.test"), UserId("@bob:home.test"), UserId("@fay:far.test")
PHONE, DESK = DeviceId("PHONE"), DeviceId("DESK")
VERSION = "12"
_AT_ONCE = 8
_PAGE_BYTES = 4096
_PICTURE_BYTES = 200_000
# A large file must always fit: what is left beside it is small.
_FILES_MIB = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Sizes:
    """What the household takes at one moment.

    Attributes:
        index_bytes: pages in use.
        file_bytes: the index's file, free pages included; its log is not.
    """

    messages: int
    rss_mib: float
    index_bytes: int
    file_bytes: int
    journal_bytes: int
    media_bytes: int
    events: int
    groups: int
    departures: int
    let_go: int


class FarServer:
    """The other server: takes everything, and signs what its one user says."""

    def __init__(self, clock: FakeClock) -> None:
        self.key = SigningKey(KeyId("ed25519:far"), b"f" * 32)
        self._clock = clock
        self.taken = 0

    async def server_keys(self, server: ServerName) -> dict[str, Any]:
        assert server == FAR
        published = {
            "server_name": FAR,
            "valid_until_ts": self._clock.now_ms + DAY_MS,
            "verify_keys": {self.key.key_id: {"key": unpadded_base64.encode(self.key.public)}},
            "old_verify_keys": {},
        }
        return sign_json(published, FAR, self.key)

    async def send(
        self, destination: ServerName, _transaction: str, pdus: Sequence[Any], edus: Sequence[Any], _made_ms: int
    ) -> dict[str, Any]:
        # What others send through this box goes to itself as well: the real outlet drops it.
        self.taken += (len(pdus) + len(edus)) * (destination == FAR)
        await trio.lowlevel.checkpoint()
        return {"pdus": {}}

    def __getattr__(self, name: str) -> Any:
        return getattr(Nobody(), name)


class FarFiles:
    """Files of the other server, any number of them."""

    @asynccontextmanager
    async def fetch(self, _server: ServerName, _media_id: MediaId) -> AsyncIterator[RemoteFile]:
        yield RemoteFile("image/png", None, Pieces(secrets.token_bytes(_PICTURE_BYTES)))


class Household:
    """The box and what its people do."""

    def __init__(
        self, folder: Path, ledger: Ledger, key: SigningKey, config: Config, clock: FakeClock, budget_bytes: int
    ) -> None:
        self.folder, self.ledger, self.clock = folder, ledger, clock
        self.far = FarServer(clock)
        keys = ServerKeys(ledger, self.far, clock, HOME)
        self.writer = RoomWriter(ledger, HOME, key, clock)
        self.hosting = Hosting(ledger, keys=keys, server=HOME, key=key, clock=clock, may_invite=lambda *_: None)
        typing = Typing(ledger)
        self.outboxes = Outboxes(ledger, self.far, clock, HOME, config.delivery)
        self.incoming = Incoming(ledger, PduReceiver(ledger, keys, HOME, clock), typing, HOME, clock, admission())
        self.sync = Sync(ledger, typing, Unread(), clock)
        quota_bytes = config.store.media_quota_mib * MIB
        self.files = MediaFiles(folder / "media", quota_bytes=quota_bytes)
        self.media = Media(
            ledger,
            self.files,
            FarFiles(),
            clock,
            HOME,
            quota_bytes=quota_bytes,
            user_quota_bytes=quota_bytes,
            admission=admission(),
        )
        self.pruner = Pruner(
            ledger,
            config,
            clock,
            HOME,
            budget_bytes=budget_bytes,
            files=FilePruner(ledger, self.media, config.retention, HOME),
            pause_s=0,
        )
        self.rooms: list[RoomId] = []
        self.shared: list[RoomId] = []
        self.tokens: dict[DeviceId, str] = {}
        self.messages = 0
        self.transactions = 0
        self.to_device = 0
        self.pictures = 0

    async def settle_in(self) -> None:
        """Make the people, and rooms of which half are shared with the other server."""
        await self.ledger.run(_make_people, self.clock.now_ms)
        for number in range(6):
            events = [InitialEvent("m.room.power_levels", "", {"users": {}, "events": {"m.room.topic": 0}})]
            events.append(InitialEvent("m.room.join_rules", "", {"join_rule": "public"}))
            room = await self.writer.create(ANN, RoomPlan(version=VERSION, events=events))
            await self.writer.send(room, BOB, "m.room.member", {"membership": "join"}, state_key=BOB)
            self.rooms.append(room)
            if number % 2:
                await self._let_far_in(room)
                self.shared.append(room)

    async def _let_far_in(self, room: RoomId) -> None:
        template = await self.hosting.make_join(FAR, room, FAR_USER, [VERSION])
        join = hash_and_sign(template["event"], room_version(VERSION), FAR, self.far.key)
        await self.hosting.send_join(FAR, room, join.event_id, dict(join.raw))

    async def say(self, count: int) -> None:
        """Let people here write `count` messages, several at once, and change and redact things now and then."""
        places = trio.CapacityLimiter(_AT_ONCE)

        async def one(number: int) -> None:
            async with places:
                await self._say_one(number)

        async with trio.open_nursery() as nursery:
            for _ in range(count):
                self.messages += 1
                nursery.start_soon(one, self.messages)

    async def _say_one(self, number: int) -> None:
        room, sender = self.rooms[number % len(self.rooms)], (ANN, BOB)[number % 2]
        content = {"msgtype": "m.text", "body": secrets.token_hex(40)}
        event_id = await self.writer.send(room, sender, "m.room.message", content)
        if number % 25 == 0:
            await self.writer.send(room, sender, "m.room.topic", {"topic": f"{number}"}, state_key="")
        if number % 97 == 0:
            await self.writer.send(room, sender, "m.room.redaction", {"redacts": event_id}, redacts=event_id)
        if number % 199 == 0:
            name = {"membership": "join", "displayname": f"Bob {number}"}
            await self.writer.send(room, BOB, "m.room.member", name, state_key=BOB)
        if number % 10 == 0:
            now_ms = self.clock.now_ms
            await self.ledger.run(receipts.set_receipt, room, sender, "m.read", event_id, None, now_ms)

    async def show(self, count: int) -> None:
        """Let somebody here upload pictures and send most of them; and look at some of others."""
        for number in range(count):
            media_id = await self.media.upload(ANN, Pieces(secrets.token_bytes(_PICTURE_BYTES)), "image/png", None)
            if number % 3:
                content = {"msgtype": "m.image", "body": "picture", "url": f"mxc://{HOME}/{media_id}"}
                await self.writer.send(self.rooms[number % len(self.rooms)], ANN, "m.room.message", content)
            self.pictures += 1
            await self.media.find(FAR, MediaId(f"far{self.pictures}"))

    async def hear(self, count: int) -> None:
        """Let the other server push `count` messages, fifty in a transaction, with keys for a device."""
        while count > 0:
            many = min(count, 50)
            count -= many
            self.messages += many
            room = self.shared[self.transactions % len(self.shared)]
            self.transactions += 1
            pdus = await self._far_pdus(room, many)
            self.to_device += 1
            messages = {ANN: {PHONE: {"n": self.to_device}}}
            content = {"sender": FAR_USER, "type": "m.x", "message_id": f"m{self.to_device}", "messages": messages}
            edus = [{"edu_type": "m.direct_to_device", "content": content}]
            reply = await self.incoming.receive(FAR, f"t{self.transactions}", pdus, edus)
            assert all(result == {} for result in reply["pdus"].values()), reply

    async def _far_pdus(self, room: RoomId, count: int) -> list[dict[str, Any]]:
        content = {"msgtype": "m.text", "body": ""}
        now_ms = self.clock.wall_ms()
        wanted = Draft(sender=FAR_USER, type="m.room.message", content=content, now_ms=now_ms)
        raw = await self.ledger.read(_template, room, wanted)
        version, pdus = room_version(VERSION), []
        for _ in range(count):
            raw = {**raw, "content": {"msgtype": "m.text", "body": secrets.token_hex(40)}}
            event = hash_and_sign(raw, version, FAR, self.far.key)
            pdus.append(dict(event.raw))
            raw = {**raw, "prev_events": [event.event_id], "depth": raw["depth"] + 1}
        return pdus

    async def come_by(self) -> None:
        """Let every device sync, which tells how far it is."""
        for user, device in ((ANN, PHONE), (ANN, DESK), (BOB, PHONE)):
            key = DeviceId(f"{user}{device}")
            held = self.tokens.get(key)
            since = None if held is None else SyncToken.parse(held)
            session = Session(user, device)
            answer = await self.sync.answer(Asked(session=session, since=since, filters=EVERYTHING))
            self.tokens[key] = answer["next_batch"]
            await self.ledger.run(devices.touch, user, device, self.clock.now_ms)

    async def sizes(self) -> Sizes:
        """Measure everything."""
        counted = await self.ledger.read(_count)
        return Sizes(
            messages=self.messages,
            rss_mib=round(_rss_bytes() / MIB, 1),
            file_bytes=(self.folder / "index.db").stat().st_size,
            journal_bytes=_folder_bytes(self.folder / "journal"),
            media_bytes=_folder_bytes(self.folder / "media"),
            **counted,
        )


@asynccontextmanager
async def open_household(folder: Path, retention: dict[str, Any], budget_bytes: int) -> AsyncIterator[Household]:
    """Open a box in `folder` whose people live by a clock of their own."""
    clock = FakeClock()
    quota = {"media_quota_mib": _FILES_MIB}
    config = Config.parse({"server": {"name": HOME}, "retention": retention, "store": quota})
    async with open_ledger(folder, KEYRING, TABLES, StoreConfig()) as ledger:
        key = await signing_key.own_key(ledger, clock.now_ms)
        household = Household(folder, ledger, key, config, clock, budget_bytes)
        async with trio.open_nursery() as nursery:
            await nursery.start(household.outboxes.run)
            await household.settle_in()
            yield household
            nursery.cancel_scope.cancel()


def _make_people(change: Change, now_ms: int) -> None:
    for user in (ANN, BOB):
        accounts.create(change, user, "no password", now_ms)
    for user, device in ((ANN, PHONE), (ANN, DESK), (BOB, PHONE)):
        devices.ensure(change, user, device, None, now_ms)


def _template(index: Index, room: RoomId, wanted: Draft) -> dict[str, Any]:
    return lay_out(index, held_room(index, room), wanted)


def _count(index: Index) -> dict[str, int]:
    pages = int(index.value("PRAGMA page_count")) - int(index.value("PRAGMA freelist_count"))
    tables = {"events": "events", "groups": "state_groups", "departures": "departures"}
    counted = {name: int(index.value(f"SELECT count(*) FROM {table}")) for name, table in tables.items()}
    let_go = int(index.value("SELECT coalesce(sum(events), 0) FROM history WHERE room > 0"))
    return {"index_bytes": pages * _PAGE_BYTES, "let_go": let_go, **counted}


def _rss_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize()


def _folder_bytes(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(folder)) if folder.exists() else 0
