"""How much memory the request bodies that are gathered whole may take together; more than that comes again later."""

from relay.base.errors import RateLimitedError
from relay.base.limits import (
    MAX_GATHERED_BYTES,
    MAX_GATHERED_BYTES_PER_ADDRESS,
    MAX_SMALL_BODIES_BYTES,
    SMALL_BODY_BYTES,
)

_RETRY_S = 2.0


class BodyBudget:
    """Shared by all connections of one door. Small bodies have a part of their own, which large ones cannot use up."""

    def __init__(
        self, most_bytes: int = MAX_GATHERED_BYTES, most_per_address_bytes: int = MAX_GATHERED_BYTES_PER_ADDRESS
    ) -> None:
        self._most_bytes = most_bytes
        self._most_per_address_bytes = most_per_address_bytes
        self._by_address: dict[str, int] = {}
        self.held_bytes = 0

    def take(self, address: str, had_bytes: int, more_bytes: int) -> None:
        """Let a body that has `had_bytes` grow by `more_bytes`.

        Raises:
            RateLimitedError: all bodies together, or those of this address, would be more than may be.
        """
        spare = MAX_SMALL_BODIES_BYTES if had_bytes + more_bytes <= SMALL_BODY_BYTES else 0
        of_address = self._by_address.get(address, 0) + more_bytes
        if self.held_bytes + more_bytes > self._most_bytes + spare or of_address > self._most_per_address_bytes + spare:
            busy = RateLimitedError("too much is being sent to this box at once")
            busy.retry_after_s = _RETRY_S
            raise busy
        self._by_address[address] = of_address
        self.held_bytes += more_bytes

    def give_back(self, address: str, size_bytes: int) -> None:
        """Forget `size_bytes` that were taken for `address`."""
        self.held_bytes -= size_bytes
        left = self._by_address.get(address, 0) - size_bytes
        if left > 0:
            self._by_address[address] = left
        else:
            self._by_address.pop(address, None)
