from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.base.errors import ConfigError, ConflictError, InvalidInputError, NotFoundError
from relay.box.network_bus import NetworkBus, NetworkUnavailableError
from relay.box.network_service import NetworkService, open_network_service
from relay.box.network_wifi import JoinFailedError, NotJoinableError, WifiNetwork
from tests.fakes.network_service import ENTERPRISE, HOME, OWE, PSK, SAE, WIFI, FakeNetworkService, Station
from tests.interop.peer_environments import bus_daemon

pytestmark = pytest.mark.interop


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FakeNetworkService]:
    with FakeNetworkService(tmp_path, bus_daemon()) as service:
        yield service


@pytest.fixture
def network(service: FakeNetworkService) -> Iterator[NetworkService]:
    with open_network_service({"DBUS_SYSTEM_BUS_ADDRESS": service.address}) as network:
        yield network


def test_a_network_that_several_stations_carry_is_shown_once_and_the_strongest_first(network: NetworkService) -> None:
    assert network.wifi.scan() == [WifiNetwork("home", -60, secured=True), WifiNetwork("café", -75, secured=False)]


def test_joining_keeps_the_network_and_takes_the_checkpoint_away(
    network: NetworkService, service: FakeNetworkService
) -> None:
    network.wifi.join("home", "correct horse")
    assert service.joined == b"home"
    assert service.checkpoints == {}
    assert service.kept[0]["802-11-wireless-security"]["key-mgmt"] == ("s", "wpa-psk")
    state = network.state()
    assert (state.online, state.wifi, state.ethernet, state.addresses) == (True, True, True, ("192.0.2.7",))


def test_a_host_name_that_cannot_be_one_is_the_fault_of_whoever_said_it(
    network: NetworkService, service: FakeNetworkService
) -> None:
    with pytest.raises(InvalidInputError, match="letters, digits and hyphens"):
        network.set_hostname("the box")
    assert service.hostname == "doorstep"


def test_an_open_network_is_joined_without_a_password(network: NetworkService, service: FakeNetworkService) -> None:
    network.wifi.join("café", "")
    assert "802-11-wireless-security" not in service.kept[0]


def test_a_network_that_only_knows_the_newer_key_exchange_gets_it(
    network: NetworkService, service: FakeNetworkService
) -> None:
    service.stations = [Station(b"new", 70, SAE, "correct horse")]
    network.wifi.join("new", "correct horse")
    assert service.kept[0]["802-11-wireless-security"]["key-mgmt"] == ("s", "sae")


@pytest.mark.parametrize(("password", "why"), [("wrong horse", "password right"), ("short", "InvalidProperty")])
def test_what_could_not_be_joined_leaves_everything_as_it_was(
    network: NetworkService, service: FakeNetworkService, password: str, why: str
) -> None:
    network.wifi.join("café", "")
    with pytest.raises(JoinFailedError, match=why) as caught:
        network.wifi.join("home", password)
    assert password not in str(caught.value)
    assert service.joined == "café".encode()
    assert service.checkpoints == {}


def test_a_network_that_never_answers_is_given_up_and_gone_back_from(
    network: NetworkService, service: FakeNetworkService
) -> None:
    service.slow = True
    with pytest.raises(JoinFailedError, match="in time"):
        network.wifi.join("home", "correct horse", within_s=0.3)
    assert service.joined is None


