"""States of a room, stored as deltas on each other with bounded chains.

A group is immutable once committed. The group after a state event is a child of the group before it, which is how
the state before is found again.
"""

import struct
from collections.abc import Iterable

from relay.rooms.matrix.tables import ADD_GROUP
from relay.store.ledger import Change, Index

State = dict[tuple[int, int], int]
"""(interned type, interned state key) -> events.number; in a delta, 0 says that the key is gone."""

EMPTY = 0
"""The group before `m.room.create`; it has no row."""

# Reading a state walks at most this many rows; writing one copies the whole state once in as many state events.
_MOST_DEPTH = 32
_ENTRY = struct.Struct("<III")
_ROW = "SELECT parent, depth, delta FROM state_groups WHERE number = ?"


def load(index: Index, group: int) -> State:
    """Return the whole state of `group`."""
    deltas = list(_chain(index, group))
    state: State = {}
    for delta in reversed(deltas):
        for kind, key, event in _ENTRY.iter_unpack(delta):
            if event:
                state[kind, key] = event
            else:
                state.pop((kind, key), None)
    return state


def look_up(index: Index, group: int, keys: Iterable[tuple[int, int]]) -> State:
    """Return the entries of `group` for those of `keys` that it has."""
    wanted, found = set(keys), State()
    for delta in _chain(index, group):
        # The whole state at the end of the chain is long: go by what is wanted.
        entries = {(kind, key): event for kind, key, event in _ENTRY.iter_unpack(delta)}
        for key_pair in [pair for pair in wanted if pair in entries]:
            wanted.discard(key_pair)
            if entries[key_pair]:
                found[key_pair] = entries[key_pair]
        if not wanted:
            break
    return found


def parent_of(index: Index, group: int) -> int:
    """Return the group that `group` was made from."""
    parent: int = index.value("SELECT parent FROM state_groups WHERE number = ?", group) or EMPTY
    return parent


def child(change: Change, parent: int, delta: State) -> int:
    """Store and return the group that is `parent` with `delta` on top."""
    depth = EMPTY if parent == EMPTY else int(change.value("SELECT depth FROM state_groups WHERE number = ?", parent))
    depth = 0 if parent == EMPTY or depth + 1 > _MOST_DEPTH else depth + 1
    entries = delta
    if depth == 0:
        entries = {key: event for key, event in (load(change, parent) | delta).items() if event}
    number = int(change.value("SELECT max(number) FROM state_groups") or 0) + 1
    packed = b"".join(_ENTRY.pack(kind, key, event) for (kind, key), event in entries.items())
    change.write(ADD_GROUP, number, parent, depth, packed)
    return number


def difference(old: State, new: State) -> State:
    """Return the delta that makes `new` of `old`."""
    delta = {key: event for key, event in new.items() if old.get(key) != event}
    delta.update(dict.fromkeys(old.keys() - new.keys(), 0))
    return delta


def changes_between(index: Index, old: int, new: int) -> State:
    """Return the delta from group `old` to group `new`."""
    if old == new:
        return {}
    row = index.row(_ROW, new)
    if row is not None and row[0] == old and row[1] > 0:
        return {(kind, key): event for kind, key, event in _ENTRY.iter_unpack(row[2])}
    return difference(load(index, old), load(index, new))


def _chain(index: Index, group: int) -> Iterable[bytes]:
    while group != EMPTY:
        row = index.row(_ROW, group)
        if row is None:
            return
        parent, depth, delta = row
        yield delta
        group = parent if depth else EMPTY
