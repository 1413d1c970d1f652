"""The real ledger over files in memory: fast, no threads, so that a mock clock may jump."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import trio

from relay.base.config import StoreConfig
from relay.store.keyring import Keyring
from relay.store.ledger import Ledger, open_ledger
from relay.store.tables import Tables
from relay.store.workers import Workers
from tests.fakes.files import MemoryFiles

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

FOLDER = Path("/state")
KEYRING = Keyring(journal_key=b"j" * 32, index_key=b"i" * 32, media_key=b"m" * 32)
SEGMENT_BYTES = 256 * 1024
SMALL_STORE = StoreConfig(journal_segments=4, checkpoint_journal_mib=4)


class InlineWorkers:
    """No threads: a mock clock would run ahead of them."""

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        await trio.lowlevel.checkpoint()
        result = function(*args)
        # Others run between the end of the work and whoever waited for it, as with real threads.
        await trio.lowlevel.cancel_shielded_checkpoint()
        return result


@contextlib.asynccontextmanager
async def memory_ledger(
    *tables: Tables, files: MemoryFiles | None = None, config: StoreConfig = SMALL_STORE, workers: Workers | None = None
) -> AsyncIterator[Ledger]:
    """Open a ledger with these rooms' tables; give the same `files` again to play a restart."""
    disk = MemoryFiles() if files is None else files
    try:
        async with open_ledger(
            FOLDER,
            KEYRING,
            tables,
            config,
            files=disk,
            workers=workers or InlineWorkers(),
            segment_bytes=SEGMENT_BYTES,
        ) as ledger:
            yield ledger
    finally:
        if files is None:
            disk.unregister()
