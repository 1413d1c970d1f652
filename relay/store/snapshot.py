"""A consistent copy of the index while it is in use: rounds that read a little at a time, then one that holds still.

Every round reads all ranges and gives away those that whoever listens does not have yet. The last one reads everything
at one commit: neither COMMIT nor the copying of the log runs meanwhile, steps go on into the journal. What changed
since the round before is kept until the index is let go, so that a slow listener holds nothing up.
"""

import contextlib
import dataclasses
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeVar

import apsw
import trio

from relay.base.errors import DamagedError, StorageError
from relay.base.limits import MAX_SNAPSHOT_BUFFER_BYTES, MIB
from relay.base.log import get_logger
from relay.store.checkpoint import Checkpointer
from relay.store.chunks import (
    Chunk,
    Cutter,
    Digests,
    Key,
    Picture,
    Reached,
    Schema,
    TableForm,
    read_schema,
    table_forms,
)
from relay.store.index import Index
from relay.store.index_file import IndexFile
from relay.store.workers import Workers

T = TypeVar("T")

# A round that found less than this is followed by the last one.
_LITTLE_BYTES = MIB
_MAX_ROUNDS = 4
# So many ranges are read at once where nothing has changed: some 10 ms.
_RANGES_AT_ONCE = 16
# After so many last rounds that a busy box cut short, the next one makes it wait: less than any watchdog does.
_POLITE_ATTEMPTS = 2
_MAX_ATTEMPTS = 4
_PATIENCE_S = 4.0

log = get_logger()


class TooBusyError(StorageError):
    """More changes than memory may hold while the index is read once; later it will be quieter."""

    code = "storage.too_busy"


