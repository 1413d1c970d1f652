import datetime
from pathlib import Path

import pytest

from relay.base import clock
from relay.box.flash_book import FlashBook, write_book
from relay.box.profile import Watchdog, load_profile
from relay.cli import board
from relay.cli.board_health import find_on_the_board
from tests.fakes.board_tree import BoardTree

CARD = "mmcblk0:1b534d3030303030"


@pytest.fixture
def pi(tmp_path: Path) -> BoardTree:
    """Return a Raspberry Pi 4B that is well."""
    return BoardTree(tmp_path, load_profile("raspberry-pi-4b"))


def found(tree: BoardTree) -> list[tuple[str, str]]:
    return [(finding.level, finding.what) for finding in find_on_the_board(tree.root, tree.root)]


def said(tree: BoardTree) -> list[str]:
    return board.render(board.describe(tree.root, tree.root))


def test_heat_weak_power_and_worn_flash_are_found_with_the_next_step(pi: BoardTree) -> None:
    pi.zone(78_000)
    pi.cooling("cpufreq-cpu0", 2, 4)
    pi.cooling("gpio-fan", 1, 1, number=1)
    pi.supply(alarm=True)
    pi.card(life_time="0x09 0x01")
    assert found(pi) == [
        ("warning", "the board is 78 C warm and goes slower"),
        ("fault", "the power supply is too weak"),
        ("warning", "the flash mmcblk0 wears out: 80 to 90 % of its life used"),
    ]
    lines = said(pi)
    assert "temperature: 78 C, warm from 75 C, the processor goes slower" in lines
    assert "power supply: too weak" in lines
    assert any(line.startswith("flash: mmcblk0, 80 to 90 % of its life used, ") for line in lines)


def test_a_profile_of_ones_own_that_is_wrong_is_a_fault(pi: BoardTree) -> None:
    (pi.root / "profile.toml").write_text("[lamps]\n")
    ((level, what),) = found(pi)
    assert level == "fault"
    assert "lamps" in what


def test_a_watchdog_that_nobody_feeds_is_found_and_said(pi: BoardTree) -> None:
    pi.watchdog(pi.profile.watchdog, fed=False)
    assert found(pi) == [("warning", "nobody feeds the watchdog watchdog0: a board that hangs stays so")]
    assert "watchdog: bcm2835-wdt, nobody feeds it" in said(pi)


def test_a_time_that_the_chip_takes_modulo_16_is_a_fault(pi: BoardTree) -> None:
    pi.watchdog(pi.profile.watchdog, timeout_s=60)
    assert found(pi) == [("fault", "the watchdog was told 60 s and resets the board after 12 s")]
    assert "watchdog: bcm2835-wdt, resets the board after 12 s" in said(pi)


def test_a_watchdog_of_another_chip_may_be_told_otherwise(pi: BoardTree) -> None:
    pi.watchdog(Watchdog(driver="dw-wdt", hw_max_s=60), timeout_s=60)
    assert found(pi) == [("note", "the watchdog resets the board after 60 s, 14 s are its own")]


def test_a_start_after_the_watchdog_reset_the_board_is_told(pi: BoardTree) -> None:
    pi.watchdog(pi.profile.watchdog, bootstatus=0x20 | 0x8000)
    assert found(pi) == [("warning", "the watchdog has reset the board: it hung before this start")]


def test_a_watchdog_is_nobodys_business_where_the_profile_has_none(tmp_path: Path) -> None:
    tree = BoardTree(tmp_path, load_profile("generic-x86-64"))
    tree.write("proc/device-tree/compatible", b"")
    tree.watchdog(Watchdog(driver="iTCO_wdt", hw_max_s=600), fed=False, timeout_s=30)
    assert [what for _, what in found(tree) if "watchdog" in what] == []


def test_a_board_whose_random_numbers_have_no_hardware_starts_slowly(pi: BoardTree) -> None:
    pi.randomness("none")
    ((level, what),) = found(pi)
    assert level == "warning"
    assert "random numbers" in what
    assert "random numbers: no hardware for them" in said(pi)


def test_a_clock_with_an_empty_battery_is_noted(tmp_path: Path) -> None:
    tree = BoardTree(tmp_path, load_profile("qemu-virt"))
    for shows_s in (None, int(clock.EARLIEST.timestamp()) - 1):
        tree.rtc(shows_s=shows_s)
        assert found(tree) == [("note", "the clock rtc0 does not keep the time while the power is off")]


