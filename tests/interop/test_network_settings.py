"""Ethernet set up, on trial and back again: the same tests with the fake service and with a real NetworkManager."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.base.config import Config, load
from relay.base.errors import ConfigError, ConflictError, RelayError
from relay.base.limits import FROM_AFAR_TRIAL_S, NETWORK_WAIT_S
from relay.base.trial import FILE_NAME, Uptime, pending
from relay.box import network_addressing, network_changes
from relay.box.network_bus import NetworkRefusedError, NetworkUnavailableError
from relay.cli import network_trial, settings
from relay.cli.child import ChildCall, command_for
from relay.cli.files import write_whole
from relay.cli.operate import operate
from tests.fakes.network_service import GETTING_ADDRESSES, NO_CABLE, WIFI, FakeNetworkService, Wire
from tests.interop.peer_environments import bus_daemon
from tests.interop.real_network import RealNetwork
from tests.interop.waiting import wait_until

pytestmark = pytest.mark.interop

FIXED = {"network.eth0.address": "192.0.2.5/24", "network.eth0.gateway": "192.0.2.1", "network.eth0.dns": "192.0.2.1"}
OTHER = {"network.eth0.address": "192.0.2.6/24"}


class Fake(FakeNetworkService):
    """What the real one offers to these tests."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, bus_daemon())
        self.wires["/org/freedesktop/NetworkManager/Devices/9"] = Wire("eth1", 1, NO_CABLE)

    def addresses(self, name: str) -> list[str]:
        return [one for wire in self.wires.values() if wire.name == name for one in wire.addresses.get(4, [])]

    @property
    def on_disk(self) -> list[str]:
        return [str(profile) for profile in self.disk.values()]

    def take(self, address: str) -> None:
        self.taken.add(address)

    def lease(self) -> None:
        self.leases = True

    def restart(self) -> None:
        self.checkpoints.clear()


@pytest.fixture(params=["fake", "real"])
def net(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "net").mkdir()
    kind: Any = Fake if request.param == "fake" else RealNetwork
    with kind(tmp_path / "net") as net:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", net.address)
        monkeypatch.setattr(network_changes, "_GRACE_S", 0.5)
        monkeypatch.setattr(network_addressing, "_DAD_MS", 100)
        yield net


@pytest.fixture
def box(tmp_path: Path) -> Path:
    (tmp_path / "box").mkdir()
    return tmp_path / "box"


class Machine:
    """The clock of a machine that can be started again."""

    def __init__(self) -> None:
        self.boot, self.late_s = "1", 0.0

    def __call__(self) -> Uptime:
        return Uptime(self.boot, Uptime.now().seconds + self.late_s)


def test_a_fixed_address_is_set_is_told_and_is_there_after_a_power_cut(net: Any, box: Path) -> None:
    told = settings.change(box, FIXED, None)
    assert told["changed"]
    assert not told["restart_needed"]
    (eth0,) = told["interfaces"]
    assert (eth0["name"], eth0["kind"], eth0["state"]) == ("eth0", "ethernet", "connected")
    ipv4 = {"how": "fixed", "addresses": ["192.0.2.5/24"], "gateway": "192.0.2.1", "dns": ["192.0.2.1"]}
    assert eth0["ipv4"] == ipv4
    assert "192.0.2.5/24" in net.addresses("eth0")
    assert operate(box, {"verb": "network"})["addresses"] == ["192.0.2.5"]
    assert operate(box, {"verb": "show"})["settings"]["network"]["eth0.address"] == "192.0.2.5/24"
    assert not settings.change(box, FIXED, None)["changed"]
    net.power_cut()
    wait_until(lambda: "192.0.2.5/24" in net.addresses("eth0"))


def test_what_is_on_trial_is_in_memory_until_it_is_kept(net: Any, box: Path) -> None:
    settings.change(box, FIXED, None)
    machine = Machine()
    assert settings.change(box, OTHER, 60, machine)["goes_back_in_s"] == 60
    assert net.addresses("eth0") == ["192.0.2.6/24"]
    assert "192.0.2.6" not in str(net.on_disk)
    with pytest.raises(ConflictError, match="on trial"):
        settings.change(box, {"network.eth0.dns": "auto"}, None, machine)
    assert settings.commit(box, machine) == {"kept": True}
    assert "192.0.2.6" in str(net.on_disk)
    assert settings.settle(box, machine) == {"went_back": False, "left_s": None}
    settings.go_back(box, machine)
    assert net.addresses("eth0") == ["192.0.2.5/24"]
    with pytest.raises(ConflictError):
        settings.go_back(box, machine)


