"""Makes room in the background: a look now and then, small lazy changes, pauses in between.

Nothing is written unless there is something to let go, and little is not worth a write before a day has passed: a
quiet box stays quiet.
"""

from dataclasses import dataclass, field

import trio

from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.ids import RoomId, ServerName
from relay.base.limits import PRUNE_EVERY_S, PRUNE_PAUSE_S, PRUNE_WORTH_EVENTS
from relay.base.log import get_logger
from relay.delivery.clock_trust import ClockTrust
from relay.delivery.pruning import delivered, marks, policy
from relay.delivery.pruning.delivered import Delivered
from relay.delivery.pruning.files import FilePruner
from relay.delivery.pruning.leftovers import Leftovers
from relay.delivery.pruning.policy import Cut
from relay.rooms.matrix.storage import graph, pruning
from relay.rooms.matrix.storage.pruning import Gone
from relay.rooms.matrix.storage.sweeping import Sweeper
from relay.store.ledger import Index, Ledger

log = get_logger()

_FULL, _ROOMY = 0.70, 0.65
_DAY_S = 24 * 3600.0
_WEEK_S = 7 * _DAY_S
_FAR_PAST = float("-inf")


@dataclass(slots=True)
class Pruned:
    """What a look, or all of them since the start, let go."""

    events: int = 0
    groups: int = 0
    files: int = 0
    file_bytes: int = 0
    short_of_space: bool = False

    def add(self, other: "Pruned") -> None:
        """Count what another look let go; whether space is short is for the newest to say."""
        self.events += other.events
        self.groups += other.groups
        self.files += other.files
        self.file_bytes += other.file_bytes
        self.short_of_space = other.short_of_space


@dataclass(slots=True)
class _Round:
    """What stays the same during one look."""

    now_ms: int
    delivered: Delivered
    rooms: list[RoomId]
    done: Pruned = field(default_factory=Pruned)


