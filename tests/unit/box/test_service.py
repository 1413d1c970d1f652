import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.box.service import Supervisor, passed_sockets

MINE = str(os.getpid())


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Yield the socket on which a supervisor listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        yield listener


def test_a_supervisor_hears_how_the_service_is(manager: socket.socket) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": manager.getsockname()})
    supervisor.ready("serving box.example")
    assert manager.recv(1000) == b"READY=1\nSTATUS=serving box.example"
    supervisor.status("flash is full")
    supervisor.alive()
    supervisor.stopping(restart=False)
    assert [manager.recv(1000) for _ in range(3)] == [b"STATUS=flash is full", b"WATCHDOG=1", b"STOPPING=1"]


def test_who_starts_anew_in_its_place_does_not_say_that_it_stops(manager: socket.socket) -> None:
    before_us = time.monotonic_ns() // 1000
    Supervisor({"NOTIFY_SOCKET": manager.getsockname()}).stopping(restart=True)
    said = dict(line.split(b"=") for line in manager.recv(1000).splitlines())
    assert said.keys() == {b"RELOADING", b"MONOTONIC_USEC", b"WATCHDOG"}
    assert before_us <= int(said[b"MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000


def test_an_abstract_address_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0doorstep-test-{MINE}")
        Supervisor({"NOTIFY_SOCKET": f"@doorstep-test-{MINE}"}).alive()
        listener.settimeout(5)
        assert listener.recv(1000) == b"WATCHDOG=1"


def test_nobody_to_tell_and_nobody_listening_are_no_errors(tmp_path: Path) -> None:
    Supervisor({}).ready("serving")
    Supervisor({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("serving")


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": MINE}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_only_where_it_is_ours(environment: dict[str, str], seconds: float | None) -> None:
    assert Supervisor({"NOTIFY_SOCKET": "@somewhere", **environment}).watchdog_s == seconds


def test_sockets_meant_for_another_process_are_left_alone() -> None:
    environment = {"LISTEN_PID": "1", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}
    assert passed_sockets(environment) == {}
    assert passed_sockets({}) == {}


PROGRAM = """
import os
from relay.box.service import passed_sockets

os.environ["LISTEN_PID"] = str(os.getpid())
found = passed_sockets()
print(sorted((name, passed.getsockname()[1]) for name, passed in found.items()))
print(sorted(passed_sockets()), os.get_inheritable(3), any(passed.get_inheritable() for passed in found.values()))
"""


def test_passed_sockets_are_found_by_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as client, socket.create_server(("127.0.0.1", 0)) as federation:
        environment = {**os.environ, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "client:federation"}

        # Descriptors 3 and 4 are what a supervisor passes, whatever these two are called here.
        def arrange() -> None:
            high = os.dup2(federation.fileno(), 20)
            os.dup2(client.fileno(), 3)
            os.dup2(high, 4)

        output = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=environment,
            preexec_fn=arrange,
            close_fds=False,
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        ).stdout.splitlines()
        assert output[0] == str([("client", client.getsockname()[1]), ("federation", federation.getsockname()[1])])
    # A process that replaces this one finds them again; a child does not inherit the copies.
    assert output[1] == "['client', 'federation'] True False"
