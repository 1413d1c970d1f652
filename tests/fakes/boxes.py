"""Boxes in one process, wired to each other without a network: `RoomPeers` that call each other's rooms directly."""

import contextlib
import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import trio

from relay.base.config import LimitsConfig
from relay.base.errors import ForbiddenError, PeerRefusedError, RelayError, UnreachableError
from relay.base.ids import EventId, RoomAlias, RoomId, ServerName, UserId, server_of
from relay.core.matrix import unpadded_base64
from relay.core.matrix.events import Event
from relay.core.matrix.replies import matrix_reply
from relay.core.matrix.signing import SigningKey, sign_json
from relay.rooms.matrix import signing_key, timeline
from relay.rooms.matrix.deciding.writer import InitialEvent, RoomPlan, RoomWriter
from relay.rooms.matrix.exchange.answering import Answering
from relay.rooms.matrix.exchange.backfill import Backfiller
from relay.rooms.matrix.exchange.inbox import RoomInboxes
from relay.rooms.matrix.exchange.receiving import PduReceiver
from relay.rooms.matrix.membership.hosting import Hosting
from relay.rooms.matrix.membership.inviting import Inviting
from relay.rooms.matrix.membership.joining import Joining
from relay.rooms.matrix.membership.leaving import Leaving
from relay.rooms.matrix.server_keys import ServerKeys
from relay.rooms.matrix.storage import departures, graph, members, state
from relay.rooms.matrix.tables import TABLES
from relay.store.ledger import Index, Ledger
from tests.fakes.clock import FakeClock
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import memory_ledger

T = TypeVar("T")


class Box:
    """One server's rooms."""

    def __init__(self, name: ServerName, ledger: Ledger, key: SigningKey, town: "Town") -> None:
        self.name = name
        self.ledger = ledger
        self.key = key
        self.town = town
        clock = town.clock
        self.peers = BoxPeers(self)
        self.keys = ServerKeys(ledger, self.peers, clock, name)
        self.writer = RoomWriter(ledger, name, key, clock)
        self.receiver = PduReceiver(ledger, self.keys, name, clock, town.limits)
        self.answering = Answering(ledger)
        self.unwelcome: set[UserId] = set()
        self.hosting = Hosting(ledger, keys=self.keys, server=name, key=key, clock=clock, may_invite=self._may_invite)
        self.joining = Joining(
            ledger, peers=self.peers, keys=self.keys, writer=self.writer, server=name, key=key, clock=clock
        )
        self.leaving = Leaving(ledger, peers=self.peers, writer=self.writer, server=name, key=key, clock=clock)
        self.inviting = Inviting(
            ledger, peers=self.peers, keys=self.keys, writer=self.writer, server=name, key=key, clock=clock
        )
        self.inboxes = RoomInboxes(ledger, peers=self.peers, keys=self.keys, server=name)
        self.backfiller = Backfiller(ledger, peers=self.peers, keys=self.keys, server=name)
        self.cursors: dict[ServerName, int] = {}

    def _may_invite(self, _index: Index, sender: UserId, _target: UserId, _room: RoomId) -> None:
        if sender in self.unwelcome:
            raise ForbiddenError("not welcome")

    def user(self, localpart: str) -> UserId:
        return UserId(f"@{localpart}:{self.name}")

    async def create(
        self, creator: UserId, version: str = "12", *, rule: str = "public", visibility: str = ""
    ) -> RoomId:
        users = {} if version == "12" else {creator: 100}
        events = [
            InitialEvent("m.room.power_levels", "", {"users": users}),
            InitialEvent("m.room.join_rules", "", {"join_rule": rule}),
        ]
        if visibility:
            events.append(InitialEvent("m.room.history_visibility", "", {"history_visibility": visibility}))
        return await self.writer.create(creator, RoomPlan(version=version, events=events))

    async def say(self, room: RoomId, sender: UserId, body: str) -> EventId:
        return await self.writer.send(room, sender, "m.room.message", {"msgtype": "m.text", "body": body})

    async def set_membership(self, room: RoomId, sender: UserId, target: UserId, membership: str) -> EventId:
        return await self.writer.send(room, sender, "m.room.member", {"membership": membership}, state_key=target)

    async def receive(self, origin: ServerName, pdus: Sequence[Any]) -> dict[EventId, dict[str, Any]]:
        """Take a transaction as delivery does."""
        checked = await self.receiver.prepare(origin, pdus)
        return await self.ledger.run(self.receiver.accept, origin, checked)

    async def push(self, *, only: Callable[[Event], bool] = lambda _: True) -> None:
        """Send every waiting event to every other box that answers; lose those that are not wanted."""
        for other in list(self.town.boxes.values()):
            if other is self:
                continue
            while True:
                waiting = await self.ledger.read(departures.since, other.name, self.cursors.get(other.name, 0), 50)
                if not waiting or other.name in self.town.asleep:
                    break
                pdus = [copy.deepcopy(dict(one.event.raw)) for one in waiting if only(one.event)]
                await other.receive(self.name, pdus)
                self.cursors[other.name] = waiting[-1].number

    async def settle(self) -> int:
        """Work off every inbox once; return how many events still wait."""
        from relay.rooms.matrix.storage import inbox_book

        return sum([await self.inboxes.settle(room) for room in await self.ledger.read(inbox_book.rooms)])

    async def state(self, room: RoomId) -> dict[tuple[str, str], EventId]:
        events = await self.ledger.read(state.current_state, room)
        return {event.key: event.event_id for event in events}

    async def bodies(self, room: RoomId, limit: int = 10_000) -> list[str]:
        page = await self.ledger.read(timeline.page, room, None, None, backwards=False, limit=limit)
        return [str(one.event.content.get("body")) for one in page.events if one.event.type == "m.room.message"]

    async def membership(self, room: RoomId, user: UserId) -> str | None:
        return await self.ledger.read(members.membership, room, user)

    async def tips(self, room: RoomId) -> list[EventId]:
        return await self.ledger.read(graph.extremities, room)


