"""A family's day in minutes: two whole houses in one process, on a clock that jumps to whatever happens next.

What waits 30 s for company waits 30 s of that day, so commits group as they do at home. Only the sockets are left out:
apps call the door, the two servers talk over memory streams.
"""

import contextlib
import ctypes
import json
import math
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
from trio.testing import MockClock, memory_stream_pair

from relay.app.family import family_door
from relay.app.house import Flash, House, open_house
from relay.app.network import Network, open_network
from relay.base import log
from relay.base.config import Config
from relay.base.errors import UnreachableError
from relay.base.ids import DeviceId, ServerName, UserId
from relay.cli.bench.household import DEVICES, Act, Device, Kind
from relay.cli.bench.meter import Meter, MeteredFiles, MeteredWorkers
from relay.cli.bench.player import Player
from relay.client_api.door import Door
from relay.household import accounts, sessions
from relay.household.tokens import Tokens
from relay.store.ledger import Change
from relay.transport.destination import Destination
from relay.transport.message import Endpoint, Headers, Pieces, Request
from relay.transport.server import Server

NAMES = ("near.example", "far.example")
BEGUN_MS = 1_800_000_000_000
_SETTLING_S = 120.0
FREE = dict.fromkeys(("message_per_s", "message_burst", "federation_per_s", "federation_burst"), 1_000_000)
_WRITE, _WAIT_AFTER = 2, 4
"""SYNC_FILE_RANGE_WRITE and SYNC_FILE_RANGE_WAIT_AFTER of sync_file_range(2)."""


@dataclass(frozen=True, slots=True)
class FileSystemPace:
    """What the kernel does with a mounted ext4 by the clock, played on the day's clock.

    Attributes:
        commit_s: the mount option `commit`: so long after a change of metadata its journal is written. Every write to a
            file is one, as it changes the file's time.
        write_back_s: so long after that the changed blocks are written in place (vm.dirty_expire_centisecs).
        device: the block device.
    """

    device: Path
    commit_s: float = 5.0
    write_back_s: float = 30.0


