from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import accumulate

import pytest
import trio
from trio.testing import MockClock

from relay.base.config import DeliveryConfig
from relay.base.ids import ServerName
from relay.base.limits import HOME_AGAIN_CALLS_S, HOME_AGAIN_CONCURRENCY, HOME_AGAIN_LOOK_S
from relay.delivery import home_again
from relay.delivery.home_again import HomeAgain, LookAgainError
from relay.delivery.outbox import outboxes as outbox
from relay.delivery.outbox import queue as outbox_queue
from relay.delivery.outbox import tables as outbox_tables
from relay.delivery.outbox.outboxes import Outboxes
from relay.store.ledger import Change, Index
from tests.fakes import departures
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import memory_ledger
from tests.fakes.outlet import FakeOutlet, SleepingPeer

HERE, A = ServerName("box.example"), ServerName("a.example")
EDU = {"edu_type": "m.device_list_update", "content": {"prev_id": []}}


class Members:
    """Who shares a room, without rooms."""

    def __init__(self, *names: str) -> None:
        self.names = {HERE, *(ServerName(f"{name}.example") for name in names)}

    def all_joined_servers(self, _index: Index) -> set[ServerName]:
        return self.names


def knock_at(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let the house share rooms with `names` and be known to them, and let its outboxes do without rooms."""
    for module in (outbox, outbox_queue):
        monkeypatch.setattr(module, "departures", departures)
    monkeypatch.setattr(home_again, "members", Members(*names))
    monkeypatch.setattr(home_again, "_knocks", lambda _index, _own: {ServerName(f"{n}.example"): EDU for n in names})


@asynccontextmanager
async def home_again_with(**peers: SleepingPeer) -> AsyncIterator[HomeAgain]:
    async with memory_ledger(outbox_tables.TABLES, departures.TABLES) as ledger, trio.open_nursery() as nursery:
        boxes = Outboxes(ledger, FakeOutlet(**peers), FakeClock(), HERE, DeliveryConfig())
        await nursery.start(boxes.run)
        yield HomeAgain(ledger, boxes, HERE)
        nursery.cancel_scope.cancel()


async def test_everybody_who_shares_a_room_is_greeted_recently_heard_first(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    knock_at(monkeypatch)
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
        await HomeAgain(ledger, boxes, HERE).run()
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
    knock_at(monkeypatch)
    monkeypatch.setattr(home_again, "members", Members("alive", "dead"))
    alive, dead = SleepingPeer(), SleepingPeer(asleep_until_s=1e6, slow_s=60)
    async with memory_ledger(outbox_tables.TABLES, departures.TABLES) as ledger, trio.open_nursery() as nursery:
        boxes = Outboxes(ledger, FakeOutlet(alive=alive, dead=dead), FakeClock(), HERE, DeliveryConfig())
        await nursery.start(boxes.run)
        start = trio.current_time()
        await HomeAgain(ledger, boxes, HERE).run()
        assert alive.attempts == [start]
        assert trio.current_time() - start == pytest.approx(60, abs=0.1)
        nursery.cancel_scope.cancel()


async def test_the_first_look_after_a_knock_is_turned_away_and_answered_by_calls(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    knock_at(monkeypatch, "a", "b")
    looker, other = SleepingPeer(), SleepingPeer()
    async with home_again_with(a=looker, b=other) as home, trio.open_nursery() as nursery:
        nursery.start_soon(home.run)
        await trio.testing.wait_all_tasks_blocked()
        assert (looker.edus, other.edus) == ([EDU], [EDU])
        with pytest.raises(LookAgainError):
            home.turn_away_once(A)
        home.turn_away_once(A)
        looked_s = trio.current_time()
    # Each is greeted after the knock, too: with the greeting goes what waits for it.
    assert [at - looked_s for at in looker.attempts[2:]] == pytest.approx([*accumulate(HOME_AGAIN_CALLS_S)])
    assert looker.edus == [EDU]
    assert len(other.attempts) == 2


async def test_looks_are_welcome_without_a_knock_and_long_after_one(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    knock_at(monkeypatch, "a")
    peer = SleepingPeer()
    async with home_again_with(a=peer) as home:
        home.turn_away_once(A)
        start = trio.current_time()
        await home.run()
        assert trio.current_time() - start == pytest.approx(HOME_AGAIN_LOOK_S)
        home.turn_away_once(A)
    assert len(peer.attempts) == 2


async def test_a_look_that_comes_ahead_of_the_answer_to_the_knock_is_turned_away_too(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    knock_at(monkeypatch, "a")
    peer = SleepingPeer(slow_s=3)
    async with home_again_with(a=peer) as home, trio.open_nursery() as nursery:
        nursery.start_soon(home.run)
        await trio.sleep(1)
        with pytest.raises(LookAgainError):
            home.turn_away_once(A)


async def test_a_knock_is_repeated_while_the_server_is_busy_with_an_earlier_transaction(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    knock_at(monkeypatch, "a")
    busy_until_s = trio.current_time() + 0.35
    busy = SleepingPeer(refuse=lambda _pdus, _edus: 429 if trio.current_time() < busy_until_s else None)
    async with home_again_with(a=busy) as home:
        await home.run()
    assert busy.edus == [EDU]
    # Four are refused; the last one is the greeting.
    assert len(busy.attempts) == 6


async def test_a_server_that_refuses_every_knock_is_left_in_peace_after_a_while(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    knock_at(monkeypatch, "a")
    refusing = SleepingPeer(refuse=lambda _pdus, edus: 403 if edus else None)
    async with home_again_with(a=refusing) as home:
        start = trio.current_time()
        await home.run()
        assert trio.current_time() - start == pytest.approx(HOME_AGAIN_LOOK_S, abs=0.01)


async def test_calls_that_are_refused_for_ever_end_too(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    knock_at(monkeypatch, "a")
    peer = SleepingPeer(refuse=lambda _pdus, edus: None if edus else 429)
    async with home_again_with(a=peer) as home, trio.open_nursery() as nursery:
        nursery.start_soon(home.run)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(LookAgainError):
            home.turn_away_once(A)
        looked_s = trio.current_time()
    assert trio.current_time() - looked_s == pytest.approx(HOME_AGAIN_LOOK_S, abs=0.01)
