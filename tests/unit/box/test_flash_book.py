from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from relay.box.flash_book import FILE_NAME, FlashBook, begin, look_in_book, read_book, write_book
from relay.box.flash_health import Counter
from relay.box.profile import load_profile
from tests.fakes.board_tree import BoardTree

DAY = 20_780


def counter(sectors: int, up_s: float, card: str = "mmcblk0:1b53") -> Counter:
    return Counter(card, sectors, up_s)


def test_days_add_up_over_a_start_of_the_machine() -> None:
    book = begin(counter(1000, 50.0), DAY)
    book = book.look(counter(3000, 600.0), DAY)
    book = book.look(counter(4000, 90_000.0), DAY + 1)
    # The power was cut and came back: the counter is what was written since.
    book = book.look(counter(500, 30.0), DAY + 1)
    assert book.days == ((DAY, 2000 * 512), (DAY + 1, 1500 * 512))
    assert book.total_bytes == 3500 * 512
    assert book.daily_bytes == 2000 * 512
    assert book.yearly_bytes == 2000 * 512 * 365


def test_before_a_day_is_over_nobody_knows_what_a_day_writes() -> None:
    book = begin(counter(0, 5.0), DAY).look(counter(9, 6.0), DAY)
    assert (book.daily_bytes, book.yearly_bytes, book.years_left(10**12)) == (None, None, None)


def test_a_day_without_a_look_counts_as_one_on_which_little_was_written() -> None:
    book = begin(counter(0, 5.0), DAY).look(counter(800, 6.0), DAY).look(counter(800, 7.0), DAY + 4)
    assert book.daily_bytes == 800 * 512 // 4


def test_what_the_card_has_borne_is_taken_off_what_it_bears() -> None:
    book = FlashBook("c", 0, 0.0, total_bytes=400_000_000, days=((DAY, 1_000_000), (DAY + 1, 0)))
    assert book.years_left(765_000_000) == 1.0
    assert book.years_left(300_000_000) == 0.0
    assert book.years_left(0) is None
    # What it says itself counts from its own beginning on, not from the book's.
    assert book.years_left(730_000_000, 50) == 1.0
    assert book.years_left(730_000_000, 110) == 0.0


def test_another_card_begins_another_book() -> None:
    book = begin(counter(0, 5.0), DAY).look(counter(800, 6.0), DAY)
    assert book.look(counter(900, 7.0, card="mmcblk0:77"), DAY + 1) == begin(
        counter(900, 7.0, card="mmcblk0:77"), DAY + 1
    )


def test_a_counter_of_32_bits_turns_over() -> None:
    book = begin(counter(2**32 - 10, 5.0), DAY).look(counter(20, 6.0), DAY)
    assert book.total_bytes == 30 * 512
    # The same card was pulled and put back: what was counted then is what it shows now.
    assert begin(counter(5000, 5.0), DAY).look(counter(20, 6.0), DAY).total_bytes == 20 * 512


def test_a_clock_that_is_not_set_or_goes_back_counts_to_the_day_known_last() -> None:
    book = begin(counter(0, 5.0), DAY).look(counter(100, 6.0), None).look(counter(300, 7.0), DAY - 9_000)
    assert book.days == ((DAY, 300 * 512),)
    timeless = begin(counter(0, 5.0), None).look(counter(100, 6.0), None)
    assert (timeless.days, timeless.today, timeless.total_bytes) == ((), None, 100 * 512)
    assert timeless.look(counter(150, 7.0), DAY).days == ((DAY, 50 * 512),)


def test_a_day_that_a_wrong_clock_showed_is_taken_back_with_what_was_written_on_it() -> None:
    book = begin(counter(0, 5.0), DAY).look(counter(100, 6.0), DAY).look(counter(200, 7.0), DAY + 1)
    # Somebody typed the wrong year, and put it right later.
    book = book.look(counter(300, 8.0), DAY + 9_000).look(counter(400, 9.0), DAY + 2)
    assert book.days == ((DAY, 100 * 512), (DAY + 1, 100 * 512), (DAY + 2, 200 * 512))
    assert book.daily_bytes == 100 * 512


@given(st.lists(st.tuples(st.integers(0, 10**6), st.booleans(), st.integers(0, 3)), max_size=40))
@settings(max_examples=60, deadline=None)
def test_whatever_happens_the_days_are_in_order_and_bounded_and_nothing_is_counted_twice(
    moves: list[tuple[int, bool, int]],
) -> None:
    sectors, up_s, day, written = 0, 100.0, DAY, 0
    book = begin(counter(sectors, up_s), day)
    for more, restarts, days in moves:
        if restarts:
            sectors, up_s = 0, 1.0
            book = book.look(counter(sectors, up_s), day)
        sectors, up_s, day, written = sectors + more, up_s + 10.0, day + days, written + more
        book = book.look(counter(sectors, up_s), day)
    assert book.total_bytes == written * 512
    assert [known for known, _ in book.days] == sorted({known for known, _ in book.days})
    assert len(book.days) <= 30


def test_the_book_is_kept_and_a_torn_one_is_none(tmp_path: Path) -> None:
    book = begin(counter(7, 5.0), DAY).look(counter(800, 6.0), DAY + 1)
    assert read_book(tmp_path) is None
    write_book(tmp_path, book)
    assert read_book(tmp_path) == book
    whole = (tmp_path / FILE_NAME).read_text()
    for text in (whole[:-5], "[]", "{}", "null", '{"days": 5}', '{"days": [], "other": 1}'):
        (tmp_path / FILE_NAME).write_text(text)
        assert read_book(tmp_path) is None
    write_book(tmp_path / "nowhere", book)


def test_a_look_writes_nothing(tmp_path: Path) -> None:
    tree = BoardTree(tmp_path, load_profile("raspberry-pi-4b"))
    now_s = DAY * 86_400.0
    first = look_in_book(tmp_path, now_s, tmp_path)
    assert first is not None
    assert not (tmp_path / FILE_NAME).exists()
    write_book(tmp_path, first)
    tree.card(sectors=2_000_100, up_s=90_000.0)
    second = look_in_book(tmp_path, now_s, tmp_path)
    assert second is not None
    assert second.total_bytes == 100 * 512
    assert look_in_book(tmp_path, now_s, tmp_path / "nowhere") is None
