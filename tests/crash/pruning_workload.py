"""A room whose past is let go while others still wait for some of it, and the check of what a restart finds."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import apsw

from relay.app.house import TABLES
from relay.base.config import Config, StoreConfig
from relay.base.errors import RelayError
from relay.base.ids import DeviceId, EventId, RoomId, ServerName, UserId
from relay.delivery.outbox import queue
from relay.delivery.outbox import tables as outbox
from relay.delivery.pruning.marks import DAY_MS
from relay.delivery.pruning.pruner import Pruner
from relay.household import accounts, acknowledged, devices
from relay.rooms.matrix import receipts, signing_key, timeline
from relay.rooms.matrix.deciding.writer import InitialEvent, RoomPlan, RoomWriter
from relay.rooms.matrix.storage import departures, graph
from relay.rooms.matrix.tables import PUT_ROOM_SERVER
from relay.store.files import FileLayer
from relay.store.index import Index
from relay.store.index_file import IndexFile
from relay.store.journal import Journal
from relay.store.ledger import Change, Ledger
from relay.store.names import Names
from relay.store.replay import recover
from relay.store.tables import STORE_TABLES
from tests.fakes.clock import FakeClock
from tests.fakes.files import MemoryFiles
from tests.fakes.graph_check import flaws
from tests.fakes.ledger import FOLDER, KEYRING, SEGMENT_BYTES, memory_ledger

HERE, FAR = ServerName("box.test"), ServerName("far.test")
ANN, PHONE = UserId("@ann:box.test"), DeviceId("PHONE")
CONFIG = StoreConfig(journal_segments=6, checkpoint_journal_mib=1)
_A_ROUND = 8
_NOWHERE = RoomId("")


@dataclasses.dataclass(slots=True)
class Told:
    """What was acknowledged, what was delivered, and after how many recorded events.

    Attributes:
        room: the one room.
        said: message -> when it was acknowledged.
        far_may_have: message -> when the other server began to have it.
        phone_may_have: message -> when the app began to have it.
    """

    room: RoomId = _NOWHERE
    said: dict[EventId, int] = dataclasses.field(default_factory=dict)
    far_may_have: dict[EventId, int] = dataclasses.field(default_factory=dict)
    phone_may_have: dict[EventId, int] = dataclasses.field(default_factory=dict)
    let_go: int = 0


async def play(files: MemoryFiles, rounds: int, *, careless: bool = False) -> Told:
    """Say things, deliver some of them late, and prune all the time; `careless` prunes what is not delivered too."""
    told, clock = Told(), FakeClock()
    retention = {"days": 1, "least_days": 0, "device_days": 30}
    config = Config.parse({"server": {"name": HERE}, "retention": retention})
    async with memory_ledger(*TABLES, files=files, config=CONFIG) as ledger:
        key = await signing_key.own_key(ledger, clock.now_ms)
        writer = RoomWriter(ledger, HERE, key, clock)
        pruner = Pruner(ledger, config, clock, HERE, budget_bytes=1 << 40, pause_s=0)
        told.room = await _settle_in(ledger, writer, clock)
        for number in range(rounds):
            await _say(files, writer, told, number)
            await _deliver(files, ledger, told, number, careless=careless)
            clock.now_ms += 2 * DAY_MS
            await ledger.run(devices.touch, ANN, PHONE, clock.now_ms)
            told.let_go += (await pruner.look(at_once=True)).events
            if number % 4 == 3:
                await ledger.checkpoint()
    return told


async def _settle_in(ledger: Ledger, writer: RoomWriter, clock: FakeClock) -> RoomId:
    def people(change: Change) -> None:
        accounts.create(change, ANN, "no password", clock.now_ms)
        devices.ensure(change, ANN, PHONE, None, clock.now_ms)

    def let_far_in(change: Change, room: RoomId) -> None:
        held = graph.row(change, room)
        assert held is not None
        newest = change.value("SELECT max(number) FROM events")
        change.write(PUT_ROOM_SERVER, held.number, change.intern(FAR), 1, newest)
        change.write(outbox.ADVANCE, change.intern(FAR), newest, 1)

    await ledger.run(people)
    room = await writer.create(ANN, RoomPlan(version="12", events=[InitialEvent("m.room.power_levels", "", {})]))
    await ledger.run(let_far_in, room)
    return room


async def _say(files: MemoryFiles, writer: RoomWriter, told: Told, number: int) -> None:
    for place in range(_A_ROUND):
        content: dict[str, Any] = {"msgtype": "m.text", "body": f"{number} {place}"}
        event_id = await writer.send(told.room, ANN, "m.room.message", content)
        told.said[event_id] = len(files.events)
    topic = await writer.send(told.room, ANN, "m.room.topic", {"topic": f"{number}"}, state_key="")
    if number % 3 == 1:
        await writer.send(told.room, ANN, "m.room.redaction", {"redacts": topic}, redacts=topic)


async def _deliver(files: MemoryFiles, ledger: Ledger, told: Told, number: int, *, careless: bool) -> None:
    """Let the other server and the app have what is older than a round or two; only sometimes."""
    old = list(told.said)[: max(0, (number - number % 2) * _A_ROUND - 4)]
    if not old and not careless:
        return
    if not careless:
        _note(told.far_may_have, old, files)
        _note(told.phone_may_have, old, files)

    def arrive(change: Change) -> None:
        last = old[-1] if not careless else list(told.said)[-1]
        stored = graph.event(change, last)
        if stored is None:
            return
        change.write(outbox.ADVANCE, change.intern(FAR), stored.number, 1)
        acknowledged.note(change, ANN, PHONE, stored.position)
        receipts.set_receipt(change, told.room, ANN, "m.read", last, None, 1)

    await ledger.run(arrive)


def _note(when: dict[EventId, int], messages: list[EventId], files: MemoryFiles) -> None:
    for event_id in messages:
        when.setdefault(event_id, len(files.events))


def broken_promises(files: FileLayer, told: Told, events: int) -> list[str]:
    """Return what was promised within the first `events` recorded events and does not hold in `files`."""
    try:
        return list(_look(files, told, events))
    except (RelayError, AssertionError, KeyError, apsw.Error) as error:
        return [f"{type(error).__name__}: {error}"]


def _look(files: FileLayer, told: Told, events: int) -> Iterator[str]:
    journal = Journal(
        files, FOLDER / "journal", KEYRING.journal_key, segments=CONFIG.journal_segments, segment_bytes=SEGMENT_BYTES
    )
    file = IndexFile(FOLDER / "index.db", KEYRING.index_key, (STORE_TABLES, *TABLES), files)
    try:
        position, _ = recover(journal, file)
        names = Names(file)
        names.load()
        index = Index(file, names, position)
        yield from flaws(index)
        yield from _lost(index, told, events)
    finally:
        file.close()
        journal.close()


def _lost(index: Index, told: Told, events: int) -> Iterator[str]:
    cursor = queue.standing(index, FAR).cursor
    leaving = {one.event.event_id for one in departures.since(index, FAR, cursor, 100_000)}
    page = timeline.page(index, told.room, None, None, backwards=False, limit=100_000)
    shown = {stored.event_id for stored in page.events}
    for event_id, at in told.said.items():
        if at > events:
            continue
        if told.far_may_have.get(event_id, events + 1) > events and event_id not in leaving:
            yield f"{event_id} never reaches the other server"
        if told.phone_may_have.get(event_id, events + 1) > events and event_id not in shown:
            yield f"{event_id} never reaches the app"
