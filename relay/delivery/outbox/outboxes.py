"""One outbox for each destination: order, retry, back-off, catch-up. No destination ever waits for another.

A dispatcher looks at each durable change once and hands its events to the destinations at work; a destination that
was silent reads what it missed from the ledger, oldest first. Only durable facts leave: the dispatcher is woken after
the journal has them, and everything else is read through `Ledger.read`.
"""

import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import TypeVarTuple

import trio

from relay.base.clock import Clock
from relay.base.config import DeliveryConfig
from relay.base.errors import Fault, InvalidInputError, PeerRefusedError, RelayError, StorageError
from relay.base.ids import ServerName, server_of
from relay.base.limits import HOME_AGAIN_KNOCK_PAUSE_S, MIB
from relay.base.log import get_logger, tag
from relay.delivery.outbox import queue
from relay.delivery.outbox.backoff import next_delay_s
from relay.delivery.outbox.lane import Lane
from relay.delivery.outbox.outlet import Outlet
from relay.delivery.outbox.queue import Batch, Flight, Json, Standing
from relay.rooms.matrix.storage import departures
from relay.store.ledger import Change, Index, Ledger

log = get_logger()
Ts = TypeVarTuple("Ts")

_SAVE_EVERY = 500
# A transaction that is refused again and again holds something this peer will never take.
_REFUSALS_BEFORE_SKIP = 8
_HOPELESS = (400, 413)


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look of the dispatcher found."""

    position: int
    events: dict[ServerName, list[tuple[int, Json]]]
    waiting: list[ServerName]
    count: int
    over_quota: bool


class Outboxes:
    """All destinations. `run` serves them until cancelled."""

    def __init__(
        self,
        ledger: Ledger,
        outlet: Outlet,
        clock: Clock,
        server: ServerName,
        config: DeliveryConfig,
        *,
        jitter: Callable[[], float] = lambda: secrets.randbelow(1024) / 1024,
        may_leave: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    ) -> None:
        self._ledger = ledger
        self._outlet = outlet
        self._clock = clock
        self._server = server
        self._config = config
        self._quotas_bytes = (config.to_device_quota_mib * MIB, config.to_device_total_mib * MIB)
        self._give_up_s = config.give_up_after_days * 86_400
        self._jitter = jitter
        # Returns when anything can leave at all: waiting for that is nobody's failure.
        self._may_leave = may_leave
        self._lanes: dict[ServerName, Lane] = {}
        # Who has everything up to `_dispatched`: those need no look into the ledger before the next event.
        self._level: set[ServerName] = set()
        self._met: set[ServerName] = set()
        self._dispatched = 0
        self._unsaved = 0
        self._counter = 0
        self._retries = trio.CapacityLimiter(config.concurrent_destinations)
        self._nursery: trio.Nursery | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve every destination, those with a backlog from an earlier run included, until cancelled."""
        with self._ledger.watch(queue.OUTBOX) as watch:
            self._dispatched = await self._ledger.read(departures.newest)
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for server in await self._ledger.read(_unfinished):
                    self._lane(server)
                task_status.started()
                while True:
                    await watch.wait()
                    await self._dispatch()

    def peer_seen(self, server: ServerName) -> None:
        """Note that `server` spoke to us: it is up, so what waits for it goes now."""
        lane = self._lanes.get(server)
        if lane is not None:
            lane.heard.set()

    def send_volatile(self, servers: Iterable[ServerName], key: tuple[str, ...], edu: Json) -> None:
        """Send an EDU that a power cut may lose; a newer one of the same key takes its place while it waits."""
        for server in servers:
            if server == self._server:
                continue
            self._lane(server).put_volatile(key, edu)

    async def greet(self, server: ServerName) -> None:
        """Let `server` hear from us once in this run, with what waits for it or with nothing.

        Returns after the first attempt; a server that has heard from us already is left in peace.
        """
        if server in self._met:
            return
        lane = self._lane(server)
        lane.greeting = True
        await lane.attempted.wait()

    def call_back(self, server: ServerName) -> None:
        """Let `server` hear from us again: it was turned away, and is welcome now."""
        self._lane(server).greeting = True

    async def knock(self, server: ServerName, edus: list[Json]) -> None:
        """Send `edus` alone and at once, again and again until `server` takes them or turns out to be away."""
        await self._may_leave()
        with suppress(RelayError):
            while True:
                try:
                    await self._outlet.send(server, self._transaction_id(), [], edus, self._clock.wall_ms())
                except PeerRefusedError:
                    # It may still be busy with a transaction of the life before.
                    await trio.sleep(HOME_AGAIN_KNOCK_PAUSE_S)
                else:
                    return

    async def status(self) -> Mapping[ServerName, Standing]:
        """Return every destination with what waits for it, what was dropped, and since when it is silent."""
        return await self._ledger.read(queue.all_standings)

    async def _dispatch(self) -> None:
        while True:
            look = await self._ledger.read(_look, self._dispatched, *self._quotas_bytes)
            before, self._dispatched = self._dispatched, look.position
            for server, events in look.events.items():
                self._lane(server, level_at=before).offer(events)
            for server in look.waiting:
                self._lane(server, level_at=before).rows = True
            if look.over_quota:
                await self._note(queue.keep_quota, *self._quotas_bytes)
            self._unsaved += look.count
            if look.count < queue.SCAN_PAGE:
                break
        if self._unsaved >= _SAVE_EVERY:
            self._unsaved = 0
            cursors = {lane.server: lane.cursor for lane in self._lanes.values()}
            await self._note(queue.looked_at, self._dispatched, cursors, self._level)

    def _lane(self, server: ServerName, level_at: int | None = None) -> Lane:
        lane = self._lanes.get(server)
        if lane is None:
            at = self._dispatched if level_at is None else level_at
            lane = Lane(server, cursor=at, seen=at, live=server in self._level)
            self._level.discard(server)
            self._lanes[server] = lane
            if self._nursery is None:
                raise RuntimeError("the outboxes do not run")
            self._nursery.start_soon(self._serve, lane)
        return lane

    async def _serve(self, lane: Lane) -> None:
        if not lane.live:
            standing, lane.flight = await self._ledger.read(_start_of, lane.server)
            lane.cursor = standing.cursor
            lane.failing_since_ms = standing.failing_since_ms
        while True:
            while not lane.idle:
                await self._may_leave()
                await self._serve_carefully(lane)
            await self._note_landed(lane)
            # No await from here to the end: whatever rang meanwhile is seen, whatever rings later makes a new lane.
            if lane.idle:
                break
        lane.attempted.set()
        self._level.add(lane.server)
        del self._lanes[lane.server]

    async def _serve_carefully(self, lane: Lane) -> None:
        try:
            await self._serve_once(lane)
        except Exception as error:  # noqa: BLE001 - what one destination trips over must not stop the others
            # Without the traceback's text: values in it are private.
            log.error("delivery.lane_failed", peer_tag=tag(lane.server), error=type(error).__name__)  # noqa: TRY400
            await self._failed(lane, RelayError("internal error"))

    async def _serve_once(self, lane: Lane) -> None:
        # By the time that this run has waited, not by the clock on the wall: that one may jump by years.
        if lane.waited_from_s is not None and trio.current_time() - lane.waited_from_s > self._give_up_s:
            await self._give_up_events(lane)
        batch, flight = await self._next(lane)
        if flight is not None:
            await self._attempt(lane, batch, flight)
        elif lane.volatile or (lane.greeting and lane.live):
            await self._attempt_volatile(lane)

    async def _next(self, lane: Lane) -> tuple[Batch, Flight | None]:
        if lane.flight is not None:
            batch = await self._ledger.read(queue.same_batch, lane.server, lane.cursor, lane.flight)
            if len(batch.pdus) + len(batch.edus) == lane.flight.count:
                return batch, lane.flight
            lane.flight = None
            lane.lose_track()
        if lane.live and not lane.rows:
            batch = lane.take_fresh()
        else:
            await self._note_landed(lane)
            lane.rows = False  # before the read: what comes to wait during it rings again
            batch = await self._ledger.read(queue.next_batch, lane.server, lane.cursor)
            lane.follow(batch, self._dispatched)
        if not batch.pdus and not batch.edus:
            lane.cursor = batch.events_to
            return batch, None
        return batch, self._new_flight(batch)

    def _new_flight(self, batch: Batch) -> Flight:
        count = len(batch.pdus) + len(batch.edus)
        return Flight(self._transaction_id(), self._clock.wall_ms(), batch.events_to, batch.edus_to, count)

    async def _attempt(self, lane: Lane, batch: Batch, flight: Flight) -> None:
        lane.flight = flight
        try:
            async with trio.open_nursery() as nursery:
                if lane.recorded != flight.transaction_id:
                    nursery.start_soon(self._take_off, lane, flight)
                await self._send(lane, flight.transaction_id, batch.pdus, batch.edus, flight.made_ms)
        except* RelayError as group:
            error = next((one for one in group.exceptions if isinstance(one, RelayError)), RelayError("internal error"))
            await self._failed(lane, error)
        else:
            lane.flight = None
            lane.cursor = max(lane.cursor, flight.events_to)
            lane.landed = flight

    async def _attempt_volatile(self, lane: Lane) -> None:
        edus, greeting = lane.take_volatile(), lane.greeting
        try:
            await self._send(lane, self._transaction_id(), [], list(edus.values()), self._clock.wall_ms())
        except RelayError as error:
            lane.put_back(edus)
            lane.greeting = greeting
            await self._failed(lane, error)

    async def _send(self, lane: Lane, transaction_id: str, pdus: list[Json], edus: list[Json], made_ms: int) -> None:
        place: AbstractAsyncContextManager[object] = self._retries if lane.failures else nullcontext()
        async with place:
            lane.heard = trio.Event()
            reply = await self._outlet.send(lane.server, transaction_id, pdus, edus, made_ms)
        lane.failures = lane.refusals = lane.hopes = 0
        lane.failing_since_ms = lane.waited_from_s = None
        lane.greeting = False
        self._met.add(lane.server)
        lane.attempted.set()
        refused = sum(1 for result in _results(reply) if "error" in result)
        if refused:
            log.info("delivery.events_refused", peer_tag=tag(lane.server), count=refused)

    async def _failed(self, lane: Lane, error: RelayError) -> None:
        lane.attempted.set()
        lane.forget_typing()
        lane.failures += 1
        now_ms = self._clock.wall_ms()
        if lane.waited_from_s is None:
            lane.waited_from_s = trio.current_time()
        if lane.failing_since_ms is None:
            lane.failing_since_ms = now_ms
            await self._note(queue.failed, lane.server, lane.cursor, now_ms)
        lane.refusals += _is_hopeless(error)
        if lane.refusals >= _REFUSALS_BEFORE_SKIP and lane.flight is not None:
            log.warning("delivery.transaction_skipped", peer_tag=tag(lane.server), code=error.code)
            lane.cursor = max(lane.cursor, lane.flight.events_to)
            lane.landed, lane.flight, lane.refusals = lane.flight, None, 0
        delay_s = next_delay_s(lane.failures, self._config, jitter=self._jitter(), asked_s=error.retry_after_s)
        log.info(
            "delivery.deferred", peer_tag=tag(lane.server), code=error.code, failures=lane.failures, delay_s=delay_s
        )
        await self._wait(lane, delay_s)

    async def _wait(self, lane: Lane, delay_s: float) -> None:
        with trio.move_on_after(delay_s):
            # A peer that talks to us and does not answer us would otherwise be tried with its every request.
            await trio.sleep(min(self._config.retry_first_s / 2 * 2**lane.hopes, delay_s))
            await lane.heard.wait()
            lane.failures = lane.failures if lane.hopes else 0
            lane.hopes = min(lane.hopes + 1, 6)

    async def _give_up_events(self, lane: Lane) -> None:
        position = await self._ledger.read(departures.newest)
        if lane.cursor < position:
            # Its to-device messages go on waiting, under a new transaction.
            lane.flight = None
        lane.lose_track()
        lane.cursor = max(lane.cursor, position)
        await self._note(queue.looked_at, self._dispatched, {}, [lane.server])

    async def _take_off(self, lane: Lane, flight: Flight) -> None:
        landed, lane.landed = lane.landed, None
        lane.recorded = flight.transaction_id

        def note(change: Change, now_ms: int) -> None:
            if landed is not None:
                queue.arrived(change, lane.server, landed, now_ms)
            queue.take_off(change, lane.server, lane.cursor, flight)

        await self._note(note, self._clock.wall_ms())

    async def _note_landed(self, lane: Lane) -> None:
        landed, lane.landed = lane.landed, None
        if landed is not None:
            await self._note(queue.arrived, lane.server, landed, self._clock.wall_ms())

    async def _note(self, step: Callable[[Change, *Ts], None], *args: *Ts) -> None:
        # All of it is lazy: it spares work after a restart. A box whose flash refuses writes goes on sending.
        try:
            await self._ledger.run_early(step, *args)
        except StorageError as error:
            log.warning("delivery.note_failed", code=error.code)

    def _transaction_id(self) -> str:
        self._counter += 1
        return f"{self._ledger.boot}.{self._counter}"


