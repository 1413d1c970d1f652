"""How full something is, and what follows from that."""

from dataclasses import dataclass

from relay.base.limits import REFUSE_SHARE, SLOW_SHARE


@dataclass(frozen=True, slots=True)
class Level:
    """One thing that can fill up.

    Attributes:
        what: its name, for people.
        held_bytes: what is there.
        limit_bytes: what may be there.
        next_step: what a person can do when it is full.
    """

    what: str
    held_bytes: int
    limit_bytes: int
    next_step: str = ""

    @property
    def share(self) -> float:
        """Return how full it is: 1.0 at its limit."""
        return self.held_bytes / max(self.limit_bytes, 1)

    @property
    def pressure(self) -> float:
        """Return 0.0 up to `SLOW_SHARE`, 1.0 from `REFUSE_SHARE`, and what lies between in between."""
        return pressure(self.share)


def pressure(share: float) -> float:
    """Return 0.0 for a share up to `SLOW_SHARE`, 1.0 from `REFUSE_SHARE`, and what lies between in between."""
    return min(max((share - SLOW_SHARE) / (REFUSE_SHARE - SLOW_SHARE), 0.0), 1.0)


def free_space(free_bytes: int, reserve_bytes: int, next_step: str = "") -> Level:
    """Return the file system as a level: refused where no more than the reserve is free, slow below three times that.

    Percentages of a whole disk would refuse on a large one with years of room left.
    """
    # The line through (3 reserves free, SLOW_SHARE) and (1 reserve free, REFUSE_SHARE).
    reserves = free_bytes / max(reserve_bytes, 1)
    share = max(REFUSE_SHARE - (reserves - 1) * (REFUSE_SHARE - SLOW_SHARE) / 2, 0.0)
    scale = 1_000_000
    return Level("free space", round(share * scale), scale, next_step)
