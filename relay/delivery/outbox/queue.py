"""What waits for one destination, as plain functions: events are a cursor over the rooms, the rest are rows.

A cursor is the number of the last departure a destination has. To-device messages and device updates stand in
`outbox_edu` until they have arrived.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from relay.base.ids import ServerName, UserId, server_of
from relay.base.limits import (
    MAX_TRANSACTION_BYTES,
    MAX_TRANSACTION_EDUS,
    MAX_TRANSACTION_PDUS,
)
from relay.core.matrix import canonical_json
from relay.delivery.outbox import tables
from relay.rooms.matrix.storage import departures
from relay.store.ledger import Change, Index

OUTBOX = ("outbox",)
"""The topic rung by a change that leaves something for another server."""

SCAN_PAGE = 200
"""How many departures one look takes."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a destination has come, as its row says."""

    cursor: int
    failing_since_ms: int | None = None
    heard_ms: int = 0
    queued_bytes: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Flight:
    """Which events and rows one transaction holds: enough to build the very same one again.

    Attributes:
        events_to: it holds the departures after the cursor up to this one.
        edus_to: it holds the waiting rows up to this (position, place); (0, 0) where it holds none.
        count: how many things it holds: a rebuilt one with another count is another transaction.
    """

    transaction_id: str
    made_ms: int
    events_to: int
    edus_to: tuple[int, int]
    count: int


@dataclass(frozen=True, slots=True)
class Batch:
    """The next things for a destination, at most what one transaction may hold.

    Attributes:
        events_to: the cursor after them; events up to there that are not in `pdus` are not for this destination.
        more: whether something is left after this batch.
    """

    pdus: list[Json]
    edus: list[Json]
    events_to: int
    edus_to: tuple[int, int] = (0, 0)
    more: bool = False


def standing(index: Index, server: ServerName) -> Standing:
    """Return how far `server` has come; one that is new starts where everything has been looked at."""
    row = index.row(
        "SELECT cursor, failing_since_ms, heard_ms, queued_bytes, dropped FROM outbox_destination WHERE server = ?",
        index.find(server),
    )
    return Standing(dispatched(index)) if row is None else Standing(*row)


def all_standings(index: Index) -> dict[ServerName, Standing]:
    """Return every destination that has a row."""
    rows = index.rows(
        "SELECT server, cursor, failing_since_ms, heard_ms, queued_bytes, dropped FROM outbox_destination"
        " ORDER BY server"
    )
    return {ServerName(index.name(row[0])): Standing(*row[1:]) for row in rows}


def dispatched(index: Index) -> int:
    """Return the departure up to which everything has been looked at for every destination without a row."""
    return index.value("SELECT dispatched FROM outbox_state WHERE one = 1") or 0


def with_rows_waiting(index: Index) -> list[ServerName]:
    """Return the destinations that something other than events waits for."""
    rows = index.rows("SELECT server FROM outbox_destination WHERE queued_bytes > 0 ORDER BY server")
    return [ServerName(index.name(row[0])) for row in rows]


def next_batch(index: Index, server: ServerName, cursor: int) -> Batch:
    """Return what comes next for `server`; a page of events that are its own may hold nothing and still have `more`."""
    pdus, events_to, more_events = _next_events(index, server, cursor)
    rows, more_rows = _next_rows(index, server)
    edus = [{"edu_type": kind, "content": orjson.loads(content)} for _, _, kind, content in rows]
    edus_to = (rows[-1][0], rows[-1][1]) if rows else (0, 0)
    return Batch(pdus, edus, events_to, edus_to, more_events or more_rows)


def same_batch(index: Index, server: ServerName, cursor: int, flight: Flight) -> Batch:
    """Return once more what `flight` held; less of it if the destination may not have some of it any more."""
    pdus = [
        dict(departure.event.raw)
        for departure in departures.since(index, server, cursor, SCAN_PAGE)
        if departure.number <= flight.events_to and server_of(departure.event.sender) != server
    ]
    rows = index.rows(
        "SELECT kind, content FROM outbox_edu WHERE server = ? AND (position, place) <= (?, ?)"
        " ORDER BY position, place",
        index.find(server),
        *flight.edus_to,
    )
    edus = [{"edu_type": kind, "content": orjson.loads(content)} for kind, content in rows]
    return Batch(pdus[:MAX_TRANSACTION_PDUS], edus, flight.events_to, flight.edus_to)


