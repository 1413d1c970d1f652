"""A process that listens, for the length of a `with`: started by whoever knows how, ended here."""

import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self


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


def end_process(process: subprocess.Popen[bytes], within_s: float = 15) -> None:
    """Ask the process to end; after `within_s` seconds, end it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
