"""What is known of a past that was let go."""

from relay.rooms.matrix.storage import history
from relay.rooms.matrix.storage.stored_event import first_place_after
from tests.fakes.boxes import Town


async def test_a_room_whose_past_is_whole_has_no_horizon() -> None:
    async with Town().box("box.test") as box:
        room = await box.create(box.user("anna"))
        assert await box.ledger.read(history.horizon, room) < -(1 << 60)
        assert await box.ledger.read(history.log_begins_after) == 0
        assert await box.ledger.read(history.let_go) == history.LetGo(0, 0)


async def test_the_membership_log_remembers_where_it_was_cut() -> None:
    async with Town().box("box.test") as box:
        anna = box.user("anna")
        room = await box.create(anna)
        for number in range(10):
            await box.set_membership(room, anna, box.user(f"guest{number}"), "invite")
        middle = box.ledger.position
        for number in range(10):
            await box.set_membership(room, anna, box.user(f"guest{number}"), "leave")

        cut, count = await box.ledger.read(history.old_log_lines, first_place_after(middle), 100)
        assert count == 11
        await box.ledger.run(history.cut_log, cut)

        assert (await box.ledger.read(history.old_log_lines, first_place_after(middle), 100))[1] == 0
        assert await box.ledger.read(history.log_begins_after) == middle
        left = await box.ledger.read(lambda index: index.value("SELECT count(*) FROM membership_log"))
        assert left == 10