def _next_events(index: Index, server: ServerName, cursor: int) -> tuple[list[Json], int, bool]:
    page = departures.since(index, server, cursor, MAX_TRANSACTION_PDUS)
    pdus = [dict(found.event.raw) for found in page if server_of(found.event.sender) != server]
    if len(page) < MAX_TRANSACTION_PDUS:
        return pdus, max(cursor, departures.newest(index)), False
    return pdus, page[-1].number, True


def _next_rows(index: Index, server: ServerName) -> tuple[list[tuple[int, int, str, bytes]], bool]:
    found = index.rows(
        "SELECT position, place, kind, content FROM outbox_edu WHERE server = ? ORDER BY position, place LIMIT ?",
        index.find(server),
        MAX_TRANSACTION_EDUS + 1,
    )
    rows: list[tuple[int, int, str, bytes]] = []
    size_bytes = 0
    for row in found[:MAX_TRANSACTION_EDUS]:
        size_bytes += len(row[3])
        if rows and size_bytes > MAX_TRANSACTION_BYTES:
            break
        rows.append((row[0], row[1], row[2], row[3]))
    return rows, len(rows) < len(found)


def flight(index: Index, server: ServerName) -> Flight | None:
    """Return the transaction that was under way when the box stopped."""
    row = index.row(
        "SELECT transaction_id, made_ms, events_to, edu_position, edu_place, count FROM outbox_flight WHERE server = ?",
        index.find(server),
    )
    return None if row is None else Flight(row[0], row[1], row[2], (row[3], row[4]), row[5])


def take_off(change: Change, server: ServerName, cursor: int, under_way: Flight) -> None:
    """Remember what is about to be sent; written with the next commit."""
    number = change.intern(server)
    change.write(tables.HEAR, number, cursor, 0)
    change.write(
        tables.TAKE_OFF,
        number,
        under_way.transaction_id,
        under_way.made_ms,
        under_way.events_to,
        *under_way.edus_to,
        under_way.count,
    )


def failed(change: Change, server: ServerName, cursor: int, now_ms: int) -> None:
    """Note since when a destination does not answer; written with the next commit."""
    change.write(tables.FAIL, change.intern(server), cursor, now_ms)


def looked_at(
    change: Change, dispatched_to: int, cursors: Mapping[ServerName, int], idle: Collection[ServerName]
) -> None:
    """Note that everything up to `dispatched_to` has been dispatched, so that a start need not look at it again.

    `cursors` are destinations at work and how far they are, `idle` those that have everything.
    """
    for server, cursor in sorted(cursors.items()):
        change.write(tables.HEAR, change.intern(server), cursor, 0)
    numbers = {change.find(server) for server in idle}
    for (number,) in change.rows(
        "SELECT server FROM outbox_destination WHERE cursor < ? ORDER BY cursor, server LIMIT 200", dispatched_to
    ):
        if number in numbers:
            change.write(tables.CATCH_UP, number, dispatched_to)
    change.write(tables.DISPATCHED, dispatched_to)


def arrived(change: Change, server: ServerName, under_way: Flight, now_ms: int) -> None:
    """Note that the peer has what `under_way` held; written with the next commit."""
    number = change.intern(server)
    change.write(tables.ADVANCE, number, under_way.events_to, now_ms)
    if under_way.edus_to > (0, 0):
        gone = change.value(
            "SELECT sum(length(content)) FROM outbox_edu WHERE server = ? AND (position, place) <= (?, ?)",
            number,
            *under_way.edus_to,
        )
        change.write(tables.DROP_EDUS, number, *under_way.edus_to)
        change.write(tables.UNCOUNT_EDUS, number, gone or 0)
    change.write(tables.TOUCH_DOWN, number, under_way.transaction_id)


