"""A box with its people, as their apps see it: the real door over the real rooms, household and ledger in memory."""

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast
from urllib.parse import quote

from relay.base.config import Config
from relay.base.errors import NotFoundError, UnreachableError
from relay.base.ids import DeviceId, MediaId, ServerName, UserId
from relay.base.limits import MIB
from relay.client_api.build import ClientParts, build
from relay.delivery import media as media_room
from relay.delivery import sending
from relay.delivery.media import Media, RemoteFile
from relay.delivery.outbox import tables as outbox_tables
from relay.delivery.outbox.outboxes import Outboxes
from relay.delivery.pruning import marks
from relay.household import accounts, devices
from relay.household.sessions import Session, Sessions
from relay.household.tables import TABLES as HOUSEHOLD
from relay.rooms.matrix import signing_key
from relay.rooms.matrix.deciding.writer import RoomWriter
from relay.rooms.matrix.exchange.backfill import Backfiller
from relay.rooms.matrix.membership.inviting import Inviting
from relay.rooms.matrix.membership.joining import Joining
from relay.rooms.matrix.membership.leaving import Leaving
from relay.rooms.matrix.peers import RoomPeers
from relay.rooms.matrix.server_keys import ServerKeys
from relay.rooms.matrix.tables import TABLES as ROOMS
from relay.rooms.matrix.typing import Typing
from relay.store.ledger import Change
from relay.store.media_files import MediaFiles
from relay.transport.message import Headers, Pieces, Request, Response
from tests.fakes.bounds import SetGauges, admission
from tests.fakes.clock import FakeClock
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import FOLDER, InlineWorkers, memory_ledger
from tests.fakes.people_peers import MemoryPeoplePeers

SERVER = ServerName("box.test")
QUOTA_BYTES = 200 * MIB
TABLES = (ROOMS, HOUSEHOLD, outbox_tables.TABLES, sending.TABLES, media_room.TABLES, marks.TABLES)


class Nobody:
    """Every other server: none answers."""

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def unreachable(*_args: object, **_kwargs: object) -> Any:
            raise UnreachableError("nobody is there")

        return unreachable


class FarMedia:
    """Files that other servers have, by (server, media id); counts how often they are asked for."""

    def __init__(self) -> None:
        self.files: dict[tuple[str, str], tuple[str | None, str | None, bytes]] = {}
        self.asked = 0

    @contextlib.asynccontextmanager
    async def fetch(self, server: ServerName, media_id: MediaId) -> AsyncIterator[RemoteFile]:
        self.asked += 1
        if (server, media_id) not in self.files:
            raise NotFoundError("no such file there")
        kind, name, data = self.files[server, media_id]
        yield RemoteFile(kind, name, Pieces(*(data[at : at + 1000] for at in range(0, len(data), 1000))))


