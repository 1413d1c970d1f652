"""A room of two or of three boxes, and what the boxes in it may do and have to agree on."""

import contextlib
from collections.abc import AsyncIterator, Sequence

from relay.base.ids import RoomId, ServerName, UserId
from tests.fakes.boxes import Box, Town

SERVERS = [ServerName(f"{letter}.example") for letter in "abc"]


@contextlib.asynccontextmanager
async def two_in_a_room(town: Town) -> AsyncIterator[tuple[Box, Box, UserId, UserId, RoomId]]:
    """Have two boxes, anna on the first and otto on the second, both in a room of anna's."""
    async with town.box("one.test") as one, town.box("two.test") as two:
        anna, otto = one.user("anna"), two.user("otto")
        room = await one.create(anna)
        await two.joining.join(otto, room, [one.name], {})
        await town.settle()
        yield one, two, anna, otto, room


@contextlib.asynccontextmanager
async def three_in_a_room(town: Town, version: str) -> AsyncIterator[tuple[tuple[Box, Box, Box], RoomId]]:
    """Have three boxes with a user each, all in one room, with falling power."""
    first, second, third = SERVERS
    async with town.box(first) as one, town.box(second) as two, town.box(third) as three:
        room = await one.create(one.user("u"), version)
        levels = {two.user("u"): 100, three.user("u"): 60}
        if version == "10":
            levels[one.user("u")] = 100
        await one.writer.send(room, one.user("u"), "m.room.power_levels", {"users": levels}, state_key="")
        for box in (two, three):
            await box.joining.join(box.user("u"), room, [one.name])
            await town.settle()
        yield (one, two, three), room


async def act(town: Town, box: Box, verb: str, room: RoomId) -> bool:
    """Do what every box may do at any time; return whether `verb` was such a thing."""
    user = box.user("u")
    match verb:
        case "say":
            await box.say(room, user, "x")
        case "name":
            name = {"name": f"{box.name} {town.clock.wall_ms()}"}
            await box.writer.send(room, user, "m.room.name", name, state_key="")
        case "leave":
            await box.leaving.leave(user, room)
        case "rejoin":
            await box.joining.join(user, room, SERVERS)
        case "push":
            await box.push()
        case "lose":
            await box.push(only=lambda event: event.depth % 2 == 0)
        case "settle":
            await box.settle()
        case "nap":
            town.asleep ^= {box.name}
        case _:
            return False
    return True


async def end(town: Town, boxes: Sequence[Box], room: RoomId, times: int) -> None:
    """Let everybody in the room hear of everything: what was lost is noticed when its sender speaks again."""
    town.asleep.clear()
    for _ in range(times):
        for box in boxes:
            if await box.membership(room, box.user("u")) == "join":
                await box.say(room, box.user("u"), "the end")
            await town.settle()
    assert [await box.settle() for box in boxes] == [0] * len(boxes)


async def check_agreement(boxes: Sequence[Box], room: RoomId) -> None:
    """Fail unless those who agree on who is in the room hold the same state of it."""
    inside = [box for box in boxes if await box.membership(room, box.user("u")) == "join"]
    agreed = [box for box in inside if all([await other.membership(room, box.user("u")) == "join" for other in inside])]
    states = [await box.state(room) for box in agreed]
    assert all(held == states[0] for held in states)
