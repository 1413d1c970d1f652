"""Finding what nothing refers to any more: state groups, and rows that stand in no timeline.

A group that no event, no room and no needed group is made from stays unused for ever: a new group is made from one in
use. So what a long, slow walk found unused may be deleted later without looking at everything again. Groups and
events newer than the walk's beginning are left for the next one.
"""

import struct
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from relay.base.ids import RoomId, ServerName
from relay.rooms.matrix.storage import graph, pruning
from relay.rooms.matrix.storage.stored_event import Flags
from relay.rooms.matrix.tables import DROP_GROUP, GROUPS_SWEPT, NOTE_HISTORY
from relay.store.ledger import Change, Index, Ledger

AUTH_TYPES = frozenset(
    {"m.room.create", "m.room.member", "m.room.power_levels", "m.room.join_rules", "m.room.third_party_invite"}
)
"""State that auth chains may lead to; it is never deleted (server-server API, "Auth events selection")."""

NEW_GROUPS = 512
"""A sweep reads the whole index: it is worth that after so many new groups."""

_PAGE = 400
# Each may hold the whole state of a large room.
_GROUPS = 16
_ENTRY = struct.Struct("<III")


@dataclass(slots=True)
class Swept:
    """What a sweep did."""

    groups: int = 0
    events: int = 0


@dataclass(slots=True)
class _Walk:
    top_event: int
    top_group: int
    edges: dict[int, int]
    """Room -> the row its timeline begins with, for rooms whose past was let go."""
    used: set[int] = field(default_factory=set)
    loose: list[int] = field(default_factory=list)
    needed: set[int] = field(default_factory=set)


