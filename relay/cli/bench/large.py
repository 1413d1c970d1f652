"""A state folder with many events, made once and kept: through the client-server API, but nothing waits for flash.

The messages are made by the box's own code, each signed, authorized and indexed as any other; only the syncs are left
out, and the HTTP. The copy that is measured is synced before anything is counted.
"""

import hashlib
import os
import secrets
import shutil
from pathlib import Path

import trio

from relay.app.family import family_door
from relay.app.house import TABLES, Flash, open_house
from relay.app.network import open_network
from relay.base import log
from relay.base.config import Config
from relay.base.ids import DeviceId, UserId
from relay.cli.bench.household import Device
from relay.cli.bench.load import message, send_path
from relay.cli.bench.meter import Meter, MeteredFiles, MeteredWorkers
from relay.cli.bench.virtual import BEGUN_MS, FREE, NAMES, DoorApps
from relay.household import accounts, sessions
from relay.household.tokens import Tokens
from relay.store.ledger import Change

FILLER = Device("filler", "FILLER", near=True)
TOKEN_FILE = "filler.token"  # noqa: S105 - a name
SHORT_BYTES = 80
_SENDERS = 16
_STEP_MS = 20_000


def large_state(events: int) -> Path:
    """Return a state folder with `events` messages in one room, from the cache where one is there.

    Made by `FILLER`, whose access token is in `TOKEN_FILE`; the server's name is the first of `NAMES`.
    """
    layout = hashlib.sha256(repr([tables.ddl for tables in TABLES]).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "doorstep-bench"
    made = cache / f"{events}-{layout}"
    if not (made / "index.db").exists():
        making = cache / f"{made.name}.{secrets.token_hex(4)}"
        making.mkdir(parents=True)
        try:
            trio.run(_fill, making, events)
            # Somebody else may have made it meanwhile.
            if not made.exists():
                making.rename(made)
        finally:
            shutil.rmtree(making, ignore_errors=True)
        for old in cache.glob(f"{events}-*"):
            if not old.name.startswith(made.name):
                shutil.rmtree(old, ignore_errors=True)
    return made


class _Ticking:
    """A clock that moves with every look: half a minute between two messages, so that a day is a day."""

    def __init__(self, events: int) -> None:
        self._now_ms = BEGUN_MS - (events + 1_000) * _STEP_MS

    def wall_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC."""
        self._now_ms += _STEP_MS // 4
        return min(self._now_ms, BEGUN_MS)


async def _fill(folder: Path, events: int) -> None:
    log.configure(level="error")
    meter = Meter()
    flash = Flash(files=MeteredFiles(meter, lazy=True), workers=MeteredWorkers(meter))
    config = Config.parse({"server": {"name": NAMES[0]}, "rate": FREE})
    async with open_house(folder, config, flash, clock=_Ticking(events)) as house, trio.open_nursery() as nursery:
        network = await open_network(house)
        await network.start(nursery)
        token = secrets.token_urlsafe(24)
        await house.ledger.run(_move_in, UserId(f"@{FILLER.user}:{NAMES[0]}"), token, house.clock.wall_ms())
        (folder / TOKEN_FILE).write_text(token)
        door = family_door(house, network)
        apps = DoorApps((door, door), {FILLER: token})
        room = (await apps(FILLER, "POST", "v3/createRoom", {"preset": "private_chat"}))["room_id"]

        async def send(first: int) -> None:
            for number in range(first, events, _SENDERS):
                await apps(FILLER, "PUT", send_path(room, f"fill{number}"), message(SHORT_BYTES, number))

        async with trio.open_nursery() as senders:
            for first in range(_SENDERS):
                senders.start_soon(send, first)
        nursery.cancel_scope.cancel()


def _move_in(change: Change, user: UserId, token: str, now_ms: int) -> None:
    accounts.create(change, user, "no password", now_ms)
    sessions.open_session(change, user, DeviceId(FILLER.name), "filler", now_ms, Tokens(token))
