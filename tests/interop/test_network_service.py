from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.box.network_service import (
    JoinFailedError,
    NetworkService,
    NetworkUnavailableError,
    WifiNetwork,
    open_network_service,
)
from tests.fakes.network_service import HOME, SAE, FakeNetworkService, Station
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
    assert network.scan() == [WifiNetwork("home", -60, secured=True), WifiNetwork("café", -75, secured=False)]


def test_joining_keeps_the_network_and_takes_the_checkpoint_away(
    network: NetworkService, service: FakeNetworkService
) -> None:
    network.join("home", "correct horse")
    assert service.joined == b"home"
    assert service.checkpoints == {}
    assert service.kept[0]["802-11-wireless-security"]["key-mgmt"] == ("s", "wpa-psk")
    state = network.state()
    assert (state.online, state.wifi, state.ethernet, state.addresses) == (True, True, True, ("192.0.2.7",))


def test_an_open_network_is_joined_without_a_password(network: NetworkService, service: FakeNetworkService) -> None:
    network.join("café", "")
    assert "802-11-wireless-security" not in service.kept[0]


def test_a_network_that_only_knows_the_newer_key_exchange_gets_it(
    network: NetworkService, service: FakeNetworkService
) -> None:
    service.stations = [Station(b"new", 70, SAE, "correct horse")]
    network.join("new", "correct horse")
    assert service.kept[0]["802-11-wireless-security"]["key-mgmt"] == ("s", "sae")


@pytest.mark.parametrize(("password", "why"), [("wrong horse", "password right"), ("short", "InvalidProperty")])
def test_what_could_not_be_joined_leaves_everything_as_it_was(
    network: NetworkService, service: FakeNetworkService, password: str, why: str
) -> None:
    network.join("café", "")
    with pytest.raises(JoinFailedError, match=why) as caught:
        network.join("home", password)
    assert password not in str(caught.value)
    assert service.joined == "café".encode()
    assert service.checkpoints == {}


def test_a_network_that_never_answers_is_given_up_and_gone_back_from(
    network: NetworkService, service: FakeNetworkService
) -> None:
    service.slow = True
    with pytest.raises(JoinFailedError, match="in time"):
        network.join("home", "correct horse", within_s=0.3)
    assert service.joined is None


def test_if_we_die_in_the_middle_the_service_goes_back_by_itself(
    network: NetworkService, service: FakeNetworkService
) -> None:
    seen: list[int] = []

    def die(*_: object) -> bool:
        seen.extend(timeout_s for _, timeout_s in service.checkpoints.values())
        return True

    network._is_settled = die  # type: ignore[method-assign, assignment]
    network.join("home", "correct horse")
    assert seen == [35]


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
        for act in (network.scan, lambda: network.join("home", HOME.password)):
            with pytest.raises(NetworkUnavailableError, match="no Wi-Fi"):
                act()


def test_a_machine_without_the_service_says_so(tmp_path: Path, service: FakeNetworkService) -> None:
    nobody = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={tmp_path}/nobody"}
    with pytest.raises(NetworkUnavailableError, match="no system bus"), open_network_service(nobody):
        pass