def test_a_button_that_the_kernel_does_not_show_is_found(pi: BoardTree) -> None:
    (pi.root / "profile.toml").write_text('[button]\nsource = "evdev"\nkey = 148\n')
    assert found(pi) == [("note", "the kernel does not show the button that the profile names")]
    assert "button: none" in said(pi)
    pi.button(148)
    assert found(pi) == []
    assert "button: /dev/input/event0, hold 3 s to allow changes, 10 s to reset" in said(pi)


def test_a_card_that_wears_too_fast_is_found_from_what_a_day_writes(pi: BoardTree) -> None:
    today = int(datetime.datetime.now(datetime.UTC).timestamp()) // 86_400
    gib, sectors = 2**30, 2_000_000
    write_book(pi.root, FlashBook(CARD, sectors, 80_000.0, 90 * gib, ((today - 10, gib), (today - 1, 89 * gib))))
    assert found(pi) == []
    assert any("9216.0 MiB a day, 3285 GiB a year written, of which the card bears" in line for line in said(pi))
    days = ((today - 10, 400 * gib), (today - 1, 0))
    write_book(pi.root, FlashBook(CARD, sectors, 80_000.0, 400 * gib, days))
    assert found(pi) == [("warning", "the card mmcblk0 bears 1.8 years of 40960 MiB a day")]


@pytest.mark.parametrize(
    ("life", "reserve", "level", "words"),
    [
        ("0x08 0x01", "0x01", "", ""),
        ("0x09 0x01", "0x01", "warning", "80 to 90 % of its life used"),
        ("0x01 0x0a", "0x01", "warning", "90 to 100 % of its life used"),
        ("0x0b 0x01", "0x01", "fault", "past the end of its life"),
        ("0x02 0x01", "0x02", "warning", "80 % of its spare blocks used"),
        ("0x00 0x00", "0x03", "fault", "90 % of its spare blocks used"),
        ("0x09 0x01", "0x02", "warning", "80 to 90 % of its life used, 80 % of its spare blocks used"),
    ],
)
def test_emmc_is_to_be_replaced_before_it_is_worn_out(
    pi: BoardTree, life: str, reserve: str, level: str, words: str
) -> None:
    pi.card(type="MMC", life_time=life, pre_eol_info=reserve)
    assert found(pi) == ([(level, f"the flash mmcblk0 wears out: {words}")] if level else [])


def test_emmc_is_projected_from_what_it_says_of_its_life(pi: BoardTree) -> None:
    today = int(datetime.datetime.now(datetime.UTC).timestamp()) // 86_400
    days = ((today - 10, 10 * 1000**3), (today, 0))
    write_book(pi.root, FlashBook(CARD, 2_000_000, 80_000.0, 10 * 1000**3, days))
    pi.card(type="MMC", life_time="0x05 0x02", pre_eol_info="0x01")
    # 32 GB borne 900 times, half of it used, at a gigabyte a day.
    (line,) = (line for line in said(pi) if line.startswith("flash: "))
    assert line.startswith("flash: mmcblk0, 40 to 50 % of its life used, 953.7 MiB a day, ")
    assert line.endswith(", of which the card bears 39.5 years")
    assert found(pi) == []
    pi.card(type="MMC", life_time="0x08 0x08", pre_eol_info="0x01")
    assert "of which the card bears 15.8 years" in "".join(said(pi))


@pytest.mark.parametrize(
    ("disk", "words"),
    [
        ("nvme0n1", ", wear unknown (smartctl -A as root asks the disk), "),
        ("sda", ", wear unknown (smartctl -A as root asks the disk), "),
        ("vda", ", wear unknown, "),
        ("mmcblk0", ", "),
    ],
)
def test_of_a_disk_that_does_not_say_its_wear_that_is_said_and_no_cards_figure_is_taken(
    pi: BoardTree, disk: str, words: str
) -> None:
    today = int(datetime.datetime.now(datetime.UTC).timestamp()) // 86_400
    pi.card(disk=disk)
    card = CARD.replace("mmcblk0", disk)
    days = ((today - 10, 400 * 2**30), (today, 0))
    write_book(pi.root, FlashBook(card, 2_000_000, 80_000.0, 400 * 2**30, days))
    (line,) = (line for line in said(pi) if line.startswith("flash: "))
    assert line.startswith(f"flash: {disk}{words}40960.0 MiB a day")
    assert ("of which the card bears" in line) == (disk == "mmcblk0")
    assert bool(found(pi)) == (disk == "mmcblk0")
