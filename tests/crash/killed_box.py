"""One life of a box that is about to be killed: writes notes for ever, prints the number of each acknowledged one.

Usage: python -m tests.crash.killed_box FOLDER FIRST
"""

import sys
from pathlib import Path

import trio

from relay.base import log
from relay.base.config import StoreConfig
from relay.store.ledger import open_ledger
from tests.crash.workload import TABLES, put
from tests.fakes.ledger import KEYRING

SEGMENT_BYTES = 256 * 1024
CONFIG = StoreConfig(journal_segments=8, checkpoint_journal_mib=1)


async def live(folder: Path, first: int) -> None:
    """Write until killed, four senders side by side; every fifth note is large, so that checkpoints come often."""

    async def send(sender: int) -> None:
        for number in range(first + sender, first + 1_000_000, 4):
            await ledger.run(put, number, bytes([number % 251]) * (20_000 if number % 5 == 0 else 300))
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()

    async with (
        open_ledger(folder, KEYRING, (TABLES,), CONFIG, segment_bytes=SEGMENT_BYTES) as ledger,
        trio.open_nursery() as nursery,
    ):
        for sender in range(4):
            nursery.start_soon(send, sender)


if __name__ == "__main__":
    log.configure(level="error")
    trio.run(live, Path(sys.argv[1]), int(sys.argv[2]))