def enqueue(change: Change, server: ServerName, kind: str, content: Json, *, replaces: UserId | None = None) -> None:
    """Let an EDU wait for `server`; it leaves once this change is durable.

    `replaces` says whose update this is; `take_replaced` finds it by that.

    Raises:
        NotCanonicalError: the content could not be signed: refused now, as later it would block the outbox.
    """
    number = change.intern(server)
    subject = 0 if replaces is None else change.intern(replaces)
    stored = canonical_json.encode(content)
    place = change.value(
        "SELECT coalesce(max(place) + 1, 0) FROM outbox_edu WHERE server = ? AND position = ?", number, change.position
    )
    change.write(tables.ADD_EDU, number, change.position, place, kind, subject, stored)
    change.write(tables.COUNT_EDU, number, dispatched(change), len(stored))
    change.wake(OUTBOX)


def take_replaced(change: Change, server: ServerName, kind: str, user: UserId) -> Json | None:
    """Remove the update of `user` that waits for `server` and is not under way, and return it."""
    number, subject = change.find(server), change.find(user)
    if number is None or subject is None:
        return None
    row = change.row(
        "SELECT e.position, e.place, e.content FROM outbox_edu e LEFT JOIN outbox_flight f ON f.server = e.server"
        " WHERE e.server = ? AND e.kind = ? AND e.subject = ?"
        " AND (f.server IS NULL OR (e.position, e.place) > (f.edu_position, f.edu_place))"
        " ORDER BY e.position DESC, e.place DESC LIMIT 1",
        number,
        kind,
        subject,
    )
    if row is None:
        return None
    change.write(tables.REPLACE_EDU, number, row[0], row[1])
    change.write(tables.COUNT_DROPPED, number, len(row[2]), 0)
    replaced: Json = orjson.loads(row[2])
    return replaced


def is_over_quota(index: Index, quota_bytes: int, total_bytes: int) -> bool:
    """Return whether one destination, or all together, keep more waiting than they may."""
    row = index.row("SELECT max(queued_bytes), sum(queued_bytes) FROM outbox_destination")
    return row is not None and ((row[0] or 0) > quota_bytes or (row[1] or 0) > total_bytes)


def keep_quota(change: Change, quota_bytes: int, total_bytes: int) -> None:
    """Drop and count the oldest rows of one destination that keeps more waiting than it may; call until it is kept.

    Where all together are too much it is the one that has been silent longest.
    """
    worst = change.row("SELECT server, queued_bytes FROM outbox_destination ORDER BY queued_bytes DESC, server LIMIT 1")
    if worst is not None and worst[1] > quota_bytes:
        _drop_oldest(change, worst[0], worst[1] - quota_bytes)
        return
    total = change.value("SELECT coalesce(sum(queued_bytes), 0) FROM outbox_destination")
    if total > total_bytes:
        # Whoever has been silent longest is the least likely to come back for it.
        dead = change.value(
            "SELECT server FROM outbox_destination WHERE queued_bytes > 0"
            " ORDER BY failing_since_ms IS NULL, failing_since_ms, server LIMIT 1"
        )
        _drop_oldest(change, dead, total - total_bytes)


def _drop_oldest(change: Change, number: int, too_many_bytes: int) -> None:
    under_way = change.row("SELECT edu_position, edu_place FROM outbox_flight WHERE server = ?", number) or (0, 0)
    rows = change.rows(
        "SELECT position, place, length(content) FROM outbox_edu WHERE server = ? AND (position, place) > (?, ?)"
        " ORDER BY position, place LIMIT 100",
        number,
        *under_way,
    )
    if not rows:
        # Everything that waits is under way: nothing can go, and the count is not what it says.
        freed = change.value("SELECT coalesce(sum(length(content)), 0) FROM outbox_edu WHERE server = ?", number)
        change.write(tables.RECOUNT, number, freed)
        return
    freed, count = 0, 0
    for position, place, size_bytes in rows:
        if freed >= too_many_bytes:
            break
        change.write(tables.REPLACE_EDU, number, position, place)
        freed += size_bytes
        count += 1
    change.write(tables.COUNT_DROPPED, number, freed, count)
