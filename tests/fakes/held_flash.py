"""Flash whose journal can be held back or broken: everything else of the house goes on at once and in order."""

import errno
import threading
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import trio

from relay.store.journal import Journal
from tests.fakes.files import Kind, MemoryFiles
from tests.fakes.ledger import InlineWorkers

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_PATIENCE_S = 20.0


class HeldFiles(MemoryFiles):
    """Files in memory; a sync of the journal returns when it may.

    Attributes:
        failures: how many of the next journal syncs fail.
        waiting: set while a journal sync is held back.
    """

    def __init__(self) -> None:
        super().__init__()
        self._free = threading.Event()
        self._free.set()
        self.waiting = threading.Event()
        self.failures = 0

    def hold(self) -> None:
        """Let no journal sync return from now on."""
        self._free.clear()

    def release(self) -> None:
        """Let journal syncs return, those that fail included."""
        self._free.set()

    def before(self, kind: Kind, path: str) -> None:
        if kind != "sync" or "/journal/" not in path:
            return
        if not self._free.is_set():
            self.waiting.set()
            assert self._free.wait(_PATIENCE_S), "nobody released the journal"
            self.waiting.clear()
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EIO, "the card gave up")


class HeldWorkers(InlineWorkers):
    """Only a journal commit has a thread, as it may have to wait; so nothing else is still under way unseen."""

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        if getattr(function, "__func__", None) is Journal.commit:
            return await trio.to_thread.run_sync(function, *args)
        return await super().run(function, *args)