def test_a_power_cut_in_a_trial_goes_back(net: Any, box: Path) -> None:
    settings.change(box, FIXED, None)
    machine = Machine()
    settings.change(box, OTHER, 60, machine)
    net.power_cut()
    machine.boot = "2"
    wait_until(lambda: net.addresses("eth0") == ["192.0.2.5/24"])
    assert settings.settle(box, machine, starting=True)["went_back"]
    assert net.addresses("eth0") == ["192.0.2.5/24"]
    assert not (box / FILE_NAME).exists()


def test_what_nobody_says_is_right_goes_back_in_time_or_later(net: Any, box: Path) -> None:
    machine = Machine()
    settings.change(box, FIXED, 60, machine)
    machine.late_s = 61
    assert settings.settle(box, machine)["went_back"]
    assert net.addresses("eth0") == []
    assert not net.on_disk
    assert network_trial.settings_in_force().get("eth0.address", "dhcp") == "dhcp"


def test_the_service_goes_back_by_itself_if_nobody_is_left(
    net: Any, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_trial, "SLACK_S", -1.0)
    settings.change(box, FIXED, 2)
    assert net.addresses("eth0") == ["192.0.2.5/24"]
    wait_until(lambda: not net.addresses("eth0"))
    with pytest.raises(ConflictError, match="as it was before"):
        settings.commit(box)


def test_a_service_that_starts_again_in_a_trial_is_brought_back_all_the_same(net: Any, box: Path) -> None:
    settings.change(box, FIXED, None)
    settings.change(box, OTHER, 60)
    net.restart()
    wait_until(lambda: net.addresses("eth0") == ["192.0.2.6/24"])
    with pytest.raises(ConflictError, match="went back by itself"):
        settings.commit(box)
    wait_until(lambda: net.addresses("eth0") == ["192.0.2.5/24"])
    assert not (box / FILE_NAME).exists()


def test_an_address_that_another_machine_has_is_not_taken(net: Any, box: Path) -> None:
    settings.change(box, FIXED, None)
    net.take("192.0.2.9")
    with pytest.raises(NetworkRefusedError, match="another machine may have"):
        settings.change(box, {"network.eth0.address": "192.0.2.9/24"}, 60)
    wait_until(lambda: net.addresses("eth0") == ["192.0.2.5/24"])
    assert not (box / FILE_NAME).exists()


def test_dhcp_is_waited_for_and_without_an_answer_everything_stays(
    net: Any, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.change(box, FIXED, None)
    monkeypatch.setattr(network_trial, "NETWORK_WAIT_S", NETWORK_WAIT_S / 40)
    with pytest.raises(NetworkRefusedError, match="no DHCP server"):
        settings.change(box, {"network.eth0.address": "dhcp"}, None)
    assert net.addresses("eth0") == ["192.0.2.5/24"]
    monkeypatch.setattr(network_trial, "NETWORK_WAIT_S", NETWORK_WAIT_S)
    net.lease()
    (eth0,) = settings.change(box, {"network.eth0.address": "dhcp", "network.eth0.dns": "auto"}, None)["interfaces"]
    assert eth0["ipv4"]["how"] == "dhcp"
    assert eth0["ipv4"]["addresses"] == ["192.0.2.77/24"]
    assert eth0["ipv4"]["gateway"] == "192.0.2.1"
    assert network_trial.settings_in_force()["eth0.gateway"] == "auto"


def test_an_interface_without_a_cable_is_set_for_when_it_has_one(net: Any, box: Path) -> None:
    told = settings.change(box, {"network.eth1.address": "198.51.100.5/24"}, None)
    assert any("no cable" in note for note in told["notes"])
    assert any("no gateway" in note for note in told["notes"])
    assert network_trial.settings_in_force()["eth1.address"] == "198.51.100.5/24"
    settings.go_back(box)
    assert not net.on_disk


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"network.eth9.address": "192.0.2.5/24"}, "no interface eth9; there is: eth0, eth1"),
        ({"network.eth0.gateway": "192.0.2.1"}, "not told a gateway while its address is dhcp"),
        ({"network.eth0.address": "192.0.2.5/24", "network.eth1.address": "192.0.2.5/24"}, "would both have"),
    ],
)
def test_what_cannot_work_touches_nothing(net: Any, box: Path, wanted: dict[str, str], why: str) -> None:
    if isinstance(net, Fake):
        del net.wires["/org/freedesktop/NetworkManager/Devices/2"]
    with pytest.raises(ConfigError, match=why):
        settings.change(box, wanted, 60)
    assert not list(box.iterdir())
    assert not net.on_disk


