"""What a person's rooms have to be told: a changed name or picture, or that they are gone.

Client-server API, "Profiles" and "Account deactivation".
"""

from collections.abc import Mapping
from typing import Any

from relay.base.clock import Clock
from relay.base.errors import RelayError
from relay.base.ids import RoomId, UserId
from relay.base.log import get_logger
from relay.household import profile
from relay.rooms.matrix.deciding.drafting import Draft
from relay.rooms.matrix.deciding.writer import RoomWriter
from relay.rooms.matrix.membership.leaving import Leaving
from relay.rooms.matrix.storage import members, state
from relay.store.ledger import Change, Ledger

MEMBER = "m.room.member"
log = get_logger()


class MemberRefresh:
    """Writes a person's member events anew, in all rooms."""

    def __init__(self, ledger: Ledger, writer: RoomWriter, leaving: Leaving, clock: Clock) -> None:
        self._ledger = ledger
        self._writer = writer
        self._leaving = leaving
        self._clock = clock

    async def spread(self, user: UserId, shown: Mapping[str, Any]) -> None:
        """Show `shown` in all rooms of `user`; a room whose rules do not let them is left as it is."""
        for room in await self._ledger.read(members.joined_rooms, user):
            try:
                await self._ledger.run(self._refresh, user, room, shown, self._clock.wall_ms())
            except RelayError as error:
                log.info("delivery.member_not_refreshed", code=error.code)

    async def leave_all(self, user: UserId) -> None:
        """Take `user` out of every room and decline every invite."""
        for room, row in (await self._ledger.read(members.rooms_of, user)).items():
            if row.membership in ("join", "invite", "knock"):
                try:
                    await self._leaving.leave(user, room)
                except RelayError as error:
                    log.info("delivery.room_not_left", code=error.code)

    def _refresh(self, change: Change, user: UserId, room: RoomId, shown: Mapping[str, Any], now_ms: int) -> None:
        held = state.current_event(change, room, MEMBER, user)
        if held is None or held.content.get("membership") != "join":
            return
        kept = {key: value for key, value in held.content.items() if key not in (*profile.IN_MEMBER_EVENTS, "reason")}
        content = {**kept, **{key: shown[key] for key in profile.IN_MEMBER_EVENTS if key in shown}}
        if content != held.content:
            self._writer.send_in(
                change, room, Draft(sender=user, type=MEMBER, content=content, state_key=user, now_ms=now_ms)
            )
