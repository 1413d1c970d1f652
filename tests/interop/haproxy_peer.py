"""A real haproxy in front of a box, on loopback, and what can be seen of it on the box."""

import http.client
import json
import subprocess
from pathlib import Path

from tests.interop.listening_process import ListeningProcess, wait_for_port
from tests.interop.peer_environments import haproxy

FEW_LOGINS = {"rate.login_per_minute": "0.01", "rate.login_burst": "3"}


class Haproxy(ListeningProcess):
    """One haproxy with the configuration `text`; `ports` are where it listens then."""

    def __init__(self, folder: Path, text: str, ports: list[int]) -> None:
        self._program, self._libraries = haproxy()
        self._config = folder / "haproxy.cfg"
        self._config.write_text(text)
        self._ports = ports

    def start(self) -> None:
        environment = {"LD_LIBRARY_PATH": self._libraries}
        with self._config.with_suffix(".log").open("ab") as out:
            self.process = subprocess.Popen(
                [str(self._program), "-db", "-f", str(self._config)], stdout=out, stderr=out, env=environment
            )
        for port in self._ports:
            wait_for_port(port, self.process)


def check_limits_by_address(port: int) -> None:
    """Fail unless a box with `FEW_LOGINS` behind `port` counts wrong passwords for each address they come from."""
    statuses = [_status_of_login(port, "127.0.0.2", f"nobody{number}") for number in range(5)]
    assert statuses.count(429) >= 1
    assert _status_of_login(port, "127.0.0.3", "nobody9") == 403


def _status_of_login(port: int, source: str, user: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20, source_address=(source, 0))
    identifier = {"type": "m.id.user", "user": user}
    body = {"type": "m.login.password", "identifier": identifier, "password": "a wrong password"}
    # What an app itself says about where it is counts for nothing.
    connection.request("POST", "/_matrix/client/v3/login", json.dumps(body), {"X-Forwarded-For": "203.0.113.77"})
    try:
        return connection.getresponse().status
    finally:
        connection.close()
