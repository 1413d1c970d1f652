"""How much was written to the card day by day, kept over restarts: SD cards themselves say nothing of their wear.

The kernel counts from its start on (Documentation/block/stat.rst, "write sectors": standard 512-byte sectors, whoever
writes them). A book notes how far the counter was and for how long the machine had been up: less of either is another
start. What was written between the last note and a power cut is not known to anybody, at most a day's worth.
"""

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

from relay.box.flash_health import SECTOR_BYTES, Counter, read_counter

FILE_NAME = "flash-book.json"
_DAY_S = 24 * 3600
_YEAR_DAYS = 365
_DAYS_KEPT = 30
# 32-bit kernels count in 32 bits; one that was near its end has turned over.
_TURN = 2**32


@dataclasses.dataclass(frozen=True, slots=True)
class FlashBook:
    """What is known of one card.

    Attributes:
        card: which one: the kernel's name and what the card calls itself.
        sectors: the kernel's counter at the last look.
        up_s: for how long the machine had been up then.
        total_bytes: since the book was begun.
        days: (days since 1970, bytes) of the newest days, today last; a day on which nobody looked is not there.
    """

    card: str
    sectors: int
    up_s: float
    total_bytes: int = 0
    days: tuple[tuple[int, int], ...] = ()

    @property
    def today(self) -> int | None:
        """Return the day of the last look, None where no day was known yet."""
        return self.days[-1][0] if self.days else None

    @property
    def daily_bytes(self) -> int | None:
        """Return what an average day writes, None before one is over."""
        if len(self.days) < 2:
            return None
        first, last = self.days[0][0], self.days[-1][0]
        return sum(written for _, written in self.days[:-1]) // max(last - first, 1)

    @property
    def yearly_bytes(self) -> int | None:
        """Return what a year of such days writes, None before one day is over."""
        return None if self.daily_bytes is None else self.daily_bytes * _YEAR_DAYS

    def years_left(self, endurance_bytes: int, used_percent: int | None = None) -> float | None:
        """Return for how many years a card that bears `endurance_bytes` bears this; None where nobody can tell.

        `used_percent` is what the card itself says of its life, before this book too; None where it says nothing.
        """
        if not endurance_bytes or not self.yearly_bytes:
            return None
        borne_bytes = self.total_bytes if used_percent is None else endurance_bytes * used_percent // 100
        return max(0.0, (endurance_bytes - borne_bytes) / self.yearly_bytes)

    def look(self, counter: Counter, day: int | None) -> "FlashBook":
        """Return the book with what `counter` shows; `day` is None while the clock is not set."""
        if counter.card != self.card:
            return begin(counter, day)
        restarted = counter.up_s < self.up_s
        written = counter.sectors - (0 if restarted else self.sectors)
        if written < 0:
            written = written + _TURN if self.sectors >= _TURN // 2 else counter.sectors
        size_bytes = written * SECTOR_BYTES
        return FlashBook(
            card=self.card,
            sectors=counter.sectors,
            up_s=counter.up_s,
            total_bytes=self.total_bytes + size_bytes,
            days=_add(self.days, day, size_bytes),
        )


def begin(counter: Counter, day: int | None) -> FlashBook:
    """Return a new book: what the machine wrote before belongs to no day."""
    return FlashBook(counter.card, counter.sectors, counter.up_s, days=() if day is None else ((day, 0),))


def _add(days: tuple[tuple[int, int], ...], day: int | None, size_bytes: int) -> tuple[tuple[int, int], ...]:
    if not days:
        return () if day is None else ((day, size_bytes),)
    if day is None or day < days[0][0]:
        # A clock that goes back beyond the book is wrong now: it counts to the day that was known last.
        return (*days[:-1], (days[-1][0], days[-1][1] + size_bytes))
    # One that goes back into the book was wrong before, as far as that is ahead of it.
    ahead_bytes = sum(written for known, written in days if known >= day)
    return (*(entry for entry in days if entry[0] < day), (day, ahead_bytes + size_bytes))[-_DAYS_KEPT:]


def read_book(folder: Path) -> FlashBook | None:
    """Return the book in the state folder, None where there is none that can be read."""
    try:
        found: dict[str, Any] = json.loads((folder / FILE_NAME).read_text("utf-8"))
        days = tuple((int(day), int(written)) for day, written in found.pop("days"))
        return FlashBook(**found, days=days)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def write_book(folder: Path, book: FlashBook) -> None:
    """Keep the book; without a sync of its own, as a day's figures may be lost. A card that refuses keeps none."""
    part = folder / f"{FILE_NAME}.part"
    with contextlib.suppress(OSError):
        part.write_text(json.dumps(dataclasses.asdict(book)), "utf-8")
        part.rename(folder / FILE_NAME)


def look_in_book(folder: Path, now_s: float | None, root: Path = Path("/")) -> FlashBook | None:
    """Return the book of the card under `folder` as of now; `now_s` is None while the clock is not set.

    None where it is no disk of this machine. Nothing is written.
    """
    counter = read_counter(folder, root=root)
    if counter is None:
        return None
    book = read_book(folder)
    return begin(counter, day_of(now_s)) if book is None else book.look(counter, day_of(now_s))


def day_of(now_s: float | None) -> int | None:
    """Return the day on which the clock shows `now_s`, counted from 1970; None while it is not set."""
    return None if now_s is None else int(now_s // _DAY_S)
