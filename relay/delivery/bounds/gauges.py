"""The gauges of a running box: the index, its files, and the free space of the card, each a number that is at hand."""

from collections.abc import Callable

from relay.base.config import LimitsConfig
from relay.base.limits import FREE_SPACE_MEMORY_S, MIB
from relay.delivery.bounds.levels import Level, free_space
from relay.store.ledger import Ledger

INDEX = "messages, states and keys"
INDEX_STEP = "let people leave rooms they do not read and delete old key backups, or raise limits.index_mib"
FREE_STEP = "remove what else is on the card, or use a larger one"


class HouseGauges:
    """What everything new takes room in; `levels` costs no look into the index and no read from flash."""

    def __init__(
        self, ledger: Ledger, free_bytes: Callable[[], int], config: LimitsConfig, now_s: Callable[[], float]
    ) -> None:
        self._ledger = ledger
        self._free_bytes = free_bytes
        self._index_bytes = config.index_mib * MIB
        self._reserve_bytes = config.free_mib * MIB
        self._now_s = now_s
        self._looked_s = float("-inf")
        self._free = Level("free space", 0, 1)

    def levels(self) -> tuple[Level, ...]:
        """Return the index against its budget, and the file system, which others may fill, against its reserve."""
        return self.index(), self.free()

    def index(self) -> Level:
        """Return how full the index is. Pages that a deletion freed are room."""
        return Level(INDEX, self._ledger.index_bytes, self._index_bytes, INDEX_STEP)

    def free(self) -> Level:
        """Return how full the file system is, as `levels.free_space` puts it."""
        now_s = self._now_s()
        if now_s - self._looked_s >= FREE_SPACE_MEMORY_S:
            self._looked_s = now_s
            self._free = free_space(self._free_bytes(), self._reserve_bytes, FREE_STEP)
        return self._free
