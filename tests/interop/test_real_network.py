"""What stands behind the fake network service: the same members with the same types in a real NetworkManager."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from jeepney import DBusAddress, new_method_call  # type: ignore[import-untyped]
from jeepney.io.blocking import open_dbus_connection  # type: ignore[import-untyped]
from jeepney.wrappers import unwrap_msg  # type: ignore[import-untyped]

from relay.box import network_changes
from relay.box.network_bus import NAME, ROOT, NetworkUnavailableError
from relay.box.network_service import open_network_service
from relay.cli import network_trial, settings
from tests.fakes.network_signatures import METHODS, PROPERTIES, WIRELESS_INTERFACES
from tests.interop.real_network import RealNetwork
from tests.interop.serial_person import SerialPerson
from tests.interop.test_console import process
from tests.interop.waiting import wait_until

pytestmark = pytest.mark.interop


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RealNetwork]:
    (tmp_path / "net").mkdir()
    with RealNetwork(tmp_path / "net") as net:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", net.address)
        yield net


def introspected(
    address: str, paths: list[str]
) -> tuple[dict[tuple[str, str], tuple[str, str]], dict[tuple[str, str], str]]:
    """Return the methods and properties that the objects at `paths` say they have."""
    methods, properties = {}, {}
    bus = open_dbus_connection(address)
    for path in paths:
        place = DBusAddress(path, bus_name=NAME, interface="org.freedesktop.DBus.Introspectable")
        (text,) = unwrap_msg(bus.send_and_get_reply(new_method_call(place, "Introspect"), timeout=5))
        for interface in ElementTree.fromstring(text).iter("interface"):
            name = interface.attrib["name"]
            for method in interface.iter("method"):
                arguments = [(one.get("direction", "in"), one.attrib["type"]) for one in method.iter("arg")]
                signatures = ["".join(kind for way, kind in arguments if way == side) for side in ("in", "out")]
                methods[name, method.attrib["name"]] = signatures[0], signatures[1]
            for one in interface.iter("property"):
                properties[name, one.attrib["name"]] = one.attrib["type"]
    bus.close()
    return methods, properties


def test_the_fake_has_the_members_of_the_real_one_with_their_types(net: RealNetwork, tmp_path: Path) -> None:
    settings.change(tmp_path / "box", {"network.eth0.address": "192.0.2.5/24"}, None)
    with open_network_service() as service:
        (device,) = [device for device in service.links.devices() if device.name == "eth0"]
        known = service.links.profile_of(device)
    assert known is not None
    paths = [ROOT, f"{ROOT}/Settings", device.path, *device.configs, device.active, known.path]
    methods, properties = introspected(net.address, paths)
    ours = [key for key in (*METHODS, *PROPERTIES) if key[0].startswith(NAME) and key[0] not in WIRELESS_INTERFACES]
    assert len(ours) > 30
    for key in ours:
        assert {**METHODS, **PROPERTIES}[key] == {**methods, **properties}.get(key), key


def test_an_interface_that_the_service_set_up_by_itself_is_changed_kept_and_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net").mkdir()
    # Nobody answers the DHCP that it goes back to.
    monkeypatch.setattr(network_changes, "_SETTLE_S", 0.3)
    box, fixed = tmp_path / "box", {"network.eth0.address": "192.0.2.5/24"}
    with RealNetwork(tmp_path / "net", by_hand="") as net:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", net.address)
        assert network_trial.settings_in_force()["eth0.address"] == "dhcp"
        settings.change(box, fixed, 60)
        assert net.addresses("eth0") == ["192.0.2.5/24"]
        settings.go_back(box)
        assert network_trial.settings_in_force()["eth0.address"] == "dhcp"
        settings.change(box, fixed, 60)
        settings.commit(box)
        net.power_cut()
        wait_until(lambda: net.addresses("eth0") == ["192.0.2.5/24"])
        settings.go_back(box)
        assert network_trial.settings_in_force()["eth0.address"] == "dhcp"
        assert "192.0.2.5" not in str(net.on_disk)


def test_a_person_at_the_cable_of_a_new_box_tries_an_address_and_keeps_it(net: RealNetwork, tmp_path: Path) -> None:
    state = tmp_path / "box"
    with SerialPerson(tmp_path / "ttyBOX") as person, process("console", "--state", state, "--port", person.port):
        person.wake()
        person.say("set network.eth0.address 192.0.2.5/24")
        person.say("set network.eth0.gateway 192.0.2.99/24")
        person.say("set network.eth0.gateway 192.0.3.1")
        assert "! the gateway 192.0.3.1 is not in the network" in person.say("plan")
        assert "error: the gateway 192.0.3.1 is not in the network" in person.say("apply")
        assert net.addresses("eth0") == []
        person.say("set network.eth0.gateway 192.0.2.1")
        tried = person.say("commit confirmed 1")
        assert "192.0.2.5/24 fixed, gateway 192.0.2.1" in tried
        assert "! eth0 has no DNS server set" in tried
        assert "goes back by itself in 60 s" in tried
        assert net.addresses("eth0") == ["192.0.2.5/24"]
        person.unplug()
        person.plug()
        person.wake()
        assert "eth0  Ethernet, connected" in person.say("network")
        assert not net.on_disk
        assert "Kept" in person.say("commit")
        assert len(net.on_disk) == 1
        assert "Back to" in person.say("rollback")
        assert net.addresses("eth0") == []
        assert not net.on_disk


def test_a_bus_that_says_nothing_does_not_hold_anybody_up(tmp_path: Path) -> None:
    silent = socket.socket(socket.AF_UNIX)
    silent.settimeout(20)
    silent.bind(str(tmp_path / "bus"))
    silent.listen()
    address = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={tmp_path / 'bus'}"}

    def authenticate() -> None:
        there, _ = silent.accept()
        with there:
            there.recv(1000)
            there.send(b"OK 0123456789abcdef0123456789abcdef\r\n")
            while there.recv(1000):
                pass

    thread = threading.Thread(target=authenticate)
    thread.start()
    with pytest.raises(NetworkUnavailableError, match="does not answer"), open_network_service(address, timeout_s=0.3):
        pass
    thread.join()
    silent.close()
