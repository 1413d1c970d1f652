"""Backups as files and pipes: what carries the bytes of an archive between the box and wherever it is kept."""

import contextlib
import fcntl
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

from relay.base.errors import ConfigError, DamagedError, StorageError
from relay.base.limits import KIB, MIB
from relay.cli.files import sync_folder
from relay.store.archive import ArchiveReader
from relay.store.archive_key import KeyParameters, Secret

PIPE = "-"
_READ_BYTES = 256 * KIB
_PIPE_BYTES = MIB
_TELL_EVERY_S = 0.5
_BAR_WIDTH = 24


class Output:
    """Where a backup goes: standard output, a device or named pipe as it is, or a file.

    A file appears under its name only when all of it is on flash.
    """

    def __init__(self, to: str, state: Path) -> None:
        self._path = None if to == PIPE else Path(to)
        if self._path is not None and self._path.resolve().is_relative_to(state.resolve()):
            raise ConfigError("a backup inside of the state folder is lost with it: put it elsewhere")
        plain = self._path is not None and (self._path.is_file() or not self._path.exists())
        self._part = self._path.with_name(f"{self._path.name}.part") if self._path is not None and plain else None
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        """Open it."""
        if self._path is None:
            self._file = sys.stdout.buffer
        elif self._part is None:
            self._file = self._path.open("wb", buffering=0)
        else:
            descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            self._file = open(descriptor, "wb", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        """Close it; what was not kept goes."""
        if self._path is not None and self._file is not None:
            self._file.close()
        if self._part is not None:
            self._part.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        assert self._file is not None
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) or 0 :]

    def keep(self) -> None:
        """Give the whole file its name; of a pipe only its reader knows whether it arrived."""
        assert self._file is not None
        self._file.flush()
        if self._part is not None and self._path is not None:
            os.fsync(self._file.fileno())
            self._part.rename(self._path)
            sync_folder(self._path.absolute().parent)


class Pump(threading.Thread):
    """Carries bytes from a pipe to an output.

    Attributes:
        writer: the end to hand over to whoever makes the bytes.
        done_bytes: how many were carried.
    """

    def __init__(self, output: Output) -> None:
        super().__init__(daemon=True)
        self._output = output
        self._reader, self.writer = os.pipe()
        self._writing = True
        # Fewer changes between two processes; where it is refused the usual size does.
        with contextlib.suppress(OSError):
            fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._error: OSError | None = None
        self.done_bytes = 0

    def run(self) -> None:
        """Carry until the other side has closed its end, or the output refuses."""
        try:
            while data := os.read(self._reader, _READ_BYTES):
                self._output.write(data)
                self.done_bytes += len(data)
        except OSError as error:
            self._error = error
        finally:
            os.close(self._reader)

    def wait(self) -> None:
        """Return when all bytes were carried; to be called when nobody makes any more.

        Raises:
            StorageError: the output refused some.
        """
        if self._writing:
            self._writing = False
            os.close(self.writer)
        self.join()
        if self._error is not None:
            raise StorageError(f"the backup cannot be written: {self._error.strerror}")


def read_archives(names: Sequence[str], secret: Secret, take: Callable[[list[Any]], None], tell: "Bar") -> None:
    """Give every record of several archives, in order, to `take`.

    Raises:
        DamagedError: an archive is not what was written; the message names the file and the byte.
        WrongKeyError: it was sealed with another key.
    """
    unlock = _remembering(secret)
    for name in names:
        reader = ArchiveReader(unlock)
        try:
            with _opened(name) as file:
                while data := file.read(_READ_BYTES):
                    for record in reader.feed(data):
                        take(record)
                    tell.add(len(data))
            reader.close()
        except DamagedError as error:
            what = "standard input" if name == PIPE else name
            raise DamagedError(f"{what}: {error}") from None


def size_of(names: Sequence[str]) -> int:
    """Return how many bytes the archives have together, 0 where that is not known."""
    paths = [Path(name) for name in names if name != PIPE]
    known = len(paths) == len(names) and all(path.is_file() for path in paths)
    return sum(path.stat().st_size for path in paths) if known else 0


class Bar:
    """A progress bar on standard error, where that is a terminal; else nothing.

    Attributes:
        whole: the number of bytes that are everything, 0 where that is not known.
    """

    def __init__(self, what: str, whole: int = 0) -> None:
        self._what = what
        self._shown = sys.stderr.isatty()
        self._begun_s = time.monotonic()
        self._told_s = 0.0
        self._done = 0
        self.whole = whole

    def add(self, count: int) -> None:
        """Count bytes, and show them if it is time."""
        self.set(self._done + count)

    def set(self, done: int) -> None:
        """Say how many bytes are done, and show them if it is time."""
        self._done = done
        now_s = time.monotonic()
        if self._shown and now_s - self._told_s >= _TELL_EVERY_S:
            self._told_s = now_s
            sys.stderr.write(f"\r{self.line()}\x1b[K")
            sys.stderr.flush()

    def line(self) -> str:
        """Return what it shows."""
        speed = self._done / max(time.monotonic() - self._begun_s, 0.001)
        words = f"{self._what}: {self._done / MIB:,.1f} MiB, {speed / MIB:,.1f} MiB/s"
        if not self.whole:
            return words
        share = min(self._done / self.whole, 1.0)
        full = round(share * _BAR_WIDTH)
        return f"{self._what}: [{'#' * full}{'.' * (_BAR_WIDTH - full)}] {share:4.0%}, {words.partition(': ')[2]}"

    def end(self) -> None:
        """Leave the line to what comes next."""
        if self._shown and self._told_s:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


@contextlib.contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    if name == PIPE:
        yield sys.stdin.buffer
        return
    with Path(name).open("rb") as file:
        yield file


def _remembering(secret: Secret) -> Callable[[KeyParameters], bytes]:
    known: dict[KeyParameters, bytes] = {}

    def unlock(parameters: KeyParameters) -> bytes:
        if parameters not in known:
            known[parameters] = secret.key(parameters)
        return known[parameters]

    return unlock
