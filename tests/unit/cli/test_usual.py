import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from relay.base.errors import ConfigError
from relay.base.limits import MIB
from relay.cli import usual as room
from relay.cli.provisioning import ProvisionPlan, plan_config
from relay.cli.usual import usual, usual_profile

SetSize = Callable[[int], None]


def board(root: Path, compatible: str) -> Path:
    (root / "proc/device-tree").mkdir(parents=True)
    (root / "proc/device-tree/compatible").write_bytes(compatible.encode() + b"\0")
    return root


@pytest.fixture
def appliance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(room, "APPLIANCE", tmp_path / "doorstep")
    return tmp_path / "doorstep"


@pytest.fixture
def card_of(monkeypatch: pytest.MonkeyPatch) -> SetSize:
    def set_size(mib: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(total=mib * MIB))

    set_size(64 * 1024)
    return set_size


def test_a_folder_of_ones_own_is_a_desk(tmp_path: Path) -> None:
    config = plan_config(ProvisionPlan(name="box.example"), tmp_path)
    assert config.server.profile == "desk"
    assert (config.client.listen, config.client.tls) == ("127.0.0.1:8008", False)
    assert config.federation.allow_private_peers


def test_in_the_packages_folder_the_board_decides_and_the_box_is_reachable(
    appliance: Path, tmp_path: Path, card_of: SetSize
) -> None:
    chosen = usual(appliance, root=board(tmp_path / "root", "raspberrypi,4-model-b"))
    assert chosen.profile == "raspberry-pi-4b"
    config = plan_config(ProvisionPlan(name="box.example", profile=chosen.profile), appliance)
    assert (config.client.listen, config.client.tls) == ("[::]:443", True)
    assert (config.federation.listen, config.federation.tls) == ("[::]:8448", True)
    assert not config.federation.allow_private_peers
    assert config.limits.index_mib == 8192


def test_what_is_named_comes_before_what_is_usual(appliance: Path, tmp_path: Path, card_of: SetSize) -> None:
    card_of(8 * 1024)
    plan = ProvisionPlan(
        name="box.example",
        profile="qemu-virt",
        client="127.0.0.1:8008",
        federation="[::]:18448",
        settings={"federation.allow_private_peers": "true", "limits.index_mib": "700"},
    )
    config = plan_config(plan, appliance)
    assert (config.client.listen, config.client.tls) == ("127.0.0.1:8008", False)
    assert config.federation.listen == "[::]:18448"
    assert config.federation.allow_private_peers
    assert config.limits.index_mib == 700
    assert plan_config(ProvisionPlan(name="box.example", profile="desk"), appliance).client.listen == "127.0.0.1:8008"


@pytest.mark.parametrize("card_mib", [64, 1024, 7_500, 15_000, 30_000, 1_000_000])
def test_limits_fit_the_card_and_each_other(appliance: Path, card_of: SetSize, card_mib: int) -> None:
    card_of(card_mib)
    config = plan_config(ProvisionPlan(name="box.example", profile="qemu-virt"), appliance)
    kept_mib = config.limits.index_mib + config.store.media_quota_mib
    assert kept_mib <= max(card_mib // 2, 256)
    assert kept_mib == 12_288 or card_mib < 32 * 1024


def test_a_machine_that_no_profile_knows_is_told(appliance: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(ConfigError, match="riscv64"):
        usual_profile(appliance, appliance / "no-root")
