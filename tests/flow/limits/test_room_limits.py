"""At each limit of the rooms' own work: just within it is done, just beyond is left."""

import copy
import itertools
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from relay.base.ids import EventId, RoomId, ServerName
from relay.base.limits import (
    BACKFILL_TIMEOUT_S,
    CATCH_UP_CONCURRENCY,
    CATCH_UP_SERVERS,
    INBOX_RETRY_FIRST_S,
    INBOX_RETRY_MOST_S,
    MAX_GAP_PAGES,
    MAX_INBOX_TASKS,
    MAX_REMEMBERED_VERSIONS,
    MAX_SILENT_SERVERS,
    SIGNATURE_KEYS_TIMEOUT_S,
)
from relay.core.matrix.room_versions import room_version
from relay.rooms.matrix.exchange.catching_up import CatchingUp
from relay.rooms.matrix.storage import graph, inbox_book
from tests.fakes.boxes import Box, Town

OMA = ServerName("oma.example")


async def _raw(box: Box, event_id: EventId) -> dict[str, Any]:
    stored = await box.ledger.read(graph.event, event_id)
    assert stored is not None
    return copy.deepcopy(dict(stored.event.raw))


async def _pair(here: Box, there: Box) -> RoomId:
    room = await here.create(here.user("anna"))
    await there.joining.join(there.user("bert"), room, [here.name])
    return room


