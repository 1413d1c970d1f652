"""Files of ours that nothing refers to any more: uploaded and never sent, redacted, or of messages that went.

What a readable event, a profile or account data names stays. Of a file that may be encrypted nobody here can say who
refers to it: it goes only where every message does, and not before all of them are older than it.
"""

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from relay.base.config import RetentionConfig
from relay.base.ids import RoomId, ServerName
from relay.delivery import media
from relay.delivery.media import Idle
from relay.delivery.pruning import marks, policy
from relay.household import mentions as household_mentions
from relay.rooms.matrix.storage import graph, mentions
from relay.store.ledger import Change, Index, Ledger

Pause = Callable[[], Awaitable[None]]
_AT_A_TIME = 50


class Folder(Protocol):
    """Where the files lie."""

    async def delete(self, file_id: str) -> None:
        """Remove one."""
        ...


@dataclass(frozen=True, slots=True)
class Freed:
    """What went."""

    files: int = 0
    size_bytes: int = 0


class FilePruner:
    """Looks through everything that may name a file, and deletes those that nothing names."""

    def __init__(self, ledger: Ledger, folder: Folder, config: RetentionConfig, here: ServerName) -> None:
        self._ledger = ledger
        self._folder = folder
        self._config = config
        self._here = here
        self._wanted = mentions.pattern(here)

    async def prune(self, pause: Pause, now_ms: int) -> Freed:
        """Delete what nothing refers to; reads every event, if there is a file that may go."""
        waiting = await self._ledger.read(self._candidates, now_ms)
        if not waiting:
            return Freed()
        named = await self._ledger.read(household_mentions.mentioned, self._wanted)
        after = 0
        while (found := await self._ledger.read(mentions.mentioned, self._wanted, after)) is not None:
            after, more = found
            named |= more
            await pause()
        orphans = [file for file in waiting if file.media_id not in named]
        gone: list[Idle] = []
        for start in range(0, len(orphans), _AT_A_TIME):
            gone += await self._ledger.run(_drop, self._here, orphans[start : start + _AT_A_TIME], self._wanted, after)
            # The rows are gone, durably: what a power cut leaves of the files now, the next start sweeps.
            await pause()
        for file in gone:
            await self._folder.delete(file.file_id)
        return Freed(len(gone), sum(file.size_bytes for file in gone))

    def _candidates(self, index: Index, now_ms: int) -> list[Idle]:
        orphan_ms = self._config.orphan_days * marks.DAY_MS
        first_ms = marks.first_ms(index)
        idle = media.idle(index, self._here, now_ms - orphan_ms, first_ms)
        age_ms = _greatest_age_ms(index, self._config, graph.rooms(index))
        if age_ms is None:
            return [file for file in idle if not file.opaque]
        ancient = {file.media_id for file in media.idle(index, self._here, now_ms - max(age_ms, orphan_ms), first_ms)}
        return [file for file in idle if not file.opaque or file.media_id in ancient]


def _greatest_age_ms(index: Index, config: RetentionConfig, rooms: Iterable[RoomId]) -> int | None:
    """Return how old a message can get in any room; None where one of them has no limit."""
    if not config.days:
        return None
    ages = [policy.most_age_ms(index, config, room) for room in rooms]
    return max((age for age in ages if age is not None), default=config.days * marks.DAY_MS)


def _drop(change: Change, here: ServerName, orphans: list[Idle], wanted: re.Pattern[bytes], read_to: int) -> list[Idle]:
    found = mentions.mentioned(change, wanted, read_to)
    if found is not None and mentions.mentioned(change, wanted, found[0]) is not None:
        # Too much came meanwhile to look at in one step: another time.
        return []
    named = set() if found is None else found[1]
    gone = [file for file in orphans if file.media_id not in named]
    media.drop_idle(change, here, gone)
    return gone
