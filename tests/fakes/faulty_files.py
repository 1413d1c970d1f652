"""A file system that refuses: single calls by their number, or all growth while it is full, or all that writes."""

import errno
from collections.abc import Callable

from tests.fakes.files import Kind, MemoryFiles

Trouble = Callable[[int, Kind, str], int]
"""From the number of a call, its kind and its path to the errno it fails with, 0 for none."""


class FaultyFiles(MemoryFiles):
    """Counts every call; `trouble` says which fail.

    Attributes:
        calls: what was called so far, reads included.
    """

    def __init__(self, trouble: Trouble = lambda _number, _kind, _path: 0, *, recording: bool = False) -> None:
        super().__init__(recording=recording)
        self.trouble = trouble
        self.calls: list[tuple[Kind, str]] = []

    def before(self, kind: Kind, path: str) -> None:
        number = len(self.calls)
        self.calls.append((kind, path))
        code = self.trouble(number, kind, path)
        if code:
            raise OSError(code, "the card refused")


class FullFiles(FaultyFiles):
    """A file system that is full from a call on: what exists may be written over, nothing may grow or be made.

    Attributes:
        room: whether somebody has made room again.
    """

    def __init__(self, full_from: int, *, recording: bool = False) -> None:
        super().__init__(recording=recording)
        self._full_from = full_from
        self.room = False

    def fill(self) -> None:
        """Be full from now on."""
        self._full_from = 0

    def before(self, kind: Kind, path: str) -> None:
        super().before(kind, path)
        if kind == "open" and path not in self.contents:
            self.before_growth(path)

    def before_growth(self, path: str) -> None:
        if len(self.calls) > self._full_from and not self.room:
            raise OSError(errno.ENOSPC, "No space left on device", path)


def once(at: int, code: int) -> Trouble:
    """Return: call `at` fails."""
    return lambda number, _kind, _path: code if number == at else 0


def from_then_on(at: int, code: int, *, calls: int = 1 << 60) -> Trouble:
    """Return: from call `at` on nothing can be changed any more, for so many calls; reads go on."""
    return lambda number, kind, _path: code if at <= number < at + calls and kind != "read" else 0