def test_a_wifi_network_is_tried_and_left_again_like_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, box: Path
) -> None:
    with Fake(tmp_path) as net:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", net.address)
        home = {"verb": "wifi_join", "ssid": "home", "password": "correct horse"}
        told = operate(box, {**home, "from_afar": True})
        assert (told["goes_back_in_s"], told["careful"]) == (FROM_AFAR_TRIAL_S, True)
        assert net.joined == b"home"
        assert not net.kept
        for change in (home, {"verb": "wifi_forget", "ssid": "home"}):
            with pytest.raises(ConflictError, match="on trial"):
                operate(box, change)
        operate(box, {"verb": "rollback"})
        assert not net.wires[WIFI].addresses
        operate(box, {**home, "confirm_s": 60})
        assert operate(box, {"verb": "commit"}) == {"kept": True}
        assert len(net.kept) == 1


def test_two_changes_at_once_are_one_too_many(net: Any, box: Path, tmp_path: Path) -> None:
    settings.change(box, FIXED, 60)
    with pytest.raises(RelayError, match="somebody else"):
        settings.change(tmp_path / "other", OTHER, None)
    assert net.addresses("eth0") == ["192.0.2.5/24"]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    (tmp_path / "fake").mkdir()
    with Fake(tmp_path / "fake") as net:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", net.address)
        monkeypatch.setattr(network_changes, "_GRACE_S", 0.2)
        yield net


@pytest.fixture
def home(box: Path) -> Path:
    (box / "relay.toml").write_text(Config.parse({"server": {"name": "box.example"}}).render())
    return box


def test_whoever_comes_over_the_network_gets_a_trial_without_asking(fake: Fake, box: Path) -> None:
    told = settings.change(box, FIXED, None, from_afar=True)
    assert (told["goes_back_in_s"], told["careful"]) == (FROM_AFAR_TRIAL_S, True)
    assert not fake.on_disk
    settings.commit(box)
    assert fake.on_disk


def test_an_interface_whose_connection_ends_while_it_is_asked_is_described_all_the_same(fake: Fake, box: Path) -> None:
    settings.change(box, FIXED, None)
    fake._active.clear()
    (eth0,) = (one for one in operate(box, {"verb": "network"})["interfaces"] if one["name"] == "eth0")
    assert eth0["ipv4"]["how"] == "fixed"
    assert network_trial.settings_in_force()["eth0.address"] == "192.0.2.5/24"


@pytest.mark.parametrize(
    "fields",
    [
        {"verb": "wifi_join", "ssid": "home", "password": "correct horse"},
        {"verb": "set", "settings": {"network.wlan0.dns": "192.0.2.1"}, "confirm_s": 60},
    ],
)
def test_whoever_is_interrupted_in_a_change_takes_it_back_at_once(
    fake: Fake, home: Path, fields: dict[str, Any]
) -> None:
    if fields["verb"] == "set":
        operate(home, {"verb": "wifi_join", "ssid": "home", "password": "correct horse"})
    before = fake.kept
    fake.slow = True
    call = ChildCall(command_for(home), fields, quiet=True)
    try:
        wait_until(lambda: fake.wires[WIFI].state == GETTING_ADDRESSES)
    finally:
        call.cancel()
    assert not fake.checkpoints
    assert fake.kept == before
    assert not (home / FILE_NAME).exists()
    assert network_trial.settings_in_force().get("wlan0.dns", "auto") == "auto"


@pytest.mark.parametrize("confirm_s", [None, 60])
def test_a_box_is_set_up_after_its_network(fake: Fake, box: Path, confirm_s: float | None) -> None:
    settings.change(box, FIXED, confirm_s)
    new = {"verb": "provision", "name": "box.example", "owner": "anna", "password": "secret enough"}
    assert operate(box, new)["server"] == "box.example"
    if confirm_s:
        assert settings.commit(box) == {"kept": True}
    assert fake.on_disk
    assert settings.go_back(box) == {"restarting": False}
    assert not fake.on_disk
    assert load(box).server.name == "box.example"


BOTH = {**FIXED, "log.level": "debug"}


