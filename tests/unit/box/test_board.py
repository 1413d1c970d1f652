import platform
from pathlib import Path

import pytest

from relay.base.errors import ConfigError
from relay.box.board import Identity, choose_profile, identify, status_light


# Under ProcSubset=pid, as the relay runs, the first is out of sight.
@pytest.mark.parametrize("place", ["proc/device-tree", "sys/firmware/devicetree/base"])
def test_a_device_tree_board_is_known_by_its_compatible_strings(tmp_path: Path, place: str) -> None:
    tree = tmp_path / place
    tree.mkdir(parents=True)
    # The kernel ends every string with a zero byte.
    (tree / "compatible").write_bytes(b"raspberrypi,model-zero-2-w\0brcm,bcm2837\0")
    (tree / "model").write_bytes(b"Raspberry Pi Zero 2 W Rev 1.0\0")
    identity = identify(tmp_path)
    assert identity.compatible == ("raspberrypi,model-zero-2-w", "brcm,bcm2837")
    assert identity.model == "Raspberry Pi Zero 2 W Rev 1.0"
    assert choose_profile(identity) == "raspberry-pi-zero-2-w"


def test_a_pc_is_known_by_its_machine_name(tmp_path: Path) -> None:
    firmware = tmp_path / "sys/class/dmi/id"
    firmware.mkdir(parents=True)
    (firmware / "product_name").write_text("NUC7i3\n")
    identity = identify(tmp_path)
    assert (identity.compatible, identity.model, identity.machine) == ((), "NUC7i3", platform.machine())
    assert choose_profile(Identity((), "NUC7i3", "x86_64")) == "generic-x86-64"


def test_a_board_that_nobody_described_gets_the_generic_profile_of_its_kind() -> None:
    assert choose_profile(Identity(("acme,anvil", "acme,soc"), "Anvil", "aarch64")) == "generic-arm64"


def test_a_machine_of_an_unknown_kind_is_refused_with_the_next_step() -> None:
    with pytest.raises(ConfigError, match="no profile for riscv64 machines; relay board --probe"):
        choose_profile(Identity((), "", "riscv64"))


def test_the_light_of_the_board_is_found_and_a_profile_of_ones_own_may_name_another(tmp_path: Path) -> None:
    tree = tmp_path / "proc/device-tree"
    tree.mkdir(parents=True)
    (tree / "compatible").write_bytes(b"raspberrypi,4-model-b\0")
    for name in ("ACT", "front"):
        (tmp_path / "sys/class/leds" / name).mkdir(parents=True)
        (tmp_path / "sys/class/leds" / name / "trigger").write_text("[none]")
    assert status_light(tmp_path, tmp_path).name == "ACT"
    (tmp_path / "profile.toml").write_text('[leds]\nstatus = ["front"]\n')
    assert status_light(tmp_path, tmp_path).name == "front"
    (tmp_path / "profile.toml").write_text("[lamps]\n")
    assert status_light(tmp_path, tmp_path).name == ""
