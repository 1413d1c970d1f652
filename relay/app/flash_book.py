"""Keeps the book of what is written to the card: a look an hour, a line a day, and one more at a clean stop.

A day on which next to nothing was written is not worth a write: its line comes with the next one.
"""

from pathlib import Path
from typing import Any

import trio

from relay.admin.operations import Finding
from relay.base.clock import Clock, is_set
from relay.base.limits import MIB
from relay.box.flash_book import FlashBook, day_of, look_in_book, write_book
from relay.box.flash_health import read_counter

_LOOK_EVERY_S = 3600.0
_WORTH_BYTES = MIB


class FlashBookkeeper:
    """Looks by itself for as long as `run` runs; an hour of nothing writes nothing."""

    def __init__(self, folder: Path, clock: Clock, root: Path = Path("/")) -> None:
        self._folder = folder
        self._clock = clock
        self._root = root
        self._book: FlashBook | None = None

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        await trio.lowlevel.checkpoint()
        self._book = look_in_book(self._folder, self._now_s(), self._root)
        if self._book is None:
            return
        noted, noted_bytes = self._book.today, self._book.total_bytes
        try:
            while True:
                await trio.sleep(_LOOK_EVERY_S)
                self._look()
                if self._book.today != noted and self._book.total_bytes - noted_bytes >= _WORTH_BYTES:
                    noted, noted_bytes = self._book.today, self._book.total_bytes
                    await trio.to_thread.run_sync(write_book, self._folder, self._book)
        finally:
            self._look()
            write_book(self._folder, self._book)

    def watch(self) -> tuple[dict[str, Any], list[Finding]]:
        """Return what is known for the status; what it means is the doctor's to say."""
        self._look()
        book = self._book
        if book is None or book.daily_bytes is None or book.yearly_bytes is None:
            return {}, []
        shown = {"daily_mib": round(book.daily_bytes / MIB, 1), "yearly_gib": round(book.yearly_bytes / 1024 / MIB, 1)}
        return {"flash_written": {"card": book.card.partition(":")[0], **shown}}, []

    def _look(self) -> None:
        counter = read_counter(self._folder, root=self._root)
        if self._book is not None and counter is not None:
            self._book = self._book.look(counter, day_of(self._now_s()))

    def _now_s(self) -> float | None:
        now_s = self._clock.wall_ms() / 1000
        return now_s if is_set(now_s) else None
