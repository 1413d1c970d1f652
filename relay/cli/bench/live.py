"""A family's day on real servers in processes: as fast as they answer, or nothing but waiting."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trio

from relay.cli.bench.household import DEVICES, Act, Device, Kind
from relay.cli.bench.load import Connection, HungUpError
from relay.cli.bench.player import Player
from relay.cli.bench.servers import BoxServer, Server

_HURRIED_POLL_MS = 2_000
"""Short, as whoever ends waits for the last one."""


class SocketApps:
    """`Ask` over HTTP: every device has a connection for its long poll and one for the rest."""

    def __init__(self, near: Server, far: Server) -> None:
        self._servers = {True: near, False: far}
        self._tokens: dict[Device, str] = {}
        self._open: dict[tuple[Device, bool], Connection] = {}
        self._limiter = trio.CapacityLimiter(3 * len(DEVICES))

    def log_in(self) -> None:
        """Log every device in."""
        for device in DEVICES:
            connection = self._servers[device.near].login(device.user, device.name)
            self._tokens[device] = connection.token
            self._open[device, False] = connection

    def hang_up(self) -> None:
        """Close every connection; the next question opens one."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()

    async def __call__(self, device: Device, method: str, path: str, body: object = None) -> object:
        """Return the JSON answer, None for a file; see `Ask`."""
        return await trio.to_thread.run_sync(self._call, device, method, path, body, limiter=self._limiter)

    def _call(self, device: Device, method: str, path: str, body: object) -> object:
        place = device, path.startswith("v3/sync")
        while True:
            kept = place in self._open
            if not kept:
                self._open[place] = Connection(self._servers[device.near].client_port, self._tokens[device])
            try:
                answer: object = self._open[place].call(method, path, body)
            except (HungUpError, ConnectionError):
                self._open.pop(place).close()
                if not kept:
                    raise
            else:
                return answer


@contextmanager
def family_servers(build: Callable[[Path], Server], near_folder: Path, other: Path) -> Iterator[tuple[Server, Server]]:
    """Give the measured server and a box for the relatives, each trusting the other; logs go to `other`."""
    other.mkdir(parents=True, exist_ok=True)
    near, far = build(near_folder), BoxServer(other / "far")
    near.log = other / "near.log"
    trusted = [server.folder / "tls/ca.pem" for server in (near, far)]
    try:
        for server in (near, far):
            server.prepare(trusted)
            server.start()
            for user in dict.fromkeys(device.user for device in DEVICES if device.near == (server is near)):
                server.add_user(user)
        yield near, far
    finally:
        near.stop()
        far.stop()


class LiveFamily:
    """The family's apps on two servers that run."""

    def __init__(self, near: Server, far: Server) -> None:
        self._near = near
        self._far = far
        self._apps = SocketApps(near, far)

    def hurry(self, acts: Sequence[Act], before: Callable[[], None]) -> Player:
        """Carry `acts` out one after the other without waiting for their time; `before` is called when all are home."""
        self._apps.log_in()
        player = Player(self._apps, (self._near.name, self._far.name), _at_once, _HURRIED_POLL_MS)
        trio.run(self._hurry, player, acts, before)
        self._apps.hang_up()
        return player

    def rest(self, player: Player, acts: Sequence[Act], marks: Sequence[tuple[float, Callable[[], None]]]) -> None:
        """Let the apps only wait for news, with the relatives' server gone and mail for it waiting.

        `marks` are called after a clean start, each so many seconds after the one before.
        """
        trio.run(self._rest, player, acts, marks)
        self._apps.hang_up()

    async def _hurry(self, player: Player, acts: Sequence[Act], before: Callable[[], None]) -> None:
        await player.settle_in()
        before()
        async with trio.open_nursery() as nursery:
            for device in DEVICES:
                nursery.start_soon(player.poll_forever, device)
            await player.play(acts)
            # Receipts and the relatives' answers are still on their way.
            await trio.sleep(_HURRIED_POLL_MS / 1000)
            nursery.cancel_scope.cancel()

    async def _rest(
        self, player: Player, acts: Sequence[Act], marks: Sequence[tuple[float, Callable[[], None]]]
    ) -> None:
        self._far.stop()
        await player.play([act for act in acts if act.device.near and act.kind is Kind.SAY])
        self._apps.hang_up()
        self._near.stop()
        self._near.start()
        async with trio.open_nursery() as nursery:
            for device in DEVICES:
                if device.near:
                    nursery.start_soon(player.poll_forever, device)
            for wait_s, mark in marks:
                await trio.sleep(wait_s)
                mark()
            nursery.cancel_scope.cancel()


async def _at_once(_at_s: float) -> None:
    await trio.lowlevel.checkpoint()
