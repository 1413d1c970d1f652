"""What a year of writing does to a memory card: arithmetic, with its assumptions named."""

from dataclasses import dataclass

DAYS = 365
CARD_BYTES = 32e9
CARD_ENDURANCE_BYTES = 117e12 / 4
"""What an endurance card of 32 GB bears: vendors' recording hours come to some 117 TB for 128 GB (SanDisk High
Endurance, Kingston), and it goes with the capacity. Ordinary cards promise nothing."""
ERASE_UNIT_BYTES = 4 * 1024 * 1024
"""Cheap cards copy a whole erase unit for a write that lands in one that is not open."""


@dataclass(frozen=True, slots=True)
class Year:
    """One year at the pace of the measured day.

    Attributes:
        bytes: given to the card.
        flushes: given to the card.
        worst_bytes: written inside the card if every flush costs it one erase unit.
        best_years: until the endurance of the card is used up if it writes inside what it is given.
        worst_years: the same for `worst_bytes`.
        full_years: until the card is full of what is kept; infinite where nothing is.
    """

    bytes: float
    flushes: float
    worst_bytes: float
    best_years: float
    worst_years: float
    full_years: float


def project(day_bytes: float, day_flushes: float, day_kept_bytes: float) -> Year:
    """Return the year of days with so many bytes and flushes, and so many bytes of messages and files kept."""
    year_bytes, flushes = day_bytes * DAYS, day_flushes * DAYS
    worst_bytes = max(flushes * ERASE_UNIT_BYTES, year_bytes)
    return Year(
        bytes=year_bytes,
        flushes=flushes,
        worst_bytes=worst_bytes,
        best_years=_years(CARD_ENDURANCE_BYTES, year_bytes),
        worst_years=_years(CARD_ENDURANCE_BYTES, worst_bytes),
        full_years=_years(CARD_BYTES, day_kept_bytes * DAYS),
    )


def _years(capacity_bytes: float, year_bytes: float) -> float:
    return capacity_bytes / year_bytes if year_bytes > 0 else float("inf")
