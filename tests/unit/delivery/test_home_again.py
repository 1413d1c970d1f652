import pytest
import trio
from trio.testing import MockClock

from relay.base.config import DeliveryConfig
from relay.base.ids import ServerName
from relay.base.limits import HOME_AGAIN_CONCURRENCY, HOME_AGAIN_KNOCKING_S, HOME_AGAIN_QUIET_S
from relay.delivery import home_again
from relay.delivery.home_again import greet_all, knock_all
from relay.delivery.outbox import outboxes as outbox
from relay.delivery.outbox import queue as outbox_queue
from relay.delivery.outbox import tables as outbox_tables
from relay.delivery.outbox.outboxes import Outboxes
from relay.store.ledger import Change, Index
from tests.fakes import departures
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import memory_ledger
from tests.fakes.outlet import FakeOutlet, SleepingPeer

HERE = ServerName("box.example")


class Members:
    """Who shares a room, without rooms."""

    def __init__(self, *names: str) -> None:
        self.names = {HERE, *(ServerName(f"{name}.example") for name in names)}

    def all_joined_servers(self, _index: Index) -> set[ServerName]:
        return self.names


async def test_everybody_who_shares_a_room_is_greeted_recently_heard_first(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (outbox, outbox_queue):
        monkeypatch.setattr(module, "departures", departures)
    names = [f"s{number}" for number in range(3 * HOME_AGAIN_CONCURRENCY)]
    monkeypatch.setattr(home_again, "members", Members(*names))
    peers = {name: SleepingPeer(slow_s=1) for name in [*names, "owed"]}

    def heard(change: Change) -> None:
        for at, name in enumerate(names):
            change.write(outbox_tables.HEAR, change.intern(f"{name}.example"), 0, 1000 + at)
        outbox_queue.enqueue(change, ServerName("owed.example"), "m.x", {"n": 1})

    async with memory_ledger(outbox_tables.TABLES, departures.TABLES) as ledger, trio.open_nursery() as nursery:
        await ledger.run(heard)
        boxes = Outboxes(ledger, FakeOutlet(**peers), FakeClock(), HERE, DeliveryConfig(), jitter=lambda: 0)
        await nursery.start(boxes.run)
        await greet_all(ledger, boxes, HERE)
        assert all(len(peer.attempts) == 1 for peer in peers.values())
        assert [len(edus) for _, _, edus in peers["owed"].transactions] == [1]
        order = sorted(names, key=lambda name: (peers[name].attempts[0], name))
        rounds = [{name for name in names if peers[name].attempts[0] == at} for at in range(3)]
        assert set(order[:HOME_AGAIN_CONCURRENCY]) == rounds[0]
        assert rounds[0] == set(names[-HOME_AGAIN_CONCURRENCY:])
        assert len(rounds[2]) == HOME_AGAIN_CONCURRENCY
        nursery.cancel_scope.cancel()


async def test_a_dead_server_does_not_keep_the_others_waiting(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (outbox, outbox_queue):
        monkeypatch.setattr(module, "departures", departures)
    monkeypatch.setattr(home_again, "members", Members("alive", "dead"))
    alive, dead = SleepingPeer(), SleepingPeer(asleep_until_s=1e6, slow_s=60)
    async with memory_ledger(outbox_tables.TABLES, departures.TABLES) as ledger, trio.open_nursery() as nursery:
        boxes = Outboxes(ledger, FakeOutlet(alive=alive, dead=dead), FakeClock(), HERE, DeliveryConfig())
        await nursery.start(boxes.run)
        start = trio.current_time()
        await greet_all(ledger, boxes, HERE)
        assert alive.attempts == [start]
        assert trio.current_time() - start == pytest.approx(60, abs=0.1)
        nursery.cancel_scope.cancel()


async def test_a_knock_asks_to_look_at_a_device_list_and_never_takes_long(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (outbox, outbox_queue):
        monkeypatch.setattr(module, "departures", departures)
    edu = {"edu_type": "m.device_list_update", "content": {"prev_id": []}}
    monkeypatch.setattr(home_again, "_knocks", lambda _index, _own: {ServerName(f"{n}.example"): edu for n in "ab"})
    awake, asleep = SleepingPeer(), SleepingPeer(asleep_until_s=1e6, slow_s=60)
    async with memory_ledger(outbox_tables.TABLES, departures.TABLES) as ledger:
        boxes = Outboxes(ledger, FakeOutlet(a=awake, b=asleep), FakeClock(), HERE, DeliveryConfig())
        start = trio.current_time()
        await knock_all(ledger, boxes, HERE)
        assert awake.edus == [edu]
        assert trio.current_time() - start == pytest.approx(HOME_AGAIN_KNOCKING_S + HOME_AGAIN_QUIET_S, abs=0.01)


async def test_a_knock_is_repeated_while_the_server_is_busy_with_an_earlier_transaction(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (outbox, outbox_queue):
        monkeypatch.setattr(module, "departures", departures)
    edu = {"edu_type": "m.device_list_update", "content": {"prev_id": []}}
    monkeypatch.setattr(home_again, "_knocks", lambda _index, _own: {ServerName("a.example"): edu})
    busy_until_s = trio.current_time() + 0.35
    busy = SleepingPeer(refuse=lambda _pdus, _edus: 429 if trio.current_time() < busy_until_s else None)
    async with memory_ledger(outbox_tables.TABLES, departures.TABLES) as ledger:
        boxes = Outboxes(ledger, FakeOutlet(a=busy), FakeClock(), HERE, DeliveryConfig())
        await knock_all(ledger, boxes, HERE)
    assert busy.edus == [edu]
    assert len(busy.attempts) == 5
