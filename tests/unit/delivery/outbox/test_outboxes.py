import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar, TypeVarTuple

import pytest
import trio
from trio.testing import MockClock

from relay.base.config import DeliveryConfig
from relay.base.ids import ServerName, UserId
from relay.core.matrix.canonical_json import NotCanonicalError
from relay.delivery.outbox import outboxes as outbox
from relay.delivery.outbox import queue as outbox_queue
from relay.delivery.outbox import tables as outbox_tables
from relay.delivery.outbox.outboxes import Outboxes
from relay.store.ledger import Change, Ledger, open_ledger
from tests.fakes import departures
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import FOLDER, KEYRING, SMALL_STORE, InlineWorkers, memory_ledger
from tests.fakes.outlet import FakeOutlet, SleepingPeer

HERE, OMA, OPA = ServerName("box.example"), ServerName("oma.example"), ServerName("opa.example")
CONFIG = DeliveryConfig(retry_first_s=2, retry_most_s=3600, concurrent_destinations=2)
DAY_S = 86_400.0
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class TrioClock:
    """The wall, moving with Trio's clock, and jumping by itself where `jump_ms` says so."""

    jump_ms = 0

    def wall_ms(self) -> int:
        return 1_800_000_000_000 + self.jump_ms + int(trio.current_time() * 1000)


@pytest.fixture(autouse=True)
def _fake_departures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_queue, "departures", departures)
    monkeypatch.setattr(outbox, "departures", departures)


@contextlib.asynccontextmanager
async def open_house(files: MemoryFiles | None = None) -> AsyncIterator[Ledger]:
    async with memory_ledger(outbox_tables.TABLES, departures.TABLES, files=files) as ledger:
        yield ledger


@contextlib.asynccontextmanager
async def running(ledger: Ledger, outlet: FakeOutlet, config: DeliveryConfig = CONFIG) -> AsyncIterator[Outboxes]:
    boxes = Outboxes(ledger, outlet, TrioClock(), HERE, config, jitter=lambda: 1.0)
    async with trio.open_nursery() as nursery:
        await nursery.start(boxes.run)
        yield boxes
        nursery.cancel_scope.cancel()


async def post(ledger: Ledger, numbers: range | list[int], *servers: ServerName, sender: str | None = None) -> None:
    def step(change: Change, number: int) -> None:
        pdu: dict[str, Any] = {"n": number} | ({} if sender is None else {"sender": sender})
        departures.add(change, list(servers), pdu)

    for number in numbers:
        await ledger.run(step, number)


async def queue_edu(ledger: Ledger, content: dict[str, Any], server: ServerName = OMA) -> None:
    def step(change: Change) -> None:
        outbox_queue.enqueue(change, server, "m.direct_to_device", content)

    await ledger.run(step)


async def test_an_event_leaves_at_once_and_only_to_its_servers(autojump_clock: MockClock) -> None:
    oma, opa = SleepingPeer(), SleepingPeer()
    async with open_house() as ledger, running(ledger, FakeOutlet(oma=oma, opa=opa)):
        start = trio.current_time()
        await post(ledger, [1], OMA)
        await post(ledger, [2], OMA, OPA)
        await trio.sleep(0.01)
        assert (oma.events, opa.events) == ([1, 2], [2])
        assert max(oma.attempts + opa.attempts) - start < 0.01


async def test_an_event_is_not_sent_back_to_the_server_it_came_from(autojump_clock: MockClock) -> None:
    oma, opa = SleepingPeer(), SleepingPeer()
    async with open_house() as ledger, running(ledger, FakeOutlet(oma=oma, opa=opa)):
        await post(ledger, [1], OMA, OPA, sender="@x:oma.example")
        await trio.sleep(0.01)
        assert (oma.events, opa.events) == ([], [1])


async def test_a_peer_asleep_for_a_night_gets_everything_in_order_exactly_once(autojump_clock: MockClock) -> None:
    oma = SleepingPeer(asleep_until_s=8 * 3600)
    async with open_house() as ledger, running(ledger, FakeOutlet(oma=oma)):
        for number in range(300):
            await post(ledger, [number], OMA)
            if number % 50 == 0:
                await queue_edu(ledger, {"message_id": str(number)})
                await trio.sleep(600)
        await trio.sleep(12 * 3600)
        assert oma.events == list(range(300))
        assert [edu["content"]["message_id"] for edu in oma.edus] == [str(number) for number in range(0, 300, 50)]
        assert all(len(pdus) <= 50 for _, pdus, _ in oma.transactions)


