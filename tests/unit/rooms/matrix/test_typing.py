import trio
from trio.testing import MockClock

from relay.base.ids import RoomId, UserId
from relay.base.limits import MAX_TYPING_USERS
from relay.rooms.matrix.typing import Typing
from tests.fakes.ledger import memory_ledger

ROOM = RoomId("!r:a.example")
ANNA = UserId("@anna:a.example")


async def test_who_says_nothing_more_stops_typing_and_watchers_are_rung(autojump_clock: MockClock) -> None:
    async with memory_ledger() as ledger, trio.open_nursery() as nursery:
        typing = Typing(ledger)
        await nursery.start(typing.run)
        typing.set(ROOM, ANNA, trio.current_time() + 30)
        serial = typing.serial
        assert typing.users(ROOM) == [ANNA]
        with ledger.watch(("typing", ROOM)) as watch, trio.fail_after(31):
            await watch.wait()
        assert typing.users(ROOM) == []
        assert typing.changed_since(serial) == {ROOM}
        assert not typing.changed_since(typing.serial)
        nursery.cancel_scope.cancel()


async def test_a_room_holds_a_bounded_number_of_typing_users() -> None:
    async with memory_ledger() as ledger:
        typing = Typing(ledger)
        for number in range(MAX_TYPING_USERS + 5):
            typing.set(ROOM, UserId(f"@u{number}:a.example"), 1e9)
        assert len(typing.users(ROOM)) == MAX_TYPING_USERS
        typing.set(ROOM, UserId("@u1:a.example"), None)
        assert len(typing.users(ROOM)) == MAX_TYPING_USERS - 1
