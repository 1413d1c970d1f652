"""The browser's own Improv SDK at the console: it finds the box, joins a network and is told where to go."""

import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import trustme

from tests.fakes.network_service import FakeNetworkService
from tests.interop.box_process import PASSWORD, ROOT, BoxProcess
from tests.interop.peer_environments import DRIVERS, bus_daemon, improv_node_modules
from tests.interop.serial_person import SerialPerson

pytestmark = pytest.mark.interop

PROVISIONED = 4


class Bridge:
    """Carries bytes between a TCP connection and the person's end of a serial line, both ways."""

    def __init__(self, person: SerialPerson) -> None:
        self._master = person._master
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._carry)

    def _carry(self) -> None:
        connection, _ = self._listener.accept()
        ends: list[Any] = [connection, self._master, self._stop]
        with connection:
            while True:
                ready, _, _ = select.select(ends, [], [])
                if self._stop in ready:
                    return
                if self._master in ready:
                    connection.sendall(os.read(self._master, 4096))
                if connection in ready:
                    data = connection.recv(4096)
                    if not data:
                        return
                    os.write(self._master, data)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._stopped, b"x")
        self._thread.join()
        self._listener.close()
        for end in (self._stop, self._stopped):
            os.close(end)


class Browser:
    """The SDK in a process of its own."""

    def __init__(self, port: int) -> None:
        command = ["node", str(DRIVERS / "improv" / "browser.mjs"), str(improv_node_modules()), str(port)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def do(self, method: str, *arguments: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": method, "with": arguments}) + "\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], 60)
        assert ready, f"{method} was never answered"
        return json.loads(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FakeNetworkService]:
    with FakeNetworkService(tmp_path, bus_daemon()) as service:
        yield service


@pytest.fixture
def line(tmp_path: Path, service: FakeNetworkService, authority: trustme.CA) -> Iterator[SerialPerson]:
    """Yield the far end of the serial line of a box that has been set up, with its console on it."""
    box = BoxProcess(tmp_path / "box", authority)
    person = SerialPerson(tmp_path / "port")
    with person:
        console = subprocess.Popen(
            [sys.executable, "-m", "relay", "console", "--state", str(box.state), "--port", str(person.port)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "DBUS_SYSTEM_BUS_ADDRESS": service.address},
        )
        try:
            yield person
        finally:
            console.terminate()
            assert console.wait(10) == 0


def unlock(line: SerialPerson) -> None:
    line.wake()
    line.say("unlock", "Enter leaves): ")
    line.say(PASSWORD, "Changes are allowed")


def test_a_browser_finds_the_box_joins_a_network_and_is_told_where_to_go(
    line: SerialPerson, service: FakeNetworkService
) -> None:
    with Bridge(line) as bridge, Browser(bridge.port) as browser:
        found = browser.do("initialize", 10_000)["ok"]
        assert found["info"]["firmware"] == "Doorstep"
        assert found["info"]["chipFamily"] == "generic-x86-64"
        networks = browser.do("scan")["ok"]
        assert networks == [
            {"name": "café", "rssi": -75, "secured": False},
            {"name": "home", "rssi": -60, "secured": True},
        ]
        # The SDK has no word for a lock: 4 is the error of the Bluetooth variant.
        assert browser.do("provision", "home", "correct horse") == {"error": "UNKNOWN_ERROR (4)"}
        assert browser.do("setDeviceName", "Eve's box") == {"error": "UNKNOWN_ERROR (4)"}
        assert not service.kept
    unlock(line)
    with Bridge(line) as bridge, Browser(bridge.port) as browser:
        assert browser.do("initialize", 10_000)["ok"]
        assert browser.do("provision", "home", "wrong horse") == {"error": "UNABLE_TO_CONNECT"}
        assert not service.kept
        joined = browser.do("provision", "home", "correct horse")["ok"]
        assert joined["state"] == PROVISIONED
        assert service.joined == b"home"
        assert joined["url"].startswith("http://127.0.0.1:")
        state = browser.do("requestNetworkState")["ok"]
        assert (state["online"], state["supportsWifi"], state["supportsEthernet"]) == (True, True, True)
        assert state["urls"] == [joined["url"]]
        assert browser.do("setHostname", "oma")["ok"] == service.hostname == "oma"
        assert browser.do("setHostname", "o m a") == {"error": "BAD_HOSTNAME"}
        assert browser.do("setDeviceName", "Oma's box")["ok"] == "Oma's box"
        assert browser.do("getDeviceName")["ok"] == service.device_name


def test_a_browser_and_a_person_can_take_turns_on_one_line(line: SerialPerson) -> None:
    line.wake()
    line.type("status and something unfin")
    with Bridge(line) as bridge, Browser(bridge.port) as browser:
        assert browser.do("initialize", 10_000)["ok"]["info"]["firmware"] == "Doorstep"
    assert "relay> " in line.wake()