async def test_a_silent_peer_is_tried_less_and_less_often(autojump_clock: MockClock) -> None:
    oma = SleepingPeer(asleep_until_s=DAY_S)
    async with open_house() as ledger, running(ledger, FakeOutlet(oma=oma)):
        await post(ledger, [1], OMA)
        await trio.sleep(DAY_S - 10)
        waits = [round(b - a) for a, b in zip(oma.attempts, oma.attempts[1:], strict=False)]
        assert waits[:5] == [2, 4, 8, 16, 32]
        assert set(waits[12:]) == {3600}


async def test_a_peer_that_speaks_to_us_is_tried_at_once(autojump_clock: MockClock) -> None:
    oma = SleepingPeer(asleep_until_s=10_000)
    async with open_house() as ledger, running(ledger, FakeOutlet(oma=oma)) as boxes:
        await post(ledger, range(3), OMA)
        await trio.sleep(10_001 - trio.current_time())
        assert oma.events == []
        boxes.peer_seen(OMA)
        await trio.sleep(2)
        assert oma.events == [0, 1, 2]


async def test_a_peer_that_speaks_and_never_answers_is_not_hammered(autojump_clock: MockClock) -> None:
    oma = SleepingPeer(asleep_until_s=DAY_S)
    async with open_house() as ledger, running(ledger, FakeOutlet(oma=oma)) as boxes:
        await post(ledger, [1], OMA)
        for _ in range(600):
            boxes.peer_seen(OMA)
            await trio.sleep(1)
        assert len(oma.attempts) < 25


async def test_dead_and_slow_destinations_delay_nobody(autojump_clock: MockClock) -> None:
    dead = {f"dead{number}": SleepingPeer(asleep_until_s=DAY_S, slow_s=60) for number in range(20)}
    oma = SleepingPeer()
    async with open_house() as ledger, running(ledger, FakeOutlet(oma=oma, **dead)):
        await post(ledger, [1], *(ServerName(f"{name}.example") for name in dead))
        await trio.sleep(200)
        start = trio.current_time()
        await post(ledger, [2], OMA, *(ServerName(f"{name}.example") for name in dead))
        await trio.sleep(0.05)
        assert oma.events == [2]
        assert oma.attempts[0] - start < 0.05


async def test_a_crash_between_sending_and_noting_it_repeats_the_same_transaction(autojump_clock: MockClock) -> None:
    files = MemoryFiles()
    oma = SleepingPeer(slow_s=100)
    async with open_house(files) as ledger:
        await queue_edu(ledger, {"message_id": "a"})
        await post(ledger, [1, 2], OMA)
        async with running(ledger, FakeOutlet(oma=oma)) as boxes:
            boxes.peer_seen(OMA)
            with trio.move_on_after(50):
                await boxes.greet(OMA)
        await post(ledger, [3], OMA)
    assert len(oma.attempts) == 1
    oma.slow_s = 0
    first: list[tuple[str, list[Any], list[Any]]] = []
    async with open_house(files) as ledger, running(ledger, FakeOutlet(oma=oma)):
        await trio.sleep(1)
        first = oma.transactions[:1]
    assert first == [
        ("1.1", [{"n": 1}, {"n": 2}], [{"edu_type": "m.direct_to_device", "content": {"message_id": "a"}}])
    ]
    assert oma.events == [1, 2, 3]
    files.unregister()


async def test_nothing_is_sent_again_after_a_clean_restart(autojump_clock: MockClock) -> None:
    files = MemoryFiles()
    oma = SleepingPeer()
    for start in range(3):
        async with open_house(files) as ledger, running(ledger, FakeOutlet(oma=oma)) as boxes:
            await post(ledger, [start], OMA)
            await queue_edu(ledger, {"message_id": str(start)})
            await trio.sleep(1)
            await boxes.greet(OMA)
    assert oma.events == [0, 1, 2]
    assert [edu["content"]["message_id"] for edu in oma.edus] == ["0", "1", "2"]
    assert len({transaction_id for transaction_id, _, _ in oma.transactions}) == len(oma.transactions)
    files.unregister()


async def test_a_backlog_of_an_earlier_run_leaves_when_the_peer_is_greeted(autojump_clock: MockClock) -> None:
    files = MemoryFiles()
    async with open_house(files) as ledger, running(ledger, FakeOutlet()):
        await post(ledger, range(120), OMA)
        await trio.sleep(60)
    oma = SleepingPeer()
    async with open_house(files) as ledger, running(ledger, FakeOutlet(oma=oma)) as boxes:
        await boxes.greet(OMA)
        await trio.sleep(1)
    assert oma.events == list(range(120))
    files.unregister()


async def test_a_greeting_with_nothing_to_say_is_an_empty_transaction(autojump_clock: MockClock) -> None:
    oma = SleepingPeer()
    async with open_house() as ledger, running(ledger, FakeOutlet(oma=oma)) as boxes:
        await boxes.greet(OMA)
        assert [(pdus, edus) for _, pdus, edus in oma.transactions] == [([], [])]