class Sweeper:
    """Walks over everything, a bounded read or change at a time, with `pause` in between."""

    def __init__(self, ledger: Ledger, here: ServerName, pause: Callable[[], Awaitable[None]]) -> None:
        self._ledger = ledger
        self._here = here
        self._pause = pause

    async def is_due(self) -> bool:
        """Return whether enough groups were made since the last sweep."""
        return await self._ledger.read(_new_groups) >= NEW_GROUPS

    async def sweep(self) -> Swept:
        """Delete unused groups, and events outside of timelines that nothing refers to."""
        walk, swept = await self._ledger.read(_begin), Swept()
        swept.events += await self._walk_events(walk)
        await self._walk_groups(walk)
        swept.groups = await self._drop_groups(walk)
        swept.events += await self._drop_loose(walk)
        await self._ledger.run(_note_swept, walk.top_group)
        return swept

    async def _walk_events(self, walk: _Walk) -> int:
        after = dropped = 0
        while True:
            rows = await self._ledger.read(_event_rows, after, walk.top_event)
            if not rows:
                return dropped
            stray = [number for number, room, flags, place, _ in rows if _is_stray(walk, number, room, flags, place)]
            for start in range(0, len(stray), pruning.AT_A_TIME):
                dropped += await self._ledger.run(_tidy, stray[start : start + pruning.AT_A_TIME], self._here)
                await self._pause()
            for number, room, flags, place, state in await self._ledger.read(_event_rows, after, walk.top_event):
                if state is not None:
                    walk.used.add(state)
                elif place is None and flags & Flags.OUTLIER and room in walk.edges:
                    walk.loose.append(number)
                after = number
            await self._pause()

    async def _walk_groups(self, walk: _Walk) -> None:
        # What was made since the walk began is in use, and made from what was in use then.
        walk.used |= await self._ledger.read(_current_groups, walk.top_group)
        walk.needed = set(walk.used)
        # The group before an event is the parent of the one after it.
        parents = await self._parents_of(list(walk.used))
        queue = [parent for parent, _ in parents.values() if parent and parent not in walk.needed]
        queue = [*walk.used, *queue]
        walk.needed.update(queue)
        while queue:
            above = await self._parents_of(queue)
            queue = [parent for parent, depth in above.values() if depth and parent and parent not in walk.needed]
            walk.needed.update(queue)

    async def _parents_of(self, groups: list[int]) -> dict[int, tuple[int, int]]:
        found: dict[int, tuple[int, int]] = {}
        for start in range(0, len(groups), _PAGE):
            found.update(await self._ledger.read(_parents, groups[start : start + _PAGE]))
            await self._pause()
        return found

    async def _drop_groups(self, walk: _Walk) -> int:
        after = dropped = 0
        while True:
            numbers = await self._ledger.read(_group_numbers, after, walk.top_group)
            if not numbers:
                return dropped
            after = numbers[-1]
            unused = [number for number in numbers if number not in walk.needed]
            for start in range(0, len(unused), 200):
                await self._ledger.run(_drop_groups, unused[start : start + 200])
                await self._pause()
            dropped += len(unused)

    async def _drop_loose(self, walk: _Walk) -> int:
        """Delete superseded state that only the past knew."""
        candidates: set[int] = set()
        for start in range(0, len(walk.loose), _PAGE // 4):
            candidates |= await self._ledger.read(_deletable, walk.loose[start : start + _PAGE // 4])
            await self._pause()
        after = 0
        while candidates:
            found = await self._ledger.read(_held_by_groups, after)
            if found is None:
                break
            after, held = found
            candidates -= held
            await self._pause()
        dropped, waiting = 0, sorted(candidates)
        for start in range(0, len(waiting), pruning.AT_A_TIME):
            dropped += await self._ledger.run(_drop_state, waiting[start : start + pruning.AT_A_TIME], after)
            await self._pause()
        return dropped


def _new_groups(index: Index) -> int:
    newest = index.value("SELECT max(number) FROM state_groups") or 0
    return int(newest) - int(index.value("SELECT place FROM history WHERE room = ?", GROUPS_SWEPT) or 0)


def _begin(index: Index) -> _Walk:
    edges = {
        room: index.value("SELECT number FROM events WHERE room = ? AND place >= ? ORDER BY place LIMIT 1", room, place)
        for room, place in index.rows("SELECT room, place FROM history WHERE room > 0 ORDER BY room")
    }
    return _Walk(
        top_event=int(index.value("SELECT max(number) FROM events") or 0),
        top_group=int(index.value("SELECT max(number) FROM state_groups") or 0),
        edges={room: number for room, number in edges.items() if number is not None},
        used={group for (group,) in index.rows("SELECT state FROM rooms ORDER BY number")},
    )


def _event_rows(index: Index, after: int, top: int) -> list[tuple[int, int, int, int | None, int | None]]:
    return [
        (row[0], row[1], row[2], row[3], row[4])
        for row in index.rows(
            "SELECT number, room, flags, place, state FROM events WHERE number > ? AND number <= ?"
            " ORDER BY number LIMIT ?",
            after,
            top,
            _PAGE,
        )
    ]


def _is_stray(walk: _Walk, number: int, room: int, flags: int, place: int | None) -> bool:
    """Return whether an event was refused, or was an extremity once, and all around it is history."""
    return place is None and not flags & Flags.OUTLIER and number < walk.edges.get(room, 0)


def _tidy(change: Change, numbers: Iterable[int], here: ServerName) -> int:
    dropped = 0
    for number in numbers:
        stored = graph.by_number(change, number)
        room = graph.row(change, RoomId(stored.room_id))
        if room is None or not pruning.is_settled(change, room.number):
            continue
        if pruning.is_pinned(change, room, stored, here):
            continue
        if (stored.event.is_state and not stored.rejected) or pruning.redacts_something_here(change, stored):
            pruning.retire(change, stored)
        else:
            pruning.drop(change, stored)
            dropped += 1
    return dropped


def _current_groups(index: Index, above: int) -> set[int]:
    rows = index.rows(
        "SELECT state FROM rooms UNION SELECT number FROM state_groups WHERE number > ? ORDER BY state", above
    )
    return {group for (group,) in rows}


def _parents(index: Index, groups: Iterable[int]) -> dict[int, tuple[int, int]]:
    found = ((group, index.row("SELECT parent, depth FROM state_groups WHERE number = ?", group)) for group in groups)
    return {group: (row[0], row[1]) for group, row in found if row is not None}


def _group_numbers(index: Index, after: int, top: int) -> list[int]:
    rows = index.rows(
        "SELECT number FROM state_groups WHERE number > ? AND number <= ? ORDER BY number LIMIT ?", after, top, _PAGE
    )
    return [number for (number,) in rows]


def _drop_groups(change: Change, numbers: Iterable[int]) -> None:
    for number in numbers:
        change.write(DROP_GROUP, number)


def _deletable(index: Index, numbers: Iterable[int]) -> set[int]:
    found: set[int] = set()
    for number in numbers:
        if index.row("SELECT 1 FROM events WHERE number = ?", number) is None:
            continue
        event = graph.by_number(index, number).event
        if event.is_state and event.type not in AUTH_TYPES:
            found.add(number)
    return found


def _held_by_groups(index: Index, after: int) -> tuple[int, set[int]] | None:
    """Return (the last group read, the events that groups after `after` hold), None after the last group."""
    rows = index.rows("SELECT number, delta FROM state_groups WHERE number > ? ORDER BY number LIMIT ?", after, _GROUPS)
    if not rows:
        return None
    return rows[-1][0], {event for _, delta in rows for _, _, event in _ENTRY.iter_unpack(delta)}


def _drop_state(change: Change, numbers: Iterable[int], groups_read: int) -> int:
    held: set[int] = set()
    after = groups_read
    # What came since the walk is little, and has to be looked at in the same step.
    while (found := _held_by_groups(change, after)) is not None:
        after, more = found
        held |= more
    dropped = 0
    for number in numbers:
        row = change.row("SELECT room, flags, place, state FROM events WHERE number = ?", number)
        if row is None or row[2] is not None or row[3] is not None or number in held:
            continue
        if pruning.is_settled(change, row[0]):
            pruning.drop(change, graph.by_number(change, number))
            dropped += 1
    return dropped


def _note_swept(change: Change, top_group: int) -> None:
    change.write(NOTE_HISTORY, GROUPS_SWEPT, top_group, 0)
