"""What the standby asks of storage elsewhere; order, duplicates and durability are the engine's own.

Everything is a log: a name with entries in the order they were appended. Names are made of parts divided by `/`; parts
are lower-case hexadecimal digits and letters.
"""

from typing import Protocol, Self

from relay.base.errors import ConflictError


class AnotherWriterError(ConflictError):
    """Somebody else appends to this box's logs: another process runs from a copy of its state folder."""

    code = "standby.another_writer"


class Target(Protocol):
    """One open place for the copy. Every call may raise `UnreachableError` or `PeerRefusedError`.

    Attributes:
        piece_bytes: the largest entry.
        pause_s: the least time between two entries of a log that grows all the time: what they cost decides.
        beat_s: how often a sign of life is worth an entry.
    """

    piece_bytes: int
    pause_s: float
    beat_s: float

    async def append(self, log: str, entry: str, data: bytes) -> None:
        """Return when the engine holds `data` durably at the end of `log`.

        `entry` names it: unique in the log, and sorting after those before. The same entry again is no second one.

        Raises:
            AnotherWriterError: the log has grown without us.
        """
        ...

    async def replace(self, log: str, data: bytes) -> None:
        """Return when `data` is the only entry of `log`; there is always either the old one or the new one."""
        ...

    async def page(self, log: str, mark: str) -> tuple[list[bytes], str]:
        """Return the next entries after `mark` (empty at first), and the mark to go on from; none at the end."""
        ...

    async def last(self, log: str) -> bytes | None:
        """Return the last entry, None where there is none."""
        ...

    async def names(self, within: str) -> list[str]:
        """Return, sorted, the part after `within` of the names of all logs that have an entry; `` is the top."""
        ...

    async def remove(self, log: str) -> None:
        """Remove all entries of `log` and of the logs whose names continue it; none is no error."""
        ...


class entries:  # noqa: N801 - read as a function
    """Iterates over the entries of `log`, oldest first; nothing stays open when it is left."""

    def __init__(self, target: Target, log: str) -> None:
        self._target = target
        self._log = log
        self._mark = ""
        self._page: list[bytes] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._page:
            found, self._mark = await self._target.page(self._log, self._mark)
            self._page = found[::-1]
        if not self._page:
            raise StopAsyncIteration
        return self._page.pop()
