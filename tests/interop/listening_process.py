"""A process that listens, for the length of a `with`: started by whoever knows how, ended here."""

import signal
import socket
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from tests.interop.waiting import wait_until


class ListeningProcess(ABC):
    """One process of a test.

    Attributes:
        process: what runs, None while nothing does.
    """

    process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def start(self) -> object:
        """Start, and wait until it listens."""

    def stop(self) -> None:
        """End the process with SIGTERM and wait."""
        if self.process is not None:
            end_process(self.process)
            self.process = None

    def kill(self) -> None:
        """End the process as a power cut would end it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Let the process stand still for the length of a `with`; its connections stay."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def wait_for_port(port: int, process: subprocess.Popen[bytes], within_s: float = 20) -> None:
    """Return when somebody listens on loopback at `port`.

    Raises:
        TimeoutError: nobody did in time.
        RuntimeError: the process ended instead.
    """

    def listens() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return True
        except OSError:
            return False

    wait_until(listens, within_s)


@contextmanager
def ends_after(process: subprocess.Popen[Any], within_s: float = 20) -> Iterator[None]:
    """End `process` if the block takes longer: whoever waits for its words gets the last of them."""
    timer = threading.Timer(within_s, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def end_process(process: subprocess.Popen[bytes], within_s: float = 15) -> None:
    """Ask the process to end; after `within_s` seconds, end it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