class VirtualClock:
    """The time of day on the clock that jumps."""

    def wall_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC."""
        return BEGUN_MS + int(trio.current_time() * 1000)


class _Wires:
    """Dials, and says where servers are: everything is in this process."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._servers: dict[str, Server] = {}
        self.off: set[str] = set()

    def serve(self, name: str, answer: Endpoint) -> None:
        self._servers[name] = Server(answer)

    async def resolve(self, server: ServerName) -> Sequence[Destination]:
        await trio.lowlevel.checkpoint()
        return [Destination(server, 8448, server, server)]

    async def __call__(self, destination: Destination) -> tuple[trio.abc.Stream, bool]:
        await trio.lowlevel.checkpoint()
        server = self._servers.get(destination.host)
        if server is None or destination.host in self.off:
            raise UnreachableError("nobody is there")
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self._converse, server, theirs)
        return ours, False

    async def _converse(self, server: Server, stream: trio.abc.Stream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await server.converse(stream, address="192.0.2.1")


class DoorApps:
    """`Ask` by calling the doors."""

    def __init__(self, doors: tuple[Door, Door], tokens: dict[Device, str]) -> None:
        self._doors = doors
        self._tokens = tokens

    async def __call__(self, device: Device, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """Return the JSON answer, None for a file; see `Ask`."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        fields = [("Authorization", f"Bearer {self._tokens[device]}"), ("Content-Type", kind)]
        fields.append(("Content-Length", str(len(data))))
        headers = Headers((name.encode(), value.encode()) for name, value in fields)
        target = path if path.startswith("/") else f"/_matrix/client/{path}"
        request = Request(method, target, headers, "192.0.2.2", Pieces(data))
        response = await self._doors[0 if device.near else 1].answer(request)
        if response.status != 200:
            raise RuntimeError(f"{method} {path}: {response.status} {response.body!r}")
        if not isinstance(response.body, bytes):
            async for _ in response.body:
                pass
            return None
        return json.loads(response.body)


@dataclass(frozen=True, slots=True)
class Town:
    """The measured house, the family's apps, and the names of servers that cannot be reached now."""

    house: House
    player: Player
    off: set[str]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a day did inside; `checkpoints` are those of the day."""

    meter: Meter
    counts: dict[Kind, int]
    checkpoints: int


def replay(
    folders: tuple[Path, Path],
    acts: Sequence[Act],
    pace: FileSystemPace | None,
    before: Callable[[], None],
    after: Callable[[], None],
) -> Replayed:
    """Carry `acts` out in houses of the two folders; the near one's flash has the pace of `pace`.

    `before` and `after` are called when the day begins and when everything of it is on flash, the houses still open.
    """
    log.configure(level="error")
    clock = MockClock(rate=1.0)
    return trio.run(_replay, folders, acts, pace, before, after, clock, clock=clock)


async def _replay(
    folders: tuple[Path, Path],
    acts: Sequence[Act],
    pace: FileSystemPace | None,
    before: Callable[[], None],
    after: Callable[[], None],
    clock: MockClock,
) -> Replayed:
    begun_s = math.inf

    async def wait_until(at_s: float) -> None:
        await trio.sleep_until(begun_s + at_s)

    meter = Meter()
    flash = Flash(files=MeteredFiles(meter), workers=MeteredWorkers(meter))
    async with open_town(folders, flash, wait_until) as town:
        await town.player.settle_in()
        # From here on nothing uses a thread, which a clock that jumps would run ahead of.
        clock.rate, clock.autojump_threshold = 0.0, 0.0
        await trio.sleep(_SETTLING_S)
        await town.house.ledger.checkpoint()
        meter.reset()
        checkpoints = town.house.ledger.status().checkpoints
        before()
        begun_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            if pace is not None:
                nursery.start_soon(_keep_pace, pace, meter)
            for device in DEVICES:
                nursery.start_soon(town.player.poll_forever, device)
            await town.player.play(acts)
            await trio.sleep(_SETTLING_S)
            # What the day changed in the index belongs to it, though its checkpoint may be the next day's.
            await town.house.ledger.checkpoint()
            nursery.cancel_scope.cancel()
        after()
        return Replayed(meter, town.player.counts, town.house.ledger.status().checkpoints - checkpoints)


Live = Callable[[House, Network, trio.Nursery], Awaitable[None]]
"""Starts what a house does by itself, in a nursery."""


async def _live(house: House, network: Network, nursery: trio.Nursery) -> None:
    await network.start(nursery)
    nursery.start_soon(network.home_again.run)
    nursery.start_soon(network.catching_up.run)


@asynccontextmanager
async def open_town(
    folders: tuple[Path, Path], flash: Flash, wait_until: Callable[[float], Awaitable[None]], live: Live = _live
) -> AsyncIterator[Town]:
    """Open both houses, the measured one first, and let them live; nothing syncs the second one's files."""
    far = Flash(files=MeteredFiles(Meter(), lazy=True), workers=MeteredWorkers(Meter()))
    async with trio.open_nursery() as nursery:
        wires = _Wires(nursery)
        async with _open_house(NAMES[0], folders[0], flash) as first, _open_house(NAMES[1], folders[1], far) as second:
            tokens = {device: secrets.token_urlsafe(24) for device in DEVICES}
            doors = []
            for house in (first, second):
                network = await open_network(house, wires, wires)
                await (live if house is first else _live)(house, network, nursery)
                wires.serve(house.server, network.federation.answer)
                doors.append(family_door(house, network))
                await _move_in(house, tokens)
            yield Town(first, Player(DoorApps((doors[0], doors[1]), tokens), NAMES, wait_until), wires.off)
            nursery.cancel_scope.cancel()


def _open_house(name: str, folder: Path, flash: Flash) -> contextlib.AbstractAsyncContextManager[House]:
    folder.mkdir(parents=True, exist_ok=True)
    nowhere = {"listen": "127.0.0.1:0", "tls": False}
    client = {"listen": "127.0.0.1:0"}
    config = Config.parse({"server": {"name": name}, "rate": FREE, "client": client, "federation": nowhere})
    return open_house(folder, config, flash, clock=VirtualClock())


async def _move_in(house: House, tokens: dict[Device, str]) -> None:
    here = [device for device in DEVICES if device.near == (house.server == NAMES[0])]

    def step(change: Change, now_ms: int) -> None:
        for user in dict.fromkeys(device.user for device in here):
            accounts.create(change, UserId(f"@{user}:{house.server}"), "no password", now_ms)
        for device in here:
            user_id = UserId(f"@{device.user}:{house.server}")
            sessions.open_session(change, user_id, DeviceId(device.name), "app", now_ms, Tokens(tokens[device]))

    await house.ledger.run(step, house.clock.wall_ms())


async def _keep_pace(pace: FileSystemPace, meter: Meter) -> None:
    device = os.open(pace.device, os.O_RDWR)
    due_s = math.inf
    try:
        while True:
            if not meter.written.is_set():
                with trio.move_on_at(due_s):
                    await meter.written.wait()
            if trio.current_time() >= due_s:
                _write_back(device)
                due_s = math.inf
            if meter.written.is_set():
                await trio.sleep(pace.commit_s)
                meter.written = trio.Event()
                if meter.last_written is not None:
                    _commit_metadata(meter.last_written)
                due_s = min(due_s, trio.current_time() + pace.write_back_s)
    finally:
        os.close(device)


def _commit_metadata(path: Path) -> None:
    """Have the file system write its journal: fsync of a file whose time is all that changed does just that."""
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_back(device: int) -> None:
    # Without a flush, as the kernel does it; only this call starts it for one device.
    if ctypes.CDLL(None, use_errno=True).sync_file_range(
        device, ctypes.c_int64(0), ctypes.c_int64(0), _WRITE | _WAIT_AFTER
    ):
        raise OSError(ctypes.get_errno(), "sync_file_range")
