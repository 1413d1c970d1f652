from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.base.limits import PRESENCE_S
from relay.box.button import Pressed, PushButton
from relay.box.light import Shown
from relay.console.presence import Found, Presence
from tests.fakes.input_device import FakeInputDevice
from tests.fakes.kernel_light import KernelLight

KEY = 0x198


class Board:
    """A board with one button and one light, and consoles that hear and see both."""

    def __init__(self, folder: Path) -> None:
        self.device = FakeInputDevice()
        self.folder = folder
        # Another process's: each console has its own.
        self.light = KernelLight(folder)
        self.lock = folder / "event0"
        self.lock.touch()
        self.there = True
        self.looked = 0

    def now_s(self) -> float:
        return self.device.now_s

    def console(self) -> Presence:
        return Presence(self.find, self.now_s)

    def find(self) -> Found | None:
        self.looked += 1
        if not self.there:
            return None
        return Found(PushButton(self.device, KEY, now_s=self.now_s), self.lock, KernelLight(self.folder))


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    board = Board(tmp_path)
    yield board
    if board.there:
        board.device.close()


def wait(board: Board, presence: Presence, seconds: float) -> list[Pressed]:
    """Let time go by as the console's loop does: it wakes when it asked to be woken."""
    said, end = [], board.device.now_s + seconds
    while board.device.now_s < end:
        due_s = presence.due_s()
        board.device.now_s = min(end, board.device.now_s + (seconds if due_s is None else max(due_s, 0.001)))
        said += presence.listen()
    return said


def test_held_for_three_seconds_it_allows_changes_for_a_while_and_the_light_shows_it(board: Board) -> None:
    presence = board.console()
    before = board.light.look()
    assert presence.listen() == []
    assert presence.found
    assert presence.left_s() == 0
    board.device.press(KEY)
    assert wait(board, presence, 3) == [Pressed.ALLOW]
    board.device.release(KEY)
    assert presence.left_s() == PRESENCE_S
    assert board.light.look() == board.light.look_of(Shown.ALLOWING) != before
    wait(board, presence, PRESENCE_S - 1)
    assert presence.left_s() > 0
    wait(board, presence, 2)
    assert presence.left_s() == 0
    assert board.light.look() == before
    assert presence.due_s() is None
    assert not presence.acting


def test_a_reset_that_is_near_blinks_and_letting_go_takes_it_back(board: Board) -> None:
    presence = board.console()
    presence.listen()
    board.device.press(KEY)
    assert wait(board, presence, 6) == [Pressed.ALLOW, Pressed.RESET_NEAR]
    assert board.light.look() == board.light.look_of(Shown.RESETTING)
    board.device.release(KEY)
    assert presence.listen() == [Pressed.RESET_CANCELLED]
    assert board.light.look() == board.light.look_of(Shown.ALLOWING)
    assert presence.left_s() > 0


@pytest.mark.parametrize("forgotten", [True, False])
def test_a_reset_goes_on_blinking_until_it_is_done(board: Board, forgotten: bool) -> None:
    presence = board.console()
    before = board.light.look()
    presence.listen()
    board.device.press(KEY)
    assert wait(board, presence, 11)[-1] is Pressed.RESET
    assert presence.left_s() == 0
    wait(board, presence, PRESENCE_S)
    assert board.light.look() == board.light.look_of(Shown.RESETTING)
    presence.done(forgotten=forgotten)
    assert not presence.acting
    assert (board.light.look() == before) is not forgotten


def test_a_console_that_ends_while_the_button_is_held_leaves_the_light_as_it_was(board: Board) -> None:
    presence = board.console()
    before = board.light.look()
    presence.listen()
    board.device.press(KEY)
    assert wait(board, presence, 6)[-1] is Pressed.RESET_NEAR
    presence.close()
    assert board.light.look() == before
    board.there = False


def test_presence_reaches_all_consoles_and_one_of_them_acts(board: Board, tmp_path: Path) -> None:
    first, second = board.console(), board.console()
    other = FakeInputDevice()
    other.now_s = board.device.now_s
    first.listen()
    board.device, kept = other, board.device
    second.listen()
    for device in (kept, other):
        device.press(KEY)
        device.now_s += 11
    assert first.listen()[-1] is second.listen()[-1] is Pressed.RESET
    assert [console.acting for console in (first, second)] == [True, False]
    first.done(forgotten=True)
    other.release(KEY)
    second.listen()
    other.press(KEY)
    other.now_s += 3
    assert second.listen() == [Pressed.ALLOW]
    assert second.acting
    second.close()
    first.close()
    board.there = False


def test_a_light_that_somebody_else_changed_meanwhile_is_left_alone(board: Board) -> None:
    presence = board.console()
    presence.listen()
    board.device.press(KEY)
    wait(board, presence, 3)
    board.device.release(KEY)
    board.light.show(Shown.ATTENTION)
    wait(board, presence, PRESENCE_S + 1)
    assert board.light.look() == board.light.look_of(Shown.ATTENTION)


def test_a_button_that_shows_up_late_is_found_and_a_board_without_one_is_left_in_peace(board: Board) -> None:
    board.there = False
    presence = board.console()
    presence.listen()
    assert presence.fileno() is None
    board.there = True
    wait(board, presence, 3)
    assert presence.found
    assert presence.fileno() is not None
    presence.close()
    board.there = False
    board.looked, presence = 0, board.console()
    wait(board, presence, 3600)
    assert board.looked == 4
    assert presence.due_s() is None


def test_a_button_that_goes_is_looked_for_again(board: Board) -> None:
    presence = board.console()
    presence.listen()
    gone, board.device = board.device, FakeInputDevice()
    gone.unplug()
    assert presence.listen() == []
    assert presence.fileno() is None
    board.device.now_s = gone.now_s + 3
    presence.listen()
    assert presence.found
