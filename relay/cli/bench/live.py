"""A family's day on real servers in processes: as fast as they answer, or nothing but waiting."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trio

from relay.cli.bench.household import DEVICES, Act, Device, Kind
from relay.cli.bench.load import Connection
from relay.cli.bench.player import Player
from relay.cli.bench.servers import BoxServer, Server

_HURRIED_POLL_MS = 2_000
_QUIET_POLL_MS = 30_000


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
        return await trio.to_thread.run_sync(
            self._call, device, method, path, body, limiter=self._limiter, abandon_on_cancel=True
        )

    def _call(self, device: Device, method: str, path: str, body: object) -> object:
        place = device, path.startswith("v3/sync")
        if place not in self._open:
            self._open[place] = Connection(self._servers[device.near].client_port, self._tokens[device])
        answer: object = self._open[place].call(method, path, body)
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


def hurry(near: Server, far: Server, acts: Sequence[Act], before: Callable[[], None]) -> None:
    """Carry `acts` out one after the other without waiting for their time; `before` is called when all are at home."""
    apps = SocketApps(near, far)
    apps.log_in()

    async def at_once(_at_s: float) -> None:
        await trio.lowlevel.checkpoint()

    async def play() -> None:
        player = Player(apps, (near.name, far.name), at_once, _HURRIED_POLL_MS)
        await player.settle_in()
        before()
        async with trio.open_nursery() as nursery:
            for device in DEVICES:
                nursery.start_soon(player.poll_forever, device)
            await player.play(acts)
            # Receipts and the relatives' answers are still on their way.
            await trio.sleep(_HURRIED_POLL_MS / 1000)
            nursery.cancel_scope.cancel()

    trio.run(play)
    apps.hang_up()


def rest(
    near: Server, far: Server, acts: Sequence[Act], *, settle_s: float, idle_s: float, mark: Callable[[], None]
) -> None:
    """After `acts` let the apps only wait for news, with the relatives' server gone and mail for it waiting.

    `mark` is called when all has been quiet for `settle_s` since a clean start, and again `idle_s` later.
    """
    apps = SocketApps(near, far)
    apps.log_in()

    async def at_once(_at_s: float) -> None:
        await trio.lowlevel.checkpoint()

    async def wait() -> None:
        player = Player(apps, (near.name, far.name), at_once, _QUIET_POLL_MS)
        await player.settle_in()
        far.stop()
        await player.play([act for act in acts if act.device.near and act.kind is Kind.SAY])
        apps.hang_up()
        near.stop()
        near.start()
        async with trio.open_nursery() as nursery:
            for device in DEVICES:
                if device.near:
                    nursery.start_soon(player.poll_forever, device)
            await trio.sleep(settle_s)
            mark()
            await trio.sleep(idle_s)
            mark()
            nursery.cancel_scope.cancel()

    trio.run(wait)
    apps.hang_up()


def first_messages(acts: Sequence[Act], count: int) -> list[Act]:
    """Return what `count` messages bring with them."""
    return list(itertools.takewhile(lambda act: act.number < count, acts))