class Town:
    """All boxes that can reach each other. Those in `asleep` do not answer, those in `knowing_nothing` refuse."""

    def __init__(self, limits: LimitsConfig | None = None) -> None:
        self.limits = limits or LimitsConfig()
        self.boxes: dict[ServerName, Box] = {}
        self.asleep: set[ServerName] = set()
        self.knowing_nothing: set[ServerName] = set()
        self.clock = FakeClock()
        self.calls: list[str] = []

    @contextlib.asynccontextmanager
    async def box(self, name: str, files: MemoryFiles | None = None) -> AsyncIterator[Box]:
        async with memory_ledger(TABLES, files=files) as ledger:
            key = await signing_key.own_key(ledger, self.clock.wall_ms())
            box = Box(ServerName(name), ledger, key, self)
            self.boxes[box.name] = box
            yield box
            self.boxes.pop(box.name, None)

    async def settle(self) -> None:
        """Push and work off inboxes until nothing moves."""
        for _ in range(4):
            for box in list(self.boxes.values()):
                await box.push()
            for box in list(self.boxes.values()):
                await box.settle()


class BoxPeers:
    """`RoomPeers` of one box: copies, as over a wire; what refuses there raises PeerRefusedError here."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self.bend: dict[str, Callable[[Any], Any]] = {}
        """Endpoint -> what a lying peer makes of its answer."""
        self.before_answer: dict[str, Callable[[], Awaitable[None]]] = {}
        """Endpoint -> what happens elsewhere before the answer is here."""

    async def _ask(self, server: ServerName, endpoint: str, answer: Callable[[Box], Any]) -> Any:
        town = self._box.town
        town.calls.append(endpoint)
        await trio.lowlevel.checkpoint()
        other = town.boxes.get(server)
        if other is None or server in town.asleep:
            raise UnreachableError("asleep")
        if server in town.knowing_nothing:
            raise PeerRefusedError("not known here", status=404)
        try:
            found = copy.deepcopy(await answer(other))
        except RelayError as error:
            status, body = matrix_reply(error)
            raise PeerRefusedError(str(error), status=status, errcode=body["errcode"]) from None
        if endpoint in self.before_answer:
            await self.before_answer[endpoint]()
        return self.bend[endpoint](found) if endpoint in self.bend else found

    async def make_join(
        self, server: ServerName, room: RoomId, user: UserId, versions: Sequence[str]
    ) -> dict[str, Any]:
        answer: dict[str, Any] = await self._ask(
            server, "make_join", lambda other: other.hosting.make_join(self._box.name, room, user, versions)
        )
        return answer

    async def send_join(
        self, server: ServerName, room: RoomId, event_id: EventId, pdu: dict[str, Any]
    ) -> dict[str, Any]:
        answer: dict[str, Any] = await self._ask(
            server, "send_join", lambda other: other.hosting.send_join(self._box.name, room, event_id, pdu)
        )
        return answer

    async def make_leave(self, server: ServerName, room: RoomId, user: UserId) -> dict[str, Any]:
        answer: dict[str, Any] = await self._ask(
            server, "make_leave", lambda other: other.hosting.make_leave(self._box.name, room, user)
        )
        return answer

    async def send_leave(self, server: ServerName, room: RoomId, event_id: EventId, pdu: dict[str, Any]) -> None:
        await self._ask(
            server, "send_leave", lambda other: other.hosting.send_leave(self._box.name, room, event_id, pdu)
        )

    async def invite(self, server: ServerName, room: RoomId, event_id: EventId, body: dict[str, Any]) -> dict[str, Any]:
        signed = await self._ask(
            server,
            "invite",
            lambda other: other.hosting.receive_invite(
                self._box.name,
                room,
                event_id,
                version=body["room_version"],
                pdu=body["event"],
                stripped=body["invite_room_state"],
            ),
        )
        return {"event": signed}

    async def backfill(
        self, server: ServerName, room: RoomId, from_events: Sequence[EventId], limit: int
    ) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = await self._ask(
            server, "backfill", lambda other: other.answering.backfill(self._box.name, room, from_events, limit)
        )
        return answer

    async def missing_events(
        self,
        server: ServerName,
        room: RoomId,
        *,
        earliest: Sequence[EventId],
        latest: Sequence[EventId],
        limit: int,
        min_depth: int = 0,
    ) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = await self._ask(
            server,
            "missing_events",
            lambda other: other.answering.missing_events(
                self._box.name, room, earliest=earliest, latest=latest, limit=limit, min_depth=min_depth
            ),
        )
        return answer

    async def state_ids(
        self, server: ServerName, room: RoomId, event_id: EventId
    ) -> tuple[list[EventId], list[EventId]]:
        answer = await self._ask(
            server, "state_ids", lambda other: other.answering.state_ids(self._box.name, room, event_id)
        )
        return answer["pdu_ids"], answer["auth_chain_ids"]

    async def state(
        self, server: ServerName, room: RoomId, event_id: EventId
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        answer = await self._ask(server, "state", lambda other: other.answering.state(self._box.name, room, event_id))
        return answer["pdus"], answer["auth_chain"]

    async def event(self, server: ServerName, event_id: EventId) -> dict[str, Any]:
        answer: dict[str, Any] = await self._ask(
            server, "event", lambda other: other.answering.event(self._box.name, event_id)
        )
        return answer

    async def event_auth(self, server: ServerName, room: RoomId, event_id: EventId) -> list[dict[str, Any]]:
        answer = await self._ask(
            server, "event_auth", lambda other: other.answering.event_auth(self._box.name, room, event_id)
        )
        chain: list[dict[str, Any]] = answer["auth_chain"]
        return chain

    async def server_keys(self, server: ServerName) -> dict[str, Any]:
        async def answer(other: Box) -> dict[str, Any]:
            public = unpadded_base64.encode(other.key.public)
            published = {
                "server_name": other.name,
                "valid_until_ts": other.town.clock.wall_ms() + 86_400_000,
                "verify_keys": {other.key.key_id: {"key": public}},
                "old_verify_keys": {},
            }
            return sign_json(published, other.name, other.key)

        found: dict[str, Any] = await self._ask(server, "server_keys", answer)
        return found

    async def query_directory(self, server: ServerName, alias: RoomAlias) -> tuple[RoomId, list[ServerName]]:
        assert server_of(alias) == server
        found: tuple[RoomId, list[ServerName]] = await self._ask(
            server, "query_directory", lambda other: other.joining.resolve_alias(alias)
        )
        return found