def test_if_we_die_in_the_middle_the_service_goes_back_by_itself(
    network: NetworkService, service: FakeNetworkService, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def die(*_: object) -> bool:
        seen.extend(timeout_s for _, timeout_s in service.checkpoints.values())
        assert service.kept == []
        raise KeyboardInterrupt

    monkeypatch.setattr(NetworkBus, "wait", die)
    with pytest.raises(KeyboardInterrupt):
        network.wifi.join("home", "correct horse")
    assert seen == [35]
    assert service.joined is None


def test_a_network_that_hides_its_name_is_joined_and_one_that_is_not_there_is_told_apart(
    network: NetworkService, service: FakeNetworkService
) -> None:
    service.stations = [*service.stations, Station(b"attic", 60, PSK, "correct horse", hidden=True)]
    network.wifi.join("attic", "correct horse")
    assert service.kept[0]["802-11-wireless"]["hidden"] == ("b", True)
    with pytest.raises(JoinFailedError, match="none that hides its name"):
        network.wifi.join("cellar", "correct horse")
    assert service.joined == b"attic"


@pytest.mark.parametrize(
    ("station", "why"),
    [
        (Station(b"work", 70, ENTERPRISE), "asks each user for a name"),
        (Station(b"work", 70, privacy=True), "WEP"),
    ],
)
def test_what_the_box_does_not_do_is_refused_in_words_before_anything_is_touched(
    network: NetworkService, service: FakeNetworkService, station: Station, why: str
) -> None:
    service.stations = [station]
    with pytest.raises(NotJoinableError, match=why):
        network.wifi.join("work", "correct horse")
    assert not service.profiles
    assert [found.enterprise for found in network.wifi.scan()] == [bool(station.rsn)]


def test_one_that_asks_for_a_password_too_is_joined_with_it(
    network: NetworkService, service: FakeNetworkService
) -> None:
    service.stations = [Station(b"work", 70, ENTERPRISE | PSK, "correct horse"), Station(b"open", 60, OWE)]
    network.wifi.join("work", "correct horse")
    network.wifi.join("open", "")
    assert service.kept[1]["802-11-wireless-security"]["key-mgmt"] == ("s", "owe")


def test_joining_again_leaves_one_profile_and_forgetting_leaves_none(
    network: NetworkService, service: FakeNetworkService
) -> None:
    for _ in range(2):
        network.wifi.join("home", "correct horse")
    assert len(service.kept) == len(service.profiles) == 1
    network.wifi.forget("home")
    assert (service.kept, service.joined) == ([], None)
    network.wifi.join("café", "")
    with pytest.raises(NotFoundError, match="it knows: café"):
        network.wifi.forget("home")


def test_a_change_on_trial_is_not_joined_over(network: NetworkService, service: FakeNetworkService) -> None:
    device = network.links.device("wlan0")
    network.changes.begin([device], 60)
    with pytest.raises(ConflictError, match="somebody else"):
        network.wifi.join("home", "correct horse")
    assert service.joined is None


def test_addresses_of_a_joined_network_are_set_and_its_password_stays(
    network: NetworkService, service: FakeNetworkService
) -> None:
    with pytest.raises(ConfigError, match="wifi join comes first"):
        network.changes.plan({"wlan0": {"address": "192.0.2.9/24"}})
    network.wifi.join("home", "correct horse")
    (step,) = network.changes.plan({"wlan0": {"address": "192.0.2.9/24", "gateway": "192.0.2.1"}})
    checkpoint = network.changes.begin([step.device], 60)
    network.changes.carry_out([step], 5)
    assert network.changes.keep(checkpoint, [step.uuid])
    assert service.wires[WIFI].addresses[4] == ["192.0.2.9/24"]
    assert service.kept[0]["802-11-wireless-security"]["psk"] == ("s", "correct horse")
    assert network.links.all_addressing()["wlan0"].address == "192.0.2.9/24"
    service.wires[WIFI].active = "/"
    assert network.links.all_addressing() == {}


def test_names_are_kept_by_the_service(network: NetworkService, service: FakeNetworkService) -> None:
    network.set_hostname("oma")
    assert (service.hostname, network.state().hostname) == ("oma", "oma")
    network.set_device_name("Oma's box")
    assert (service.device_name, network.device_name()) == ("Oma's box", "Oma's box")


def test_a_box_without_wifi_says_so(tmp_path: Path) -> None:
    with (
        FakeNetworkService(tmp_path, bus_daemon(), wifi=False) as service,
        open_network_service({"DBUS_SYSTEM_BUS_ADDRESS": service.address}) as network,
    ):
        assert not network.state().wifi
        for act in (network.wifi.scan, lambda: network.wifi.join("home", HOME.password)):
            with pytest.raises(NetworkUnavailableError, match="no Wi-Fi"):
                act()


def test_a_machine_without_the_service_says_so(tmp_path: Path, service: FakeNetworkService) -> None:
    nobody = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={tmp_path}/nobody"}
    with pytest.raises(NetworkUnavailableError, match="no system bus"), open_network_service(nobody):
        pass