def _unfinished(index: Index) -> list[ServerName]:
    """Return the destinations that a transaction was under way to, or that rows wait for."""
    rows = index.rows(
        "SELECT server FROM outbox_flight UNION SELECT server FROM outbox_destination WHERE queued_bytes > 0"
    )
    return sorted(ServerName(index.name(row[0])) for row in rows)


def _start_of(index: Index, server: ServerName) -> tuple[Standing, Flight | None]:
    return queue.standing(index, server), queue.flight(index, server)


def _look(index: Index, after: int, quota_bytes: int, total_bytes: int) -> _Look:
    page = departures.recipients(index, after, queue.SCAN_PAGE)
    events: dict[ServerName, list[tuple[int, Json]]] = {}
    for departure, servers in page:
        for server in sorted(servers - {server_of(departure.event.sender)}):
            events.setdefault(server, []).append((departure.number, dict(departure.event.raw)))
    return _Look(
        position=page[-1][0].number if page else after,
        events=events,
        waiting=queue.with_rows_waiting(index),
        count=len(page),
        over_quota=queue.is_over_quota(index, quota_bytes, total_bytes),
    )


def _is_hopeless(error: RelayError) -> bool:
    """Return whether the very same transaction will hardly ever get through."""
    if isinstance(error, PeerRefusedError):
        return error.status in _HOPELESS
    return isinstance(error, InvalidInputError) or error.fault is Fault.BUG


def _results(reply: Json) -> list[Json]:
    results = reply.get("pdus")
    return [result for result in results.values() if isinstance(result, dict)] if isinstance(results, dict) else []
