import select
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.box.button import EVENT, ButtonGoneError, Hold, Pressed, PushButton, find_button, open_button
from relay.box.profile import Button
from tests.fakes.input_device import FakeInputDevice

KEY, OTHER = 141, 114


@pytest.fixture
def device() -> Iterator[FakeInputDevice]:
    device = FakeInputDevice()
    yield device
    device.close()


def listening(device: FakeInputDevice) -> PushButton:
    return PushButton(device, KEY, now_s=lambda: device.now_s)


def wait(device: FakeInputDevice, button: PushButton, seconds: float) -> list[Pressed]:
    """Let time pass as a loop does that polls until the button is due."""
    said: list[Pressed] = []
    end_s = device.now_s + seconds
    while (due_s := button.due_s()) is not None and device.now_s + due_s <= end_s:
        device.now_s += due_s
        said += button.read()
    device.now_s = end_s
    return said


def test_a_record_is_24_bytes_on_machines_of_64_bits() -> None:
    assert EVENT.size == 24


def test_held_for_three_seconds_it_allows_and_for_ten_it_resets(device: FakeInputDevice) -> None:
    button = listening(device)
    device.press(KEY)
    assert button.read() == []
    assert button.due_s() == pytest.approx(3.0)
    assert wait(device, button, 4.9) == [Pressed.ALLOW]
    assert wait(device, button, 5.0) == [Pressed.RESET_NEAR]
    assert wait(device, button, 20.0) == [Pressed.RESET]
    assert button.due_s() is None
    device.release(KEY)
    assert button.read() == []


def test_letting_go_before_ten_seconds_cancels_the_reset(device: FakeInputDevice) -> None:
    button = listening(device)
    device.press(KEY)
    button.read()
    assert wait(device, button, 9.9) == [Pressed.ALLOW, Pressed.RESET_NEAR]
    device.release(KEY)
    assert button.read() == [Pressed.RESET_CANCELLED]
    assert wait(device, button, 60.0) == []


def test_a_short_press_and_another_key_say_nothing(device: FakeInputDevice) -> None:
    button = listening(device)
    device.press(OTHER)
    device.press(KEY)
    device.now_s += 2.9
    device.repeat(KEY)
    device.release(KEY)
    assert button.read() == []
    assert wait(device, button, 60.0) == []


def test_what_counts_is_when_it_was_held_and_not_when_it_was_read(device: FakeInputDevice) -> None:
    button = listening(device)
    device.press(KEY)
    device.now_s += 1.0
    device.release(KEY)
    device.now_s += 60.0
    assert button.read() == []
    device.press(KEY)
    device.now_s += 4.0
    device.release(KEY)
    device.now_s += 60.0
    assert button.read() == [Pressed.ALLOW]


def test_a_button_that_is_down_at_the_start_counts_only_after_it_came_up(device: FakeInputDevice) -> None:
    device.press(KEY)
    button = listening(device)
    device.repeat(KEY)
    assert wait(device, button, 60.0) == button.read() == []
    device.release(KEY)
    device.press(KEY)
    button.read()
    assert wait(device, button, 3.0) == [Pressed.ALLOW]


def test_after_events_were_lost_the_kernel_is_asked_and_the_hold_begins_anew(device: FakeInputDevice) -> None:
    button = listening(device)
    device.press(KEY)
    button.read()
    assert wait(device, button, 6.0) == [Pressed.ALLOW, Pressed.RESET_NEAR]
    for _ in range(50):
        device.press(OTHER)
        device.release(OTHER)
    assert button.read() == [Pressed.RESET_CANCELLED]
    assert button.due_s() == pytest.approx(3.0)
    for _ in range(50):
        device.press(OTHER)
        device.release(OTHER)
    device.release(KEY)
    assert button.read() == []
    assert wait(device, button, 60.0) == []


