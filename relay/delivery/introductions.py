"""New acquaintances: when people begin or cease to share rooms, their servers' knowledge of devices has to follow.

Somebody here who joins a room with servers that did not hear of their devices before is introduced to them; what is
known of somebody elsewhere who shares no room any more is no longer kept current by their server, and is asked for
again before it is believed. Source: Matrix S2S v1.19, "Device Management".
"""

from collections.abc import Sequence

import trio

from relay.base.ids import RoomId, ServerName, UserId, server_of
from relay.base.limits import MAX_INTRODUCTIONS_PER_CHANGE
from relay.delivery import device_fan_out
from relay.household import remote_devices
from relay.rooms.matrix.storage import members
from relay.rooms.matrix.storage.members import MembershipChange
from relay.rooms.matrix.tables import MEMBERSHIPS
from relay.store.ledger import Change, Index, Ledger


class Introductions:
    """Follows the membership log. A change that a stop leaves unseen is made good by the next key query."""

    def __init__(self, ledger: Ledger, server: ServerName) -> None:
        self._ledger = ledger
        self._server = server

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled."""
        with self._ledger.watch(MEMBERSHIPS) as watch:
            seen = await self._ledger.read(_position)
            task_status.started()
            while True:
                await watch.wait()
                changes, seen = await self._ledger.read(_changes, seen)
                for made in changes:
                    await self._follow(made)

    async def _follow(self, made: MembershipChange) -> None:
        if server_of(made.user) != self._server:
            if made.membership != "join":
                await self._ledger.run(_part, made.user, self._server)
            return
        if made.membership == "join":
            servers = await self._ledger.read(_strangers, made.user, made.room)
            for start in range(0, len(servers), MAX_INTRODUCTIONS_PER_CHANGE):
                some = servers[start : start + MAX_INTRODUCTIONS_PER_CHANGE]
                await self._ledger.run(device_fan_out.introduce, made.user, some)


def _position(index: Index) -> int:
    return index.position


def _changes(index: Index, after: int) -> tuple[Sequence[MembershipChange], int]:
    found = members.membership_changes_since(index, after)
    moved = [made for made in found if (made.membership == "join") != (made.previous == "join")]
    return moved, index.position


def _strangers(index: Index, user: UserId, room: RoomId) -> list[ServerName]:
    """Return the servers of `room` that share no other room with `user`."""
    known: set[ServerName] = set()
    for other in members.joined_rooms(index, user):
        if other != room:
            known |= members.joined_servers(index, other)
    return sorted(members.joined_servers(index, room) - known - {server_of(user)})


def _part(change: Change, user: UserId, own: ServerName) -> None:
    if not any(server_of(other) == own for other in members.users_sharing_room(change, user)):
        remote_devices.mark_stale(change, user)