def test_settings_of_the_box_and_of_its_network_stand_and_fall_together(fake: Fake, home: Path) -> None:
    machine = Machine()
    assert settings.change(home, BOTH, 60, machine)["restart_needed"]
    assert (load(home).log.level, fake.addresses("eth0")) == ("debug", ["192.0.2.5/24"])
    machine.late_s = 61
    assert settings.settle(home, machine)["went_back"]
    assert (load(home).log.level, fake.addresses("eth0")) == ("info", [])
    fake.take("192.0.2.5")
    with pytest.raises(NetworkRefusedError):
        settings.change(home, BOTH, None)
    assert load(home).log.level == "info"
    assert not (home / FILE_NAME).exists()
    settings.change(home, {"log.level": "error"}, None)
    settings.go_back(home)
    assert load(home).log.level == "info"


def test_a_network_that_cannot_be_asked_goes_back_later_and_does_not_keep_the_rest(
    fake: Fake, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine()
    settings.change(home, BOTH, 60, machine)
    machine.late_s = 61
    with monkeypatch.context() as away:
        away.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={home}/nobody")
        with pytest.raises(NetworkUnavailableError):
            settings.settle(home, machine)
        assert load(home).log.level == "info"
        assert not pending(home).settings  # type: ignore[union-attr]
    assert fake.addresses("eth0") == ["192.0.2.5/24"]
    assert settings.settle(home, machine)["went_back"]
    assert fake.addresses("eth0") == []


def test_a_box_whose_settings_cannot_be_read_still_has_its_network_set_up(fake: Fake, home: Path) -> None:
    settings.change(home, {"log.level": "debug"}, None)
    (home / "relay.toml").write_bytes(b"\xff\x00[")
    settings.change(home, FIXED, None)
    assert fake.addresses("eth0") == ["192.0.2.5/24"]
    settings.go_back(home)
    assert (load(home).log.level, fake.addresses("eth0")) == ("info", [])


class PowerCutError(BaseException):
    """The power went."""


@pytest.mark.parametrize("after", range(6))
def test_a_power_cut_at_any_write_of_a_trial_leaves_a_box_as_it_was(
    fake: Fake, home: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    writes = 0

    def cut(path: Path, data: bytes) -> None:
        nonlocal writes
        writes += 1
        if writes > after:
            raise PowerCutError
        write_whole(path, data)

    with monkeypatch.context() as cutting:
        for module in (settings, network_trial):
            cutting.setattr(module, "write_whole", cut)
        # Nobody is left to tidy up.
        cutting.setattr(settings._Both, "_undo", lambda _both: None)
        machine, was_cut = Machine(), False
        try:
            settings.change(home, BOTH, 60, machine)
        except PowerCutError:
            was_cut = True
    assert was_cut == (after < 5)
    fake.power_cut()
    machine.boot = "2"
    settings.settle(home, machine, starting=True)
    assert load(home).log.level == "info"
    assert fake.addresses("eth0") == []
    assert not (home / FILE_NAME).exists()
    assert settings.change(home, BOTH, None, machine)["changed"]


def test_a_power_cut_before_the_network_is_kept_takes_the_settings_back_with_it(
    fake: Fake, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(_change: object) -> None:
        raise PowerCutError

    with monkeypatch.context() as cutting:
        cutting.setattr(network_trial.NetworkChange, "keep", cut)
        cutting.setattr(settings._Both, "_undo", lambda _both: None)
        machine = Machine()
        with pytest.raises(PowerCutError):
            settings.change(home, BOTH, None, machine)
    fake.power_cut()
    machine.boot = "2"
    settings.settle(home, machine, starting=True)
    assert (load(home).log.level, fake.addresses("eth0")) == ("info", [])


def test_a_network_that_went_back_by_itself_is_not_called_changed(
    fake: Fake, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = network_trial.NetworkChange.keep

    def late(change: network_trial.NetworkChange) -> None:
        fake.restart()
        keep(change)

    monkeypatch.setattr(network_trial.NetworkChange, "keep", late)
    with pytest.raises(NetworkRefusedError, match="went back by itself"):
        settings.change(home, BOTH, None)
    assert (load(home).log.level, fake.addresses("eth0")) == ("info", [])
    assert not (home / FILE_NAME).exists()


@pytest.mark.usefixtures("fake")
def test_each_interface_has_its_time_before_the_service_goes_back() -> None:
    with network_trial.checked_change({**FIXED, "network.eth1.address": "198.51.100.5/24"}) as change:
        assert change is not None
        assert change.wait_s == 2 * NETWORK_WAIT_S
