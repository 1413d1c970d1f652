"""After a start: what was sent meanwhile is asked for, also where nobody sends again."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from relay.base.ids import RoomId, ServerName, UserId
from relay.base.limits import CATCH_UP_HEAD_START_S, CATCH_UP_REPEATS_S
from relay.rooms.matrix.exchange.catching_up import CatchingUp
from tests.fakes.boxes import Box, Town


def catching_up(box: Box, **welcome: Callable[[], bool]) -> CatchingUp:
    return CatchingUp(box.ledger, peers=box.peers, receiver=box.receiver, server=box.name, **welcome)


async def shared_room(here: Box, there: Box) -> RoomId:
    room = await here.create(here.user("anna"), "12")
    await there.joining.join(there.user("bert"), room, [here.name])
    await here.push()
    return room


async def test_what_nobody_sends_again_is_asked_for_and_arrives_in_order(autojump_clock: MockClock) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        rooms = [await shared_room(here, there) for _ in range(3)]
        for room in rooms:
            for number in range(40):
                await here.say(room, here.user("anna"), f"m{number}")
        await catching_up(there).run()
        assert await there.settle() == 0
        for room in rooms:
            assert await there.bodies(room) == [f"m{number}" for number in range(40)]
            assert await there.membership(room, there.user("bert")) == "join"
            assert await here.membership(room, there.user("bert")) == "join"


async def test_where_nothing_is_new_every_server_is_only_knocked_at(autojump_clock: MockClock) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        for _ in range(3):
            await shared_room(here, there)
        town.calls.clear()
        await catching_up(there).run()
        assert town.calls.count("make_leave") == 3 + len(CATCH_UP_REPEATS_S)
        assert set(town.calls) == {"make_leave"}


async def test_servers_have_a_moment_to_send_by_themselves(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    town, asked_s = Town(), list[float]()
    async with town.box("a.example") as here, town.box("b.example") as there:
        await shared_room(here, there)
        ask = there.peers.make_leave

        async def make_leave(server: ServerName, room: RoomId, user: UserId) -> dict[str, Any]:
            asked_s.append(trio.current_time())
            return await ask(server, room, user)

        monkeypatch.setattr(there.peers, "make_leave", make_leave)
        begun_s = trio.current_time()
        await catching_up(there).run()
    assert asked_s[0] - begun_s >= CATCH_UP_HEAD_START_S
    assert asked_s[1] - asked_s[0] >= CATCH_UP_REPEATS_S[0]


@pytest.mark.parametrize("full", [False, True])
async def test_a_box_that_is_full_asks_for_nothing_new(autojump_clock: MockClock, full: bool) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await shared_room(here, there)
        await here.say(room, here.user("anna"), "hello")
        town.calls.clear()
        await catching_up(there, is_welcome=lambda: not full).run()
        await there.settle()
        assert bool(town.calls) is not full
        assert await there.bodies(room) == ([] if full else ["hello"])


async def test_a_server_that_is_away_or_lies_spoils_nothing(autojump_clock: MockClock) -> None:
    town = Town()
    async with (
        town.box("a.example") as liar,
        town.box("b.example") as there,
        town.box("c.example") as asleep,
        town.box("d.example") as honest,
    ):
        room = await shared_room(liar, there)
        for box in (asleep, honest):
            await box.joining.join(box.user("otto"), room, [liar.name])
            for other in (liar, there, asleep, honest):
                await other.push()
        await honest.say(room, honest.user("otto"), "hello")
        town.asleep.add(asleep.name)
        await _bend_leaves(there, liar)
        await catching_up(there).run()
        assert await there.settle() == 0
        assert await there.bodies(room) == ["hello"]


async def _bend_leaves(box: Box, liar: Box) -> None:
    asked = box.peers.make_leave

    async def make_leave(server, room, user):  # type: ignore[no-untyped-def]
        if server == liar.name:
            return {"event": {"prev_events": [7]}}
        return await asked(server, room, user)

    box.peers.make_leave = make_leave  # type: ignore[method-assign]


@pytest.mark.parametrize("version", ["10", "11", "12"])
async def test_a_room_that_everybody_else_left_is_not_asked_about(version: str, autojump_clock: MockClock) -> None:
    town = Town()
    async with town.box("a.example") as here:
        await here.create(here.user("anna"), version)
        town.calls.clear()
        await catching_up(here).run()
        assert town.calls == []