async def test_greeting_a_dead_server_ends_with_the_first_attempt(autojump_clock: MockClock) -> None:
    async with open_house() as ledger, running(ledger, FakeOutlet()) as boxes:
        with trio.fail_after(1):
            await boxes.greet(OMA)


async def test_to_device_messages_wait_beyond_the_day_events_are_given_up(autojump_clock: MockClock) -> None:
    oma = SleepingPeer(asleep_until_s=40 * DAY_S)
    config = DeliveryConfig(retry_first_s=2, retry_most_s=86_400)
    async with open_house() as ledger, running(ledger, FakeOutlet(oma=oma), config):
        await post(ledger, [1], OMA)
        await queue_edu(ledger, {"message_id": "a"})
        await trio.sleep(39 * DAY_S)
        await post(ledger, [2], OMA)
        await trio.sleep(3 * DAY_S)
        assert oma.events == []
        assert [edu["content"]["message_id"] for edu in oma.edus] == ["a"]
        await post(ledger, [3], OMA)
        await trio.sleep(1)
        assert oma.events == [3]


@pytest.mark.parametrize("years", [-53, -10, 10, 56])
async def test_a_clock_that_jumps_by_years_makes_nobody_look_dead(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, years: int
) -> None:
    oma = SleepingPeer(asleep_until_s=2 * DAY_S)
    async with open_house() as ledger:
        async with running(ledger, FakeOutlet(oma=oma)):
            await post(ledger, [1], OMA)
            await queue_edu(ledger, {"message_id": "a"})
            await trio.sleep(DAY_S)
            monkeypatch.setattr(TrioClock, "jump_ms", years * 365 * 86_400_000)
            await trio.sleep(600)
        # A restart does not make it worse.
        async with running(ledger, FakeOutlet(oma=oma)):
            await post(ledger, [2], OMA)
            await trio.sleep(3 * DAY_S)
        assert oma.events == [1, 2]
        assert [edu["content"]["message_id"] for edu in oma.edus] == ["a"]


async def test_a_transaction_a_peer_never_takes_blocks_the_way_for_a_while_only(autojump_clock: MockClock) -> None:
    oma = SleepingPeer(refuse=lambda pdus, _edus: 400 if any(pdu["n"] == 1 for pdu in pdus) else None)
    async with open_house() as ledger, running(ledger, FakeOutlet(oma=oma)):
        await post(ledger, [1], OMA)
        await trio.sleep(1)
        await post(ledger, [2], OMA)
        await trio.sleep(3600)
        assert oma.events == [2]


async def test_a_fault_in_one_lane_is_the_fault_of_no_other(autojump_clock: MockClock) -> None:
    def trip(pdus: list[Any], _edus: list[Any]) -> int | None:
        if any(pdu["n"] == 1 for pdu in pdus):
            raise ZeroDivisionError
        return None

    oma, opa = SleepingPeer(refuse=trip), SleepingPeer()
    async with open_house() as ledger, running(ledger, FakeOutlet(oma=oma, opa=opa)):
        await post(ledger, [1], OMA, OPA)
        await trio.sleep(1)
        await post(ledger, [2], OMA, OPA)
        await trio.sleep(3600)
        assert (oma.events, opa.events) == ([2], [1, 2])


async def test_what_cannot_be_signed_is_refused_before_it_waits(autojump_clock: MockClock) -> None:
    async with open_house() as ledger:
        with pytest.raises(NotCanonicalError):
            await queue_edu(ledger, {"number": 1.5})
        assert await ledger.read(outbox_queue.with_rows_waiting) == []


async def test_the_quota_drops_and_counts_the_oldest(autojump_clock: MockClock) -> None:
    config = DeliveryConfig(retry_first_s=2, to_device_quota_mib=1)
    async with open_house() as ledger, running(ledger, FakeOutlet(), config) as boxes:
        for number in range(30):
            await queue_edu(ledger, {"message_id": str(number), "blob": "x" * 100_000})
        await trio.sleep(10)
        standing = (await boxes.status())[OMA]
        assert standing.queued_bytes <= 1024 * 1024
        assert standing.dropped >= 19
        waiting = await ledger.read(lambda index: outbox_queue.next_batch(index, OMA, 0))
        assert waiting.edus[-1]["content"]["message_id"] == "29"


async def test_where_all_destinations_are_too_much_the_one_silent_longest_loses_its_oldest(
    autojump_clock: MockClock,
) -> None:
    config = DeliveryConfig(retry_first_s=2, to_device_quota_mib=1, to_device_total_mib=1)
    async with open_house() as ledger, running(ledger, FakeOutlet(), config) as boxes:
        await queue_edu(ledger, {"message_id": "first"}, OPA)
        await trio.sleep(100)
        for number in range(6):
            for server in (OMA, OPA):
                await queue_edu(ledger, {"message_id": str(number), "blob": "x" * 100_000}, server)
        await trio.sleep(10)
        standings = await boxes.status()
        assert sum(standing.queued_bytes for standing in standings.values()) <= 1024 * 1024
        assert (standings[OMA].dropped, standings[OPA].dropped > 0) == (0, True)
        waiting = await ledger.read(lambda index: outbox_queue.next_batch(index, OPA, 0))
        assert waiting.edus[-1]["content"]["message_id"] == "5"


