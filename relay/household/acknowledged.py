"""How far each device has come: the position of the newest token it came back with.

What a device was told may go when it is old; what it was not told stays for it. Written rarely, and with the next
commit, however late: what is kept for a device too long costs nothing, and the notes of a quiet box would never end.
"""

from relay.base.clock import Clock
from relay.base.ids import DeviceId, UserId
from relay.base.limits import ACKNOWLEDGED_RESOLUTION_MS, MAX_KNOWN_TOKENS
from relay.store.ledger import Change, Index, Ledger
from relay.store.tables import Operation

DDL = (
    """CREATE TABLE IF NOT EXISTS acknowledged (
        user INTEGER NOT NULL, device TEXT NOT NULL, position INTEGER NOT NULL,
        PRIMARY KEY (user, device)) WITHOUT ROWID""",
)
_NOTE = Operation(
    460,
    "INSERT INTO acknowledged (user, device, position) VALUES (?1, ?2, ?3)"
    " ON CONFLICT (user, device) DO UPDATE SET position = max(position, ?3)",
    lazy=True,
    patient=True,
)
_DROP_DEVICE = Operation(461, "DELETE FROM acknowledged WHERE user = ? AND device = ?")
OPERATIONS = (_NOTE, _DROP_DEVICE)


class Acknowledged:
    """Hears every token, and writes few of them down."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._noted: dict[tuple[UserId, DeviceId], tuple[int, int]] = {}

    async def note(self, user: UserId, device: DeviceId, position: int) -> None:
        """Note that a device has everything up to `position`; a device that hears nothing new writes nothing."""
        key, now_ms = (user, device), self._clock.wall_ms()
        noted_ms, noted = self._noted.get(key, (None, -1))
        if position <= noted or not self._ledger.healthy:
            return
        if noted_ms is not None and 0 <= now_ms - noted_ms < ACKNOWLEDGED_RESOLUTION_MS:
            return
        if len(self._noted) >= MAX_KNOWN_TOKENS:
            self._noted.clear()
        self._noted[key] = (now_ms, position)
        await self._ledger.run(note, user, device, position)


def note(change: Change, user: UserId, device: DeviceId, position: int) -> None:
    """Note that the device has everything up to `position`; one that was deleted meanwhile is not noted."""
    number = change.find(user)
    if change.row("SELECT 1 FROM devices WHERE user = ? AND device = ?", number, device) is not None:
        change.write(_NOTE, number, device, position)


def position_of(index: Index, user: UserId, device: DeviceId) -> int | None:
    """Return how far a device has come, None where it was never heard of."""
    position: int | None = index.value(
        "SELECT position FROM acknowledged WHERE user = ? AND device = ?", index.find(user), device
    )
    return position


def drop_device(change: Change, user: int, device: DeviceId) -> None:
    """Forget a device that is deleted."""
    change.write(_DROP_DEVICE, user, device)
