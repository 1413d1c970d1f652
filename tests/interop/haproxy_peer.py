"""A real haproxy in front of a box, on loopback."""

import subprocess
from pathlib import Path

from tests.interop.listening_process import ListeningProcess, wait_for_port
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