class App:
    """One app of one person, logged in on one device."""

    def __init__(self, family: "Family", user: UserId, device: DeviceId) -> None:
        self.family = family
        self.user = user
        self.device = device

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Response:
        """Ask below /_matrix/client/v3 unless `path` is absolute."""
        target = path if path.startswith("/_matrix") else f"/_matrix/client/v3{path}"
        sent = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        fields = {"authorization": f"Bearer {self.user} {self.device}", **(headers or {})}
        encoded = [(name.encode(), value.encode()) for name, value in fields.items()]
        return await self.family.door.answer(Request(method, target, Headers(encoded), source=Pieces(sent)))

    async def get(self, path: str) -> Any:
        return good(await self.ask("GET", path))

    async def post(self, path: str, body: object = None) -> Any:
        return good(await self.ask("POST", path, {} if body is None else body))

    async def put(self, path: str, body: object = None) -> Any:
        return good(await self.ask("PUT", path, {} if body is None else body))

    async def refused(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        """Ask for something that is refused; return status and errcode."""
        response = await self.ask(method, path, body)
        assert response.status >= 400, response.body
        return response.status, response.parsed()["errcode"]

    async def create_room(self, **body: Any) -> str:
        return str((await self.post("/createRoom", body))["room_id"])

    async def join(self, room: str) -> None:
        await self.post(f"/join/{quote(room)}")

    async def say(self, room: str, body: str, txn: str | None = None) -> str:
        self.family.said += 1
        content = {"msgtype": "m.text", "body": body}
        path = f"/rooms/{quote(room)}/send/m.room.message/{txn or f'txn{self.family.said}'}"
        return str((await self.put(path, content))["event_id"])

    async def sync(self, since: str | None = None, timeout: int = 0, **query: str) -> Any:
        fields = {**query, "timeout": str(timeout), **({} if since is None else {"since": since})}
        return await self.get("/sync?" + "&".join(f"{name}={quote(value)}" for name, value in fields.items()))


def good(response: Response) -> Any:
    assert response.status == 200, (response.status, response.body)
    return response.parsed()


class Family:
    """The box."""

    def __init__(self, parts: ClientParts, far: FarMedia, media_files: MediaFiles, gauges: SetGauges) -> None:
        self.gauges = gauges
        self.parts = parts
        self.ledger = parts.ledger
        self.door = build(parts)
        self.far = far
        self.media_files = media_files
        self.said = 0

    async def app(self, name: str, device: str = "PHONE") -> App:
        """Return an app of a person, whose account is made at first."""
        user = UserId(f"@{name}:{SERVER}")
        await self.ledger.run(_settle_in, user, DeviceId(device))
        return App(self, user, DeviceId(device))


def _settle_in(change: Change, user: UserId, device: DeviceId) -> None:
    if not accounts.exists(change, user):
        accounts.create(change, user, "no password", 1)
    devices.ensure(change, user, device, None, 0)


class BearerNames:
    """Sessions whose token is `user device`: logging in is tested elsewhere."""

    async def authenticate(self, token: str) -> Session:
        user, _, device = token.partition(" ")
        return Session(UserId(user), DeviceId(device))


class NoOutlet:
    """Sends nothing anywhere."""

    async def send(self, *_args: object) -> dict[str, Any]:
        raise UnreachableError("nobody is there")


@contextlib.asynccontextmanager
async def open_family(
    files: MemoryFiles | None = None,
    rate: dict[str, Any] | None = None,
    *,
    logins: bool = False,
    limits: dict[str, Any] | None = None,
) -> AsyncIterator[Family]:
    """Open a box in memory; with `logins` a token has to come from one, else it is the name of its device."""
    kept = MemoryFiles() if files is None else files
    rates = rate or {"message_burst": 1_000_000, "message_per_s": 1_000_000.0}
    config = Config.parse({"server": {"name": SERVER}, "rate": rates, "limits": limits or {}})
    clock = FakeClock()
    async with memory_ledger(*TABLES, files=kept) as ledger:
        key = await signing_key.own_key(ledger, clock.wall_ms())
        peers = cast("RoomPeers", Nobody())
        keys = ServerKeys(ledger, peers, clock, SERVER)
        writer = RoomWriter(ledger, SERVER, key, clock)
        media_files = MediaFiles(FOLDER / "media", quota_bytes=QUOTA_BYTES, files=kept, workers=InlineWorkers())
        typing, far = Typing(ledger), FarMedia()
        gauges = SetGauges()
        admitting = admission(gauges, config.limits)
        parts = ClientParts(
            config=config,
            ledger=ledger,
            clock=clock,
            authenticate=Sessions(ledger, clock).authenticate if logins else BearerNames().authenticate,
            people=MemoryPeoplePeers(),
            writer=writer,
            joining=Joining(ledger, peers=peers, keys=keys, writer=writer, server=SERVER, key=key, clock=clock),
            leaving=Leaving(ledger, peers=peers, writer=writer, server=SERVER, key=key, clock=clock),
            inviting=Inviting(ledger, peers=peers, keys=keys, writer=writer, server=SERVER, key=key, clock=clock),
            backfiller=Backfiller(ledger, peers=peers, keys=keys, server=SERVER),
            typing=typing,
            outboxes=Outboxes(ledger, NoOutlet(), clock, SERVER, config.delivery),
            media=Media(
                ledger,
                media_files,
                far,
                clock,
                SERVER,
                quota_bytes=QUOTA_BYTES,
                user_quota_bytes=config.limits.user_media_mib * MIB,
                admission=admitting,
            ),
            admission=admitting,
        )
        yield Family(parts, far, media_files, gauges)
    if files is None:
        kept.unregister()


def at(room: str, rest: str = "") -> str:
    """Return the path of something of a room."""
    return f"/rooms/{quote(room, safe='')}{rest}"


async def two(family: Family, **body: object) -> tuple[App, App, str]:
    """Return Ann, Bob and the room they are in."""
    ann, bob = await family.app("ann"), await family.app("bob")
    room = await ann.create_room(**{"preset": "public_chat", **body})
    await bob.join(room)
    return ann, bob, room
