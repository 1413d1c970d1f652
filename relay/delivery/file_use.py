"""When each file was last asked for, to the day: what goes first when files take too much room.

Noted once a day for a file, in memory and with whatever is written next.
"""

from relay.base.clock import Clock
from relay.base.ids import MediaId, ServerName
from relay.base.limits import MAX_REMEMBERED_FILES
from relay.store.ledger import Change, Ledger
from relay.store.tables import Operation

DAY_MS = 24 * 3600 * 1000

DDL = (
    "CREATE TABLE IF NOT EXISTS media_seen (server INTEGER NOT NULL, media_id TEXT NOT NULL, day INTEGER NOT NULL,"
    " PRIMARY KEY (server, media_id)) WITHOUT ROWID",
)
_NOTE = Operation(643, "INSERT OR REPLACE INTO media_seen VALUES (?, ?, ?)", lazy=True, patient=True)
_DROP = Operation(644, "DELETE FROM media_seen WHERE server = ? AND media_id = ?")
OPERATIONS = (_NOTE, _DROP)


class FileUse:
    """Hears of every reading, and writes the first of a day down."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._day = 0
        self._today: set[tuple[ServerName, MediaId]] = set()

    async def note(self, server: ServerName, media_id: MediaId) -> None:
        """Note that somebody asked for a file."""
        today = self._clock.wall_ms() // DAY_MS
        if today != self._day or len(self._today) >= MAX_REMEMBERED_FILES:
            self._day, self._today = today, set()
        if (server, media_id) not in self._today and self._ledger.healthy:
            self._today.add((server, media_id))
            await self._ledger.run(_note, server, media_id, today)


def _note(change: Change, server: ServerName, media_id: MediaId, day: int) -> None:
    number = change.find(server)
    if change.row("SELECT 1 FROM media WHERE server = ? AND media_id = ?", number, media_id) is not None:
        change.write(_NOTE, number, media_id, day)


def forget(change: Change, server: int, media_id: MediaId) -> None:
    """Forget when a file was used, as it goes."""
    change.write(_DROP, server, media_id)
