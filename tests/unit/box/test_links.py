import ipaddress
import subprocess
import sys
from pathlib import Path

import pytest

from relay.box.links import interface_names, own_address


def test_the_address_is_one_of_this_machine_or_nothing() -> None:
    address = own_address()
    assert not address or ipaddress.ip_address(address).version == 4
    assert own_address("127.0.0.1") == "127.0.0.1"
    assert own_address("::1") in ("::1", "")


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
def test_a_machine_without_a_way_out_has_no_address() -> None:
    line = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c"]
    program = "from relay.box.links import interface_names, own_address; print(repr(own_address()))"
    done = subprocess.run([*line, program], capture_output=True, text=True, timeout=20, check=False)
    if "unshare" in done.stderr:
        pytest.skip("this kernel gives no namespaces to users")
    assert done.stdout == "''\n", done.stderr


def test_where_the_kernel_gives_no_such_sockets_there_is_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr("socket.socket", refuse)
    assert own_address() == ""


def test_interfaces_that_are_hardware_are_named(tmp_path: Path) -> None:
    for name in ("lo", "wlan0", "eth0", "veth1"):
        (tmp_path / name).mkdir()
    for name in ("wlan0", "eth0"):
        (tmp_path / name / "device").mkdir()
    assert interface_names(tmp_path) == ["eth0", "wlan0"]
    assert interface_names(tmp_path / "none") == []
