"""The standby of a running house: what is copied, to where, and how `status` and `doctor` speak of it."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from relay.admin.operations import Finding
from relay.app.folder_files import folder_files
from relay.app.health import Watcher
from relay.app.house import House
from relay.app.version import VERSION
from relay.delivery.media import known_file_ids
from relay.store.workers import ThreadWorkers

if TYPE_CHECKING:
    from relay.delivery.standby.records import Item
    from relay.delivery.standby.standby import Standby

_FINISH_S = 2.0
_FAR_BEHIND_S = 60.0


@contextlib.asynccontextmanager
async def standing_by(house: House) -> AsyncIterator[Sequence[Watcher]]:
    """Let the commits of `house` follow to the target that its settings name, if they name one.

    To be left when nothing else changes the house any more: what is left is sent then, for a moment.
    """
    if not house.config.standby.target:
        yield ()
        return
    standby = _make(house)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(standby.run)
        try:
            yield (partial(_watch, standby),)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _FINISH_S):
                await standby.finish(_FINISH_S)
            nursery.cancel_scope.cancel()


async def standby_key(house: House) -> str:
    """Return the standby key, made now where there was none, as a line for a key file."""
    from relay.delivery.standby.key_file import render_key
    from relay.delivery.standby.tables import draw, make_key

    return render_key(await house.ledger.run(make_key, draw()[0]))


def _make(house: House) -> "Standby":
    # Most boxes have no standby: its modules take memory only where there is one.
    from relay.delivery.standby import standby as room
    from relay.delivery.standby.envelope import box_id
    from relay.delivery.standby.opening import open_target

    settings = house.config.standby
    copied = room.House(
        name=house.server,
        box=box_id(house.keyring.journal_key),
        ledger=house.ledger,
        clock=house.clock,
        workers=ThreadWorkers(),
        files=house.flash.media_files(house.folder, house.config),
        describe=partial(_describe, house),
        known_files=known_file_ids,
    )
    opening = partial(open_target, settings, house.folder, house.clock)
    return room.Standby(copied, settings.target, opening, base_after_mib=settings.base_after_mib)


def _describe(house: House) -> "Sequence[Item]":
    from relay.delivery.standby.records import Origin, OwnFile

    files, changes, _left_out = folder_files(house.folder, house.config)
    own = [OwnFile(file.name, file.mode, file.content) for file in files]
    return [Origin(VERSION, house.server, changes), *own]


def _watch(standby: "Standby") -> tuple[dict[str, Any], list[Finding]]:
    return {"standby": dataclasses.asdict(standby.status())}, list(_find(standby))


def _find(standby: "Standby") -> Iterator[Finding]:
    status = standby.status()
    lacking = f"it lacks {status.newest - status.sent} commits of the last {status.behind_s:.0f} s"
    if not status.connected:
        yield Finding(
            "warning",
            f"the standby's target does not take anything: {status.fault}; {lacking}",
            "set the clock: time set, in UTC; the copy catches up by itself"
            if status.waits_for_clock
            else "look at the target and at the settings of [standby]; the box goes on, and catches up by itself",
        )
    elif status.behind_s > _FAR_BEHIND_S:
        yield Finding(
            "warning",
            f"the standby is slow: {lacking}",
            "give the target a faster line, or wait: it catches up by itself",
        )
    if status.base is None:
        yield Finding(
            "warning",
            "a second box cannot be made yet: the copy of everything is not at the target",
            "wait; relay status shows how many bytes are there",
        )
