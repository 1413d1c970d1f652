"""A real haproxy in front of a box, on loopback."""

import socket
import subprocess
import threading
import time
from pathlib import Path

from tests.interop.listening_process import ListeningProcess
from tests.interop.peer_environments import haproxy


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


def wait_for_port(port: int, process: subprocess.Popen[bytes], within_s: float = 20) -> None:
    """Return when somebody listens on loopback at `port`.

    Raises:
        TimeoutError: nobody did in time.
        RuntimeError: the process ended instead.
    """
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            threading.Event().wait(0.01)  # nothing announces it: ask again soon
    raise TimeoutError(port)
