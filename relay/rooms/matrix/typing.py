"""Who is typing: in memory only, gone with a restart.

Source: Matrix C-S v1.19, "Typing Notifications".
"""

import trio

from relay.base.ids import RoomId, UserId
from relay.base.limits import MAX_TYPING_USERS
from relay.store.ledger import Ledger


class Typing:
    """Who is typing where, on the Trio thread.

    Attributes:
        serial: counts changes; part of sync tokens together with the boot number.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._until_s: dict[RoomId, dict[UserId, float]] = {}
        self._changed: dict[RoomId, int] = {}
        self._sooner = trio.Event()
        self.serial = 0

    def set(self, room: RoomId, user: UserId, until_s: float | None) -> None:
        """Note that a user types until a time of Trio's clock, or no longer; rings ("typing", room)."""
        if until_s is None:
            if self._until_s.get(room, {}).pop(user, None) is not None:
                self._note(room)
            return
        typing = self._until_s.setdefault(room, {})
        if user in typing:
            typing[user] = until_s
        elif len(typing) < MAX_TYPING_USERS:
            typing[user] = until_s
            self._note(room)
        self._sooner.set()

    def users(self, room: RoomId) -> list[UserId]:
        """Return who is typing in a room."""
        return sorted(self._until_s.get(room, ()))

    def changed_since(self, serial: int) -> frozenset[RoomId]:
        """Return the rooms where somebody began or ceased typing after `serial`."""
        return frozenset(room for room, changed in self._changed.items() if changed > serial)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take out who said nothing more in time, for ever."""
        task_status.started()
        while True:
            self._sooner = trio.Event()
            deadline_s = min((until for typing in self._until_s.values() for until in typing.values()), default=None)
            with trio.move_on_at(float("inf") if deadline_s is None else deadline_s):
                await self._sooner.wait()
            self._expire(trio.current_time())

    def _expire(self, now_s: float) -> None:
        for room, typing in list(self._until_s.items()):
            over = [user for user, until_s in typing.items() if until_s <= now_s]
            for user in over:
                del typing[user]
            if over:
                self._note(room)

    def _note(self, room: RoomId) -> None:
        self.serial += 1
        self._changed[room] = self.serial
        if not self._until_s[room]:
            del self._until_s[room]
        self._ledger.ring(("typing", room))