class Source(Protocol):
    """How the index is read while a ledger has it open."""

    async def read(self, function: Callable[[apsw.Connection], T]) -> T:
        """Return what `function` reads."""
        ...

    def hold(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Keep what `read` shows as it is."""
        ...

    async def mark(self) -> tuple[int, int]:
        """Return (position, sequence) of what `read` shows."""
        ...

    async def refresh(self) -> None:
        """Let what `read` shows be as new as can be."""
        ...

    @property
    def pressed(self) -> bool:
        """Whether others wait because of `hold`."""
        ...


class CommittedIndex:
    """What was last committed, read through a connection of its own beside running steps."""

    def __init__(
        self, index: IndexFile, checkpointer: Checkpointer, workers: Workers, refresh: Callable[[], Awaitable[None]]
    ) -> None:
        self._index = index
        self._checkpointer = checkpointer
        self._workers = workers
        self._refresh = refresh
        self._reader: apsw.Connection | None = None
        self._held = False

    @property
    def pressed(self) -> bool:
        """Whether a checkpoint waits."""
        return self._checkpointer.due

    async def read(self, function: Callable[[apsw.Connection], T]) -> T:
        """Return what `function` reads; see `Source`."""
        if self._held:
            return await self._workers.run(self._read, function)
        async with self._checkpointer.still:
            return await self._workers.run(self._read, function)

    @contextlib.asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Let neither COMMIT nor copy run; see `Source`."""
        async with self._checkpointer.still:
            self._held = True
            try:
                yield
            finally:
                self._held = False

    async def mark(self) -> tuple[int, int]:
        """Return (position, sequence); see `Source`."""
        return await self.read(_read_applied)

    async def refresh(self) -> None:
        """Have the index committed; see `Source`."""
        await self._refresh()

    async def close(self) -> None:
        """Give the connection back."""
        with trio.CancelScope(shield=True):
            async with self._checkpointer.still:
                if self._reader is not None:
                    await self._workers.run(self._index.close_reader, self._reader)
                    self._reader = None

    def _read(self, function: Callable[[apsw.Connection], T]) -> T:
        if self._reader is None:
            self._reader = self._index.open_reader()
        try:
            return function(self._reader)
        except apsw.ConnectionClosedError:
            # The index was thrown away and opened anew.
            self._reader = self._index.open_reader()
            return function(self._reader)
        except (apsw.CorruptError, apsw.NotADBError, apsw.IOError) as error:
            raise DamagedError(f"the index cannot be read: {error}") from error


class OpenIndex:
    """The index as steps see it, read by steps: where nothing changes any more, or nobody else can read it."""

    pressed = False

    def __init__(
        self,
        index: IndexFile,
        read: Callable[[Callable[[Index], Any]], Awaitable[Any]],
        refresh: Callable[[], Awaitable[None]],
        mark: Callable[[], tuple[int, int]],
    ) -> None:
        self._index = index
        self._read = read
        self._refresh = refresh
        self._mark = mark

    async def read(self, function: Callable[[apsw.Connection], T]) -> T:
        """Return what `function` reads; see `Source`."""
        result: T = await self._read(lambda _index: self._index.ask(function))
        return result

    @contextlib.asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Hold nobody: whoever reads compares marks; see `Source`."""
        yield

    async def mark(self) -> tuple[int, int]:
        """Return (position, sequence); see `Source`."""
        return self._mark()

    async def refresh(self) -> None:
        """Have the index committed, where that still works; see `Source`."""
        await self._refresh()

    async def close(self) -> None:
        """Give nothing back."""


async def take_snapshot(source: Source, known: Picture, boot: int) -> AsyncGenerator[Schema | Chunk | Reached, None]:
    """Yield the schema, the ranges that `known` does not hold as they are, and at the end what they amount to.

    `known` is what the listener holds, and afterwards what it holds then.

    Raises:
        TooBusyError: too much changes meanwhile.
        DamagedError: the index cannot be read.
    """
    await source.refresh()
    schema = await source.read(read_schema)
    forms = await source.read(lambda connection: table_forms(connection, schema.tables))
    if not known.fits(schema):
        known.restart(schema)
    yield schema
    for attempt in range(_MAX_ATTEMPTS):
        for _round in range(_MAX_ROUNDS):
            walk, emitted_bytes = _Walk(forms, known), 0
            while not walk.done:
                chunk = await source.read(walk.advance)
                if chunk is not None:
                    emitted_bytes += len(chunk.packed)
                    yield chunk
            known.replace(walk.digests)
            if emitted_bytes <= _LITTLE_BYTES:
                break
        patience_s = 0.0 if attempt < _POLITE_ATTEMPTS else _PATIENCE_S
        last = await _hold_still(source, _Walk(forms, known), patience_s)
        if last is not None:
            known.replace(last.digests)
            for chunk in last.chunks:
                yield chunk
            yield Reached(last.position, last.sequence, boot, last.digests.total(known.chunk_key))
            return
    raise TooBusyError("the box is too busy for a backup now")


@dataclasses.dataclass(frozen=True, slots=True)
class _Last:
    chunks: list[Chunk]
    digests: Digests
    position: int
    sequence: int


async def _hold_still(source: Source, walk: "_Walk", patience_s: float) -> _Last | None:
    """Return the last round, None where too much had changed or others would have waited longer than `patience_s`."""
    await source.refresh()
    kept: list[Chunk] = []
    kept_bytes, pressed_s = 0, math.inf
    async with source.hold():
        mark = await source.mark()
        while not walk.done:
            chunk = await source.read(walk.advance)
            if chunk is not None:
                kept.append(chunk)
                kept_bytes += len(chunk.packed)
            if source.pressed:
                pressed_s = min(pressed_s, trio.current_time())
            if kept_bytes > MAX_SNAPSHOT_BUFFER_BYTES or trio.current_time() - pressed_s >= patience_s:
                log.info("store.snapshot_deferred", count=len(kept))
                return None
        if await source.mark() != mark:
            return None
    return _Last(kept, walk.digests, *mark)


class _Walk:
    """One round through all tables.

    Attributes:
        digests: of the ranges so far.
    """

    def __init__(self, forms: list[TableForm], known: Picture) -> None:
        self._forms = list(reversed(forms))
        self._known = known
        self._cutter = Cutter(known.chunk_key)
        self._low: Key | None = None
        self.digests = Digests()

    @property
    def done(self) -> bool:
        """Return whether all tables were read."""
        return not self._forms

    def advance(self, connection: apsw.Connection) -> Chunk | None:
        """Read on; return the next range that is not known, None where there was none so far."""
        for _ in range(_RANGES_AT_ONCE):
            if self.done:
                return None
            chunk = self._cutter.next_range(connection, self._forms[-1], self._low)
            self.digests.add(chunk)
            self._low = chunk.high
            if chunk.high is None:
                self._forms.pop()
            if not self._known.holds(chunk):
                return chunk
        return None


def _read_applied(connection: apsw.Connection) -> tuple[int, int]:
    ((position, sequence),) = connection.execute("SELECT position, sequence FROM applied")
    return position, sequence