class Pruner:
    """Lets go of what policy and space ask for; `run` does so until cancelled.

    Attributes:
        total: what went since the start.
    """

    def __init__(
        self,
        ledger: Ledger,
        config: Config,
        clock: Clock,
        here: ServerName,
        *,
        budget_bytes: int,
        files: FilePruner | None = None,
        pause_s: float = PRUNE_PAUSE_S,
    ) -> None:
        self._ledger = ledger
        self._config = config
        self._clock = clock
        self._here = here
        self._budget_bytes = budget_bytes
        self._pause_s = pause_s
        self._trust = ClockTrust()
        self._sweeper = Sweeper(ledger, here, self._pause)
        self._leftovers = Leftovers(ledger)
        self._pruned_s: dict[RoomId, float] = {}
        self._files = files
        self._swept_s = self._tidied_s = self._looked_at_files_s = _FAR_PAST
        self.total = Pruned()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look again and again, until cancelled."""
        task_status.started()
        while True:
            await trio.sleep(PRUNE_EVERY_S)
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - what this trips over must not stop the house
                # Flash that refuses says so elsewhere; what goes can go later.
                log.warning("delivery.pruning_put_off", error=type(error).__name__)

    async def look(self, *, at_once: bool = False) -> Pruned:
        """Let go of what may and should go now; `at_once` also where it is little. Returns what went."""
        now_ms = self._clock.wall_ms()
        if not self._ledger.healthy or not await self._is_time_known(now_ms):
            return Pruned()
        seen = await self._ledger.read(
            delivered.look, self._config.delivery, self._here, self._config.retention.device_days, now_ms
        )
        todo = _Round(now_ms, seen, await self._ledger.read(graph.rooms))
        for room in todo.rooms:
            await self._prune_by_policy(room, todo, at_once=at_once)
        await self._prune_for_space(todo)
        if at_once or trio.current_time() - self._tidied_s >= _DAY_S:
            self._tidied_s = trio.current_time()
            await self._leftovers.tidy(todo.delivered, self._pause, now_ms)
        if at_once or trio.current_time() - self._swept_s >= _DAY_S:
            await self._sweep(todo)
        if self._files is not None and (at_once or trio.current_time() - self._looked_at_files_s >= _WEEK_S):
            self._looked_at_files_s = trio.current_time()
            freed = await self._files.prune(self._pause, now_ms)
            todo.done.files, todo.done.file_bytes = freed.files, freed.size_bytes
        self.total.add(todo.done)
        if todo.done.events:
            log.info("delivery.history_let_go", count=todo.done.events)
        if todo.done.files:
            log.info("delivery.files_let_go", count=todo.done.files)
        return todo.done

    async def _is_time_known(self, now_ms: int) -> bool:
        if not self._trust.holds(await self._ledger.read(marks.last_day), now_ms):
            return False
        if await self._ledger.read(marks.is_new_day, now_ms):
            await self._ledger.run(marks.note, now_ms)
        return True

    async def _prune_by_policy(self, room: RoomId, todo: _Round, *, at_once: bool) -> None:
        for find in (policy.by_age, policy.by_number):
            cut = await self._ledger.read(find, self._config.retention, room, todo.delivered, todo.now_ms)
            if cut is None:
                continue
            waited_s = trio.current_time() - self._pruned_s.get(room, _FAR_PAST)
            if at_once or waited_s >= _DAY_S or await self._ledger.read(_is_worth_it, room, cut):
                self._pruned_s[room] = trio.current_time()
                await self._prune(room, cut, todo)

    async def _prune(self, room: RoomId, cut: Cut, todo: _Round, most: int | None = None) -> int:
        gone, count = Gone(0, more=True), 0
        while gone.more and (most is None or count < most):
            gone = await self._ledger.run(pruning.prune, room, cut.before, cut.may_go, self._here)
            count += gone.events
            await self._pause()
        if count:
            await self._ledger.run(pruning.finish, room, self._here, ask_others=not cut.for_good)
        todo.done.events += count
        return count

    async def _prune_for_space(self, todo: _Round) -> None:
        """Let the oldest messages of all rooms go, oldest first, until there is room again."""
        if await self._ledger.read(used_bytes) < _FULL * self._budget_bytes:
            return
        stuck: set[RoomId] = set()
        while await self._ledger.read(used_bytes) > _ROOMY * self._budget_bytes:
            begins = await self._ledger.read(_beginnings, [room for room in todo.rooms if room not in stuck])
            if not begins:
                todo.done.short_of_space = True
                if not self.total.short_of_space:
                    log.warning("delivery.history_cannot_shrink", limit=self._budget_bytes)
                return
            room = begins[0][1]
            # Down to where the next room begins, so that all get younger together; never so little that it takes ages.
            up_to = begins[1][0] if len(begins) > 1 else begins[0][0]
            cut = await self._ledger.read(_space_cut, self._config, room, todo, max(up_to, begins[0][0]))
            if not await self._prune(room, cut, todo, most=8 * pruning.AT_A_TIME):
                stuck.add(room)

    async def _sweep(self, todo: _Round) -> None:
        if await self._sweeper.is_due():
            self._swept_s = trio.current_time()
            swept = await self._sweeper.sweep()
            todo.done.groups += swept.groups

    async def _pause(self) -> None:
        await trio.sleep(self._pause_s)


def used_bytes(index: Index) -> int:
    """Return what the index takes on flash, or will once it is committed; pages free for use again not counted."""
    return int(
        index.value(
            "SELECT (pages.page_count - free.freelist_count) * size.page_size FROM pragma_page_count AS pages,"
            " pragma_freelist_count AS free, pragma_page_size AS size"
        )
    )


def _is_worth_it(index: Index, room: RoomId, cut: Cut) -> bool:
    """Return whether so many events may go that it is worth a write now."""
    stored = pruning.event_at(index, room, PRUNE_WORTH_EVENTS)
    return stored is not None and (stored.order or 0) < cut.before and cut.may_go(index, stored)


def _beginnings(index: Index, rooms: list[RoomId]) -> list[tuple[int, RoomId]]:
    found = ((pruning.oldest_place(index, room), room) for room in rooms)
    return sorted((place, room) for place, room in found if place is not None)[:2]


def _space_cut(index: Index, config: Config, room: RoomId, todo: _Round, least: int) -> Cut:
    step = pruning.event_at(index, room, pruning.AT_A_TIME)
    up_to = max(least, (1 << 62) if step is None or step.order is None else step.order)
    return policy.by_space(index, config.retention, room, todo.delivered, up_to=up_to, now_ms=todo.now_ms)
