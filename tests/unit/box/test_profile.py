from pathlib import Path

import pytest

from relay.base.errors import ConfigError
from relay.box.profile import FOLDER, load_profile, match, names

BOARDS = {
    "raspberrypi,model-zero-2-w": "raspberry-pi-zero-2-w",
    "raspberrypi,3-model-b-plus": "raspberry-pi-3b-plus",
    "raspberrypi,3-model-b": "raspberry-pi-3b-plus",
    "raspberrypi,4-model-b": "raspberry-pi-4b",
    "raspberrypi,5-model-b": "raspberry-pi-5",
    "xunlong,orangepi-zero3": "orange-pi-zero-3",
    "radxa,zero-3w": "radxa-zero-3w",
    "radxa,zero-3e": "radxa-zero-3e",
    "linux,dummy-virt": "qemu-virt",
}


@pytest.mark.parametrize("name", names())
def test_every_profile_loads_and_says_where_its_facts_come_from(name: str) -> None:
    profile = load_profile(name)
    assert profile.board.name
    assert profile.board.sources
    assert profile.memory.relay_high_mib < profile.memory.relay_max_mib < profile.memory.ram_mib_min
    assert profile.thermal.warn_c < profile.thermal.critical_c


@pytest.mark.parametrize("name", [name for name in names() if name.startswith("raspberry")])
def test_a_broadcom_watchdog_is_never_asked_for_more_than_it_can(name: str) -> None:
    watchdog = load_profile(name).watchdog
    assert watchdog.driver == "bcm2835-wdt"
    assert 0 < watchdog.runtime_s <= watchdog.reboot_s <= 15


def test_boards_are_matched_by_the_most_specific_string_first() -> None:
    for compatible, name in BOARDS.items():
        assert match([compatible, "vendor,soc"], "aarch64") == name
    assert match(["raspberrypi,9-model-z", "brcm,bcm9999"], "aarch64") == "generic-arm64"
    assert match([], "x86_64") == "generic-x86-64"
    assert match([], "riscv64") is None


def test_no_two_profiles_claim_the_same_board() -> None:
    claims = [text for name in names() for text in load_profile(name).board.match_compatible]
    assert sorted(claims) == sorted(BOARDS)


def test_single_values_can_be_overridden(tmp_path: Path) -> None:
    override = tmp_path / "profile.toml"
    override.write_text('[button]\nsource = "evdev"\ndevice = "gpio-keys"\nkey = 141\n[thermal]\nwarn_c = 60\n')
    profile = load_profile("raspberry-pi-4b", override=override)
    assert (profile.button.device, profile.button.key, profile.thermal.warn_c) == ("gpio-keys", 141, 60)
    assert profile.thermal.critical_c == load_profile("raspberry-pi-4b").thermal.critical_c
    assert load_profile("raspberry-pi-4b", override=tmp_path / "none.toml") == load_profile("raspberry-pi-4b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour = 1", "profile desk: unknown section colour"),
        ("[thermal]\nwarm_c = 1", "unknown setting in thermal warm_c"),
        ('[button]\nsource = "evdev"\nkey = 408', "systemd-logind would turn the board off"),
        ('[button]\nsource = "gpio"', "button.source is 'gpio'"),
        ('[watchdog]\ndriver = "bcm2835-wdt"\nhw_max_s = 16', "bcm2835-wdt takes 15 at most"),
        ('[button]\nsource = "evdev"', "button.key is missing"),
        ('[keystore]\nkind = "rpi-otp"', "otp_first_row goes with"),
        ("[watchdog]\nhw_max_s = 15\nruntime_s = 60", "watchdog.runtime_s is 60; it may be 5 to"),
        ("schema = 2", "schema 2, this release knows 1"),
        ('[[console]]\ndev = "/dev/ttyS0"\nkind = "modem"', "console.kind is 'modem'"),
        ('[[console]]\ndev = "ttyS0"\nkind = "uart"', "console.dev is 'ttyS0'"),
        ('[[console]]\ndev = "/dev/ttyS0 --now"\nkind = "uart"', "console.dev is '/dev/ttyS0 --now'"),
        ('[[console]]\ndev = "/dev/../etc"\nkind = "uart"', "console.dev is '/dev/../etc'"),
    ],
)
def test_a_wrong_value_is_named_with_the_profile(tmp_path: Path, text: str, message: str) -> None:
    override = tmp_path / "profile.toml"
    override.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_profile("desk", override=override)


def test_a_name_that_is_no_profile_is_refused_before_any_file_is_touched() -> None:
    for name in ("commodore-64", "../relay", "", "DESK"):
        with pytest.raises(ConfigError, match=r"there is no profile .*known are desk"):
            load_profile(name)
    assert (FOLDER / "desk.toml").exists()