def test_a_stuck_button_stays_ignored_after_events_were_lost_until_it_came_up(device: FakeInputDevice) -> None:
    device.press(KEY)
    button = listening(device)
    for _ in range(50):
        device.press(OTHER)
        device.release(OTHER)
    assert button.read() == []
    assert button.due_s() is None
    device.release(KEY)
    for _ in range(50):
        device.press(OTHER)
        device.release(OTHER)
    assert button.read() == []
    device.press(KEY)
    button.read()
    assert button.due_s() == pytest.approx(3.0)


def test_its_descriptor_is_readable_when_something_waits(device: FakeInputDevice) -> None:
    button = listening(device)
    assert select.select([button], [], [], 0) == ([], [], [])
    device.press(KEY)
    assert select.select([button], [], [], 0) == ([button], [], [])
    button.read()
    assert select.select([button], [], [], 0) == ([], [], [])


def test_a_device_that_is_gone_is_said_so(device: FakeInputDevice) -> None:
    button = listening(device)
    device.unplug()
    with pytest.raises(ButtonGoneError, match="No such device"):
        button.read()


@given(st.lists(st.tuples(st.sampled_from(["press", "release", "wait", "read"]), st.floats(0, 12)), max_size=30))
@settings(max_examples=100, deadline=None)
def test_a_reset_takes_one_hold_of_ten_seconds_whenever_it_is_read(moves: list[tuple[str, float]]) -> None:
    device = FakeInputDevice()
    button = listening(device)
    since_s, holds, resets = None, 0, 0
    for move, seconds in moves:
        device.now_s += seconds if move == "wait" else 0
        if move == "press" and since_s is None:
            since_s = device.now_s
            device.press(KEY)
        elif move == "release" and since_s is not None:
            holds += device.now_s - since_s >= 10.0
            since_s = None
            device.release(KEY)
        elif move == "read":
            resets += button.read().count(Pressed.RESET)
    resets += button.read().count(Pressed.RESET)
    assert resets == holds + (since_s is not None and device.now_s - since_s >= 10.0)
    device.close()


def test_a_hold_that_never_was_says_nothing() -> None:
    hold = Hold()
    assert (hold.release(5.0), hold.reach(99.0), hold.next_s(), hold.drop()) == ([], [], None, [])


def kernel(root: Path, event: str, name: str, keys: str) -> None:
    folder = root / "sys/class/input" / event / "device"
    (folder / "capabilities").mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "capabilities/key").write_text(f"{keys}\n")


def test_the_button_is_found_by_its_key_and_by_the_name_of_its_device(tmp_path: Path) -> None:
    # KEY_SETUP, 141, is bit 13 of the third word of 64 bits.
    kernel(tmp_path, "event0", "vc4-hdmi", "1 0")
    kernel(tmp_path, "event10", "soc:shutdown_button", "2000 0 0")
    kernel(tmp_path, "event2", "gpio-keys", "2000 0 10000000000000")
    kernel(tmp_path, "event3", "broken", "zebra 0 0")
    assert find_button(Button(source="evdev", key=141), tmp_path) == tmp_path / "dev/input/event2"
    shutdown = Button(source="evdev", key=141, device="soc:shutdown_button")
    assert find_button(shutdown, tmp_path) == tmp_path / "dev/input/event10"
    assert find_button(Button(source="evdev", key=30), tmp_path) is None
    assert find_button(Button(), tmp_path) is None


def test_the_button_may_be_named_by_its_path(tmp_path: Path) -> None:
    button = Button(source="evdev", key=141, device="/dev/input/by-path/platform-keys-event")
    assert find_button(button, tmp_path) is None
    path = tmp_path / "dev/input/by-path/platform-keys-event"
    path.parent.mkdir(parents=True)
    path.touch()
    assert find_button(button, tmp_path) == path


def test_a_board_without_a_button_or_with_one_that_cannot_be_opened_has_none(tmp_path: Path) -> None:
    assert open_button(Button(), tmp_path) is None
    kernel(tmp_path, "event0", "gpio-keys", "2000 0 0")
    assert open_button(Button(source="evdev", key=141), tmp_path) is None
    device = tmp_path / "dev/input/event0"
    device.parent.mkdir(parents=True)
    device.write_text("a file is no input device")
    assert open_button(Button(source="evdev", key=141), tmp_path) is None
