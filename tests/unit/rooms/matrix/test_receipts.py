from relay.base.ids import EventId, RoomId, UserId
from relay.base.limits import MAX_RECEIPT_THREADS
from relay.rooms.matrix import receipts
from tests.fakes.boxes import Box, Town


async def _room(box: Box) -> tuple[RoomId, list[EventId]]:
    room = await box.create(box.user("anna"))
    return room, [await box.say(room, box.user("anna"), f"m{number}") for number in range(3)]


async def _read(box: Box, room: RoomId, event: EventId, kind: str = "m.read", thread: str | None = None) -> bool:
    return await box.ledger.run(receipts.set_receipt, room, box.user("anna"), kind, event, thread, 7)


async def test_receipts_only_move_forward() -> None:
    async with Town().box("a.example") as box:
        room, said = await _room(box)
        position = box.ledger.position
        assert await _read(box, room, said[1])
        assert not await _read(box, room, said[0])
        assert not await _read(box, room, said[1])
        assert await _read(box, room, said[2])
        assert await box.ledger.read(receipts.rooms_with_news, position) == {room}
        content = await box.ledger.read(receipts.receipts_since, room, position, box.user("bert"))
        assert content == {said[2]: {"m.read": {box.user("anna"): {"ts": 7}}}}
        assert await box.ledger.read(receipts.receipts_since, room, box.ledger.position, box.user("bert")) == {}


async def test_a_private_receipt_is_its_users_alone() -> None:
    async with Town().box("a.example") as box:
        room, said = await _room(box)
        assert await _read(box, room, said[0], "m.read.private", "main")
        own = await box.ledger.read(receipts.receipts_since, room, 0, box.user("anna"))
        assert own == {said[0]: {"m.read.private": {box.user("anna"): {"ts": 7, "thread_id": "main"}}}}
        assert await box.ledger.read(receipts.receipts_since, room, 0, box.user("bert")) == {}
        assert set(await box.ledger.read(receipts.own_orders, room, box.user("anna"))) == {"main"}


async def test_who_is_not_in_the_room_or_reads_too_many_threads_is_not_noted() -> None:
    async with Town().box("a.example") as box:
        room, said = await _room(box)
        stranger = UserId("@x:b.example")
        assert not await box.ledger.run(receipts.set_receipt, room, stranger, "m.read", said[0], None, 7)
        assert not await _read(box, room, said[0], "m.fully_read")
        for number in range(MAX_RECEIPT_THREADS):
            assert await _read(box, room, said[0], "m.read", f"$thread{number}")
        assert not await _read(box, room, said[0], "m.read", "$one_more")


async def test_a_receipt_for_an_event_that_is_not_here_yet_is_kept() -> None:
    async with Town().box("a.example") as box:
        room, said = await _room(box)
        assert await _read(box, room, EventId("$" + "A" * 43))
        assert await box.ledger.read(receipts.own_orders, room, box.user("anna")) == {}
        assert await _read(box, room, said[0])
