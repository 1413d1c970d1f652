from pathlib import Path

import pytest

from relay.box.profile import Watchdog, load_profile
from relay.box.watchdog import HardwareWatchdog, look_at_watchdog
from tests.fakes.board_tree import BoardTree


@pytest.fixture
def pi(tmp_path: Path) -> BoardTree:
    return BoardTree(tmp_path, load_profile("raspberry-pi-4b"))


def seen(pi: BoardTree) -> HardwareWatchdog:
    watchdog = look_at_watchdog(pi.root)
    assert watchdog is not None
    return watchdog


def test_a_watchdog_says_what_it_is_and_who_feeds_it(pi: BoardTree) -> None:
    assert seen(pi) == HardwareWatchdog(
        device="watchdog0",
        driver="bcm2835-wdt",
        identity="A watchdog timer",
        timeout_s=14,
        max_timeout_s=15,
        fed=True,
        reset_board=False,
        stays_on=False,
    )
    pi.watchdog(pi.profile.watchdog, fed=False)
    assert not seen(pi).fed


@pytest.mark.parametrize(("bits", "reset"), [(0, False), (0x20, True), (0x21, True), (0x01, False)])
def test_the_reason_of_the_last_start_is_one_bit_of_several(pi: BoardTree, bits: int, reset: bool) -> None:
    pi.watchdog(pi.profile.watchdog, bootstatus=bits)
    assert seen(pi).reset_board is reset


@pytest.mark.parametrize(
    ("driver", "told_s", "true_s"),
    [("bcm2835-wdt", 15, 15), ("bcm2835-wdt", 60, 12), ("bcm2835-wdt", 100, 4), ("dw-wdt", 60, 60)],
)
def test_broadcoms_take_more_than_they_can_count_modulo_16(
    pi: BoardTree, driver: str, told_s: int, true_s: int
) -> None:
    pi.watchdog(Watchdog(driver=driver), timeout_s=told_s)
    assert seen(pi).true_timeout_s == true_s


def test_an_older_kernel_does_not_say_the_longest_time(pi: BoardTree) -> None:
    (pi.watchdog_folder / "max_timeout").unlink()
    assert seen(pi).max_timeout_s is None


def test_a_watchdog_that_names_no_device_is_known_by_its_identity(pi: BoardTree) -> None:
    pi.watchdog(pi.profile.watchdog, timeout_s=60)
    (pi.watchdog_folder / "device/driver").unlink()
    assert (seen(pi).driver, seen(pi).true_timeout_s) == ("", 60)
    pi.write("sys/class/watchdog/watchdog0/identity", "Broadcom BCM2835 Watchdog timer\n")
    assert seen(pi).true_timeout_s == 12


def test_a_board_without_one_has_none(tmp_path: Path) -> None:
    assert look_at_watchdog(tmp_path) is None
