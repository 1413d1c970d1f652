"""Where blocking calls run: a worker thread in the box, the caller itself in tests with a clock of their own."""

from collections.abc import Callable
from typing import Protocol, TypeVar, TypeVarTuple

import trio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Workers(Protocol):
    """Runs a synchronous function somewhere and waits for it."""

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Return what `function(*args)` returns; not cancellable once it runs."""
        ...


class ThreadWorkers:
    """Worker threads: a disk read of 200 ms or a flush of 50 ms delays nobody else's bytes."""

    def __init__(self) -> None:
        # One step, one journal commit, one copy of the write-ahead log, one read of the journal's tail and one piece of
        # a backup at a time.
        self._limiter = trio.CapacityLimiter(5)

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Return what `function(*args)` returns, called in a worker thread."""
        return await trio.to_thread.run_sync(function, *args, limiter=self._limiter)