@pytest.mark.parametrize(("pages", "filled"), [(MAX_GAP_PAGES, True), (MAX_GAP_PAGES + 1, False)])
async def test_a_gap_is_filled_over_so_many_pages(pages: int, filled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await _pair(here, there)
        said = [await here.say(room, here.user("anna"), str(number)) for number in range(pages + 1)]
        asked = 0

        async def one_at_a_time(_server: ServerName, _room: RoomId, *, latest: list[EventId], **_: Any) -> list[Any]:
            nonlocal asked
            asked += 1
            prev = (await _raw(here, latest[0]))["prev_events"]
            return [await _raw(here, prev[0])]

        monkeypatch.setattr(there.peers, "missing_events", one_at_a_time)
        await there.receive(here.name, [await _raw(here, said[-1])])
        await there.settle()
        assert asked == min(pages, MAX_GAP_PAGES)
        assert (await there.bodies(room) == [str(number) for number in range(pages + 1)]) is filled


async def test_a_room_is_tried_again_after_longer_and_longer_pauses(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there, trio.open_nursery() as nursery:
        room = await _pair(here, there)
        await here.say(room, here.user("anna"), "lost")
        raw = await _raw(here, await here.say(room, here.user("anna"), "late"))
        town.asleep.add(here.name)
        tries: list[float] = []

        async def settle(_room: RoomId) -> int:
            tries.append(trio.current_time())
            return 1

        monkeypatch.setattr(there.inboxes, "settle", settle)
        await nursery.start(there.inboxes.run)
        await there.receive(here.name, [raw])
        await trio.sleep(4000)
        nursery.cancel_scope.cancel()
    pauses = [after - before for before, after in itertools.pairwise(tries)]
    assert pauses[:3] == [INBOX_RETRY_FIRST_S, 2 * INBOX_RETRY_FIRST_S, 4 * INBOX_RETRY_FIRST_S]
    assert max(pauses) == INBOX_RETRY_MOST_S == pauses[-1]


async def test_so_many_rooms_work_off_their_inboxes_at_once(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = Town()
    async with town.box("b.example") as there, trio.open_nursery() as nursery:
        now: list[RoomId] = []
        most = 0
        go = trio.Event()

        async def settle(room: RoomId) -> int:
            nonlocal most
            now.append(room)
            most = max(most, len(now))
            await go.wait()
            now.remove(room)
            return 0

        monkeypatch.setattr(there.inboxes, "settle", settle)
        rooms = [RoomId(f"!r{number}:oma.example") for number in range(MAX_INBOX_TASKS + 3)]
        left = iter([rooms])
        monkeypatch.setattr(inbox_book, "rooms", lambda _index: next(left, []))
        await nursery.start(there.inboxes.run)
        await trio.sleep(1)
        assert most == len(now) == MAX_INBOX_TASKS
        go.set()
        await trio.sleep(1)
        assert now == []
        nursery.cancel_scope.cancel()


async def test_a_page_of_the_past_is_waited_for_so_long(autojump_clock: MockClock) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await here.create(here.user("anna"))
        await here.say(room, here.user("anna"), "before")
        await there.joining.join(there.user("bert"), room, [here.name])

        async def hang() -> None:
            await trio.sleep_forever()

        there.peers.before_answer["backfill"] = hang
        tip = (await there.tips(room))[0]
        begun_s = trio.current_time()
        assert await there.backfiller.fill(room, tip, 10) == 0
        assert trio.current_time() - begun_s == BACKFILL_TIMEOUT_S


async def test_keys_of_a_silent_server_are_waited_for_so_long(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await _pair(here, there)
        raw = await _raw(here, await here.say(room, here.user("anna"), "hi"))

        async def hang(*_: Any) -> Any:
            await trio.sleep_forever()

        monkeypatch.setattr(there.keys, "lives", hang)
        begun_s = trio.current_time()
        (checked,) = await there.receiver.prepare(here.name, [raw])
        assert checked.event is None
        assert trio.current_time() - begun_s == SIGNATURE_KEYS_TIMEOUT_S


async def test_so_many_silent_servers_and_rooms_are_remembered() -> None:
    async with Town().box("a.example") as box:
        for number in range(MAX_SILENT_SERVERS):
            box.keys._put_off(ServerName(f"s{number}.example"))
            await box.keys._look_up(ServerName(f"s{number}.example"), {})
        assert len(box.keys._failed_s) == len(box.keys._read) == MAX_SILENT_SERVERS
        box.keys._put_off(OMA)
        await box.keys._look_up(OMA, {})
        assert len(box.keys._failed_s) == len(box.keys._read) == 1
        room = await box.create(box.user("anna"))
        versions = box.receiver._versions
        versions.update({f"!{number}:x": room_version("12") for number in range(MAX_REMEMBERED_VERSIONS - 1)})
        await box.receiver.prepare(OMA, [{"room_id": room}])
        assert len(versions) == MAX_REMEMBERED_VERSIONS
        other = await box.create(box.user("anna"))
        await box.receiver.prepare(OMA, [{"room_id": other}])
        assert list(versions) == [other]


async def test_after_a_start_so_many_rooms_are_looked_into_at_once_and_so_many_servers_asked(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Town().box("a.example") as box:
        anna = box.user("anna")
        rooms = [await box.create(anna) for _ in range(CATCH_UP_CONCURRENCY + 3)]
        servers = [ServerName(f"s{number}.example") for number in range(CATCH_UP_SERVERS + 2)]
        monkeypatch.setattr(
            "relay.rooms.matrix.exchange.catching_up._who_asks_whom", lambda _index, _room, _here: (anna, servers)
        )
        catching = CatchingUp(box.ledger, peers=box.peers, receiver=box.receiver, server=box.name)
        asked: list[tuple[ServerName, RoomId]] = []
        now = most = 0

        async def make_leave(server: ServerName, room: RoomId, _user: Any) -> dict[str, Any]:
            nonlocal now, most
            asked.append((server, room))
            now, most = now + 1, max(most, now + 1)
            await trio.sleep(1)
            now -= 1
            return {}

        monkeypatch.setattr(box.peers, "make_leave", make_leave)
        await catching._look_into(rooms)
        assert most == CATCH_UP_CONCURRENCY
        assert [server for server, room in asked if room == rooms[0]] == servers[:CATCH_UP_SERVERS]