async def test_a_server_that_is_called_back_hears_from_us_again(autojump_clock: MockClock) -> None:
    oma = SleepingPeer()
    async with open_house() as ledger, running(ledger, FakeOutlet(oma=oma)) as boxes:
        for count in (1, 2):
            boxes.call_back(OMA)
            await trio.sleep(1)
            assert len(oma.transactions) == count


async def test_volatile_units_leave_and_typing_does_not_wait(autojump_clock: MockClock) -> None:
    oma = SleepingPeer()
    typing = {"edu_type": "m.typing", "content": {"typing": True}}
    read = {"edu_type": "m.receipt", "content": {}}
    async with open_house() as ledger, running(ledger, FakeOutlet(oma=oma)) as boxes:
        boxes.send_volatile([OMA, HERE], ("m.typing", "room", "ada"), typing)
        await trio.sleep(1)
        assert oma.edus == [typing]
        oma.asleep_until_s = trio.current_time() + 10
        boxes.send_volatile([OMA], ("m.typing", "room", "ada"), typing)
        boxes.send_volatile([OMA], ("m.receipt", "room", "ada"), {"old": 1, **read})
        await trio.sleep(1)
        boxes.send_volatile([OMA], ("m.receipt", "room", "ada"), read)
        await trio.sleep(60)
        assert oma.edus == [typing, read]


class StuckFlash(InlineWorkers):
    """Writes to the journal hang while `stuck` is set."""

    stuck: trio.Event | None = None

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        if getattr(function, "__name__", "") == "commit" and self.stuck is not None:
            await self.stuck.wait()
        return await super().run(function, *args)


async def test_only_what_is_on_flash_leaves(autojump_clock: MockClock) -> None:
    oma, files, flash = SleepingPeer(), MemoryFiles(), StuckFlash()
    tables = (outbox_tables.TABLES, departures.TABLES)
    async with (
        open_ledger(FOLDER, KEYRING, tables, SMALL_STORE, files=files, workers=flash) as ledger,
        running(ledger, FakeOutlet(oma=oma)),
        trio.open_nursery() as nursery,
    ):
        flash.stuck = trio.Event()
        nursery.start_soon(post, ledger, [1], OMA)
        nursery.start_soon(queue_edu, ledger, {})
        await trio.sleep(5)
        assert oma.attempts == []
        flash.stuck.set()
        await trio.sleep(1)
        assert (oma.events, len(oma.edus)) == ([1], 1)
    files.unregister()


async def test_a_newer_update_takes_the_place_of_one_that_waits(autojump_clock: MockClock) -> None:
    ada = UserId("@ada:box.example")

    def note(change: Change, stream: int) -> dict[str, Any] | None:
        replaced = outbox_queue.take_replaced(change, OMA, "m.device_list_update", ada)
        outbox_queue.enqueue(change, OMA, "m.device_list_update", {"stream_id": stream}, replaces=ada)
        return replaced

    async with open_house() as ledger:
        assert await ledger.run(note, 1) is None
        assert await ledger.run(note, 2) == {"stream_id": 1}
        batch = await ledger.read(lambda index: outbox_queue.next_batch(index, OMA, 0))
        assert [edu["content"] for edu in batch.edus] == [{"stream_id": 2}]
        assert (await ledger.read(outbox_queue.all_standings))[OMA].queued_bytes == len(b'{"stream_id":2}')


async def test_what_may_not_leave_yet_waits_without_a_failure_and_is_never_given_up(autojump_clock: MockClock) -> None:
    oma, opened = SleepingPeer(), trio.Event()
    async with open_house() as ledger, trio.open_nursery() as nursery:
        boxes = Outboxes(ledger, FakeOutlet(oma=oma), TrioClock(), HERE, CONFIG, may_leave=opened.wait)
        await nursery.start(boxes.run)
        await post(ledger, [1], OMA)
        await queue_edu(ledger, {"message_id": "key"})
        nursery.start_soon(boxes.knock, OPA, [])
        await trio.sleep(60 * DAY_S)
        assert not oma.attempts
        assert all(standing.failing_since_ms is None for standing in (await boxes.status()).values())
        opened.set()
        await trio.sleep(0.1)
        assert oma.events == [1]
        assert [edu["content"]["message_id"] for edu in oma.edus] == ["key"]
        nursery.cancel_scope.cancel()
