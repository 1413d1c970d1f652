"""The fakes of light, watchdog, clock and board against the kernel's own; see test_kernel_devices for `guest`."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.base.clock import SystemClock
from relay.box.board import identify
from relay.box.light import FOLDER, Shown, StatusLight
from relay.box.profile import load_profile
from relay.box.rtc import look_at_rtc
from relay.box.watchdog import look_at_watchdog
from tests.fakes.board_tree import BoardTree
from tests.fakes.kernel_light import KernelLight

pytestmark = pytest.mark.interop

NAME = "doorstep"
PROFILE = "qemu-virt"


class RealLight(StatusLight):
    """The light on the board's own pin."""

    def __init__(self) -> None:
        super().__init__([NAME])
        self.place = FOLDER / NAME

    def look(self) -> dict[str, str]:
        """Return what can be seen of it."""
        return self._facts()


@pytest.fixture(params=["fake", pytest.param("kernel", marks=pytest.mark.guest)])
def light(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KernelLight | RealLight]:
    """Return a light that shows nothing of ours."""
    light = KernelLight(tmp_path) if request.param == "fake" else RealLight()
    light.show(Shown.HEALTHY)
    yield light
    light.release()


def names(folder: Path) -> set[str]:
    """Return the names of the attributes in `folder`."""
    return {path.name for path in folder.iterdir() if path.is_file()}


def test_attributes_come_and_go_with_the_trigger(light: KernelLight | RealLight) -> None:
    assert not {"delay_on", "pattern"} & names(light.place)
    light.show(Shown.STARTING)
    assert {"delay_on", "delay_off"} <= names(light.place)
    assert light.look() == {"trigger": "timer", "delay_on": "150", "delay_off": "150"}
    light.show(Shown.ATTENTION)
    assert "delay_on" not in names(light.place)
    assert light.look() == {"trigger": "pattern", "pattern": "1 120 1 0 0 180 0 0 1 120 1 0 0 1600 0 0"}
    light.show(Shown.HEALTHY)
    assert light.look()["trigger"] == "none"
    assert int(light.look()["brightness"]) > 0


@pytest.mark.parametrize("before", Shown)
def test_what_was_shown_is_given_back(light: KernelLight | RealLight, before: Shown) -> None:
    light.show(before)
    look = light.look()
    give_back = light.borrow(Shown.RESETTING)
    assert light.look() == {"trigger": "timer", "delay_on": "50", "delay_off": "50"}
    give_back()
    assert light.look() == look


def test_a_trigger_that_is_not_loaded_is_refused(light: KernelLight | RealLight) -> None:
    with pytest.raises(OSError, match="Invalid argument") as caught:
        light._write("trigger", "no-such-trigger")
    assert caught.value.errno == errno.EINVAL


@pytest.mark.guest
def test_the_kernel_has_every_attribute_that_the_fakes_have(tmp_path: Path) -> None:
    BoardTree(tmp_path, load_profile(PROFILE))
    for place in ("watchdog/watchdog0", "rtc/rtc0", "input/event0/device", f"leds/{NAME}", "misc/hw_random"):
        assert names(tmp_path / "sys/class" / place) - names(Path("/sys/class") / place) == set(), place


@pytest.mark.guest
def test_the_board_is_known_with_proc_and_without_it(tmp_path: Path) -> None:
    (tmp_path / "sys").symlink_to("/sys")
    assert identify(tmp_path) == identify()
    assert load_profile(PROFILE).board.match_compatible[0] in identify().compatible


@pytest.mark.guest
def test_the_watchdog_is_fed_by_systemd_as_the_profile_says() -> None:
    found, wanted = look_at_watchdog(), load_profile(PROFILE).watchdog
    assert found is not None
    assert found.fed
    assert found.timeout_s == found.true_timeout_s == wanted.runtime_s
    assert (found.identity, found.max_timeout_s) == ("i6300ESB timer", wanted.hw_max_s)
    assert not found.reset_board


@pytest.mark.guest
def test_the_clock_of_the_board_set_the_time() -> None:
    found = look_at_rtc()
    assert found is not None
    assert found.set_the_time
    assert found.shows_s is not None
    assert abs(found.shows_s - SystemClock().wall_ms() / 1000) < 3
