"""The box as a service: sockets passed in, readiness told, the watchdog fed, a clean stop announced."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from relay.cli.operate import operate
from tests.interop.box_process import PASSWORD, ROOT, BoxProcess
from tests.interop.peer_clients import Api

pytestmark = pytest.mark.interop

# What a supervisor does between fork and exec: the sockets become descriptors 3 and 4.
STARTER = """
import os, sys
high = [os.dup2(int(number), 40 + at) for at, number in enumerate(sys.argv[1:3])]
for at, number in enumerate(high):
    os.dup2(number, 3 + at)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-m", "relay", "up", "--headless", "--state", sys.argv[3]])
"""


def test_a_supervised_box_serves_on_the_sockets_it_was_given(authority: trustme.CA, tmp_path: Path) -> None:
    box = BoxProcess(tmp_path / "box", authority)
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard,
        socket.create_server(("127.0.0.1", 0)) as client,
        socket.create_server(("127.0.0.1", 0)) as federation,
    ):
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(20)
        ports = [str(passed.fileno()) for passed in (client, federation)]
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", STARTER, *ports, str(box.state)],
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "NOTIFY_SOCKET": str(tmp_path / "notify"),
                    "WATCHDOG_USEC": "600000",
                    "LISTEN_FDS": "2",
                    "LISTEN_FDNAMES": "client:federation",
                },
                pass_fds=(client.fileno(), federation.fileno()),
                stdout=log,
                stderr=log,
            )
        try:
            assert heard.recv(1000).splitlines()[0] == b"READY=1"
            assert [heard.recv(1000) for _ in range(3)] == [b"WATCHDOG=1"] * 3
            box.base = f"http://127.0.0.1:{client.getsockname()[1]}"
            assert Api(box.base).login("anna", PASSWORD) == f"@anna:{box.name}"
            status = box.relay("status", "--json")
            assert f"127.0.0.1:{federation.getsockname()[1]}" in status
            # A new start in its place is no stop, and ends on the same sockets.
            operate(box.state, {"verb": "restart"})
            assert _next(heard).startswith(b"RELOADING=1\n")
            assert _next(heard).startswith(b"READY=1\n")
            assert Api(box.base).login("anna", PASSWORD) == f"@anna:{box.name}"
        finally:
            process.terminate()
            assert process.wait(20) == 0
        assert _next(heard) == b"STOPPING=1"


def _next(heard: socket.socket) -> bytes:
    """Return what is said next but that the box is alive."""
    while (said := heard.recv(1000)) == b"WATCHDOG=1":
        pass
    return said
