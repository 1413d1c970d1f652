from pathlib import Path

import trio
from trio.testing import MockClock

from relay.app.flash_book import FlashBookkeeper
from relay.base.clock import EARLIEST
from relay.box.flash_book import FILE_NAME, read_book
from relay.box.profile import load_profile
from tests.fakes.board_tree import BoardTree

HOUR_S, DAY_S = 3600, 24 * 3600


class TrioWall:
    """The time of day, moving with Trio's clock."""

    begun_s = EARLIEST.timestamp() + 30 * DAY_S

    def wall_ms(self) -> int:
        return int((self.begun_s + trio.current_time()) * 1000)


async def test_a_line_a_day_is_written_and_one_at_a_clean_stop(tmp_path: Path, autojump_clock: MockClock) -> None:
    tree, written = BoardTree(tmp_path, load_profile("raspberry-pi-4b")), tmp_path / FILE_NAME
    wall = TrioWall()
    wall.begun_s -= wall.wall_ms() / 1000 % DAY_S
    keeper = FlashBookkeeper(tmp_path, wall, tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        await trio.sleep(23 * HOUR_S)
        assert not written.exists()
        assert keeper.watch() == ({}, [])
        tree.card(sectors=2_002_048, up_s=90_000.0)
        assert keeper.watch() == ({}, [])
        await trio.sleep(2 * HOUR_S)
        while not written.exists():
            await trio.sleep(1)
        before = written.stat().st_mtime_ns
        assert keeper.watch()[0] == {"flash_written": {"card": "mmcblk0", "daily_mib": 1.0, "yearly_gib": 0.4}}
        await trio.sleep(20 * HOUR_S)
        assert written.stat().st_mtime_ns == before
        tree.card(sectors=2_004_096, up_s=95_000.0)
        nursery.cancel_scope.cancel()
    book = read_book(tmp_path)
    assert book is not None
    assert book.total_bytes == 2 * 2**20


async def test_days_of_next_to_nothing_are_not_worth_a_write_and_come_with_the_next_one(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    tree, written = BoardTree(tmp_path, load_profile("raspberry-pi-4b")), tmp_path / FILE_NAME
    keeper = FlashBookkeeper(tmp_path, TrioWall(), tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        await trio.sleep(HOUR_S)
        for day in range(1, 6):
            tree.card(sectors=2_000_000 + 100 * day, up_s=90_000.0 + day)
            await trio.sleep(DAY_S)
        assert not written.exists()
        tree.card(sectors=2_000_500 + 2048, up_s=95_000.0)
        await trio.sleep(DAY_S)
        while not written.exists():
            await trio.sleep(1)
        nursery.cancel_scope.cancel()
    book = read_book(tmp_path)
    assert book is not None
    assert [size_bytes for _, size_bytes in book.days[:6]] == [51_200] * 4 + [51_200, 2**20]


async def test_a_folder_on_no_disk_has_no_book(tmp_path: Path) -> None:
    keeper = FlashBookkeeper(tmp_path, TrioWall(), tmp_path / "nowhere")
    await keeper.run()
    assert keeper.watch() == ({}, [])
    assert not (tmp_path / FILE_NAME).exists()


async def test_while_the_clock_is_not_set_no_day_is_known(tmp_path: Path, autojump_clock: MockClock) -> None:
    BoardTree(tmp_path, load_profile("raspberry-pi-4b"))
    wall = TrioWall()
    wall.begun_s = 0
    with trio.move_on_after(5 * DAY_S):
        await FlashBookkeeper(tmp_path, wall, tmp_path).run()
    book = read_book(tmp_path)
    assert book is not None
    assert book.days == ()
