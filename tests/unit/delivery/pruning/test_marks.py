"""Days and positions."""

from relay.delivery.pruning import marks
from relay.delivery.pruning.marks import DAY_MS
from tests.fakes.family import open_family
from tests.fakes.ledger import memory_ledger

NOON_MS = 21_000 * DAY_MS + DAY_MS // 2


async def test_what_came_before_a_marked_day_is_known_for_certain() -> None:
    async with memory_ledger(marks.TABLES) as ledger:
        assert await ledger.read(marks.position_before, NOON_MS) == -1
        await ledger.run(marks.note, NOON_MS)
        first = ledger.position
        await ledger.run(marks.note, NOON_MS + DAY_MS)
        # Today's mark was made some time today: it says nothing of this morning.
        assert await ledger.read(marks.position_before, NOON_MS) == -1
        assert await ledger.read(marks.position_before, NOON_MS + DAY_MS) == first
        assert await ledger.read(marks.last_day) == 21_001


async def test_a_day_is_marked_once_and_only_if_something_happened() -> None:
    async with open_family() as family:
        ledger = family.ledger
        assert not await ledger.read(marks.is_new_day, NOON_MS)
        ann = await family.app("ann")
        await ann.create_room()
        assert await ledger.read(marks.is_new_day, NOON_MS)
        await ledger.run(marks.note, NOON_MS)
        assert not await ledger.read(marks.is_new_day, NOON_MS)
        assert not await ledger.read(marks.is_new_day, NOON_MS + DAY_MS)
        await ann.create_room()
        assert await ledger.read(marks.is_new_day, NOON_MS + DAY_MS)


async def test_days_that_have_not_come_are_taken_back() -> None:
    async with memory_ledger(marks.TABLES) as ledger:
        await ledger.run(marks.note, NOON_MS + 9_000 * DAY_MS)
        await ledger.run(marks.note, NOON_MS)
        assert await ledger.read(marks.last_day) == 21_000


async def test_a_time_from_before_the_clock_was_set_is_of_the_first_day_that_is_known() -> None:
    async with memory_ledger(marks.TABLES) as ledger:
        assert await ledger.read(marks.certain, NOON_MS) == NOON_MS
        assert await ledger.read(marks.certain, 5) > NOON_MS + 90_000 * DAY_MS
        await ledger.run(marks.note, NOON_MS)
        assert await ledger.read(marks.certain, 5) == 21_000 * DAY_MS
