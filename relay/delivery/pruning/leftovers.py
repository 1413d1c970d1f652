"""Small things that outlive their use: departures that arrived, old lines of logs, what expired."""

from collections.abc import Awaitable, Callable, Iterable

from relay.delivery import sending
from relay.delivery.pruning.delivered import Delivered
from relay.rooms.matrix.storage import departures, graph, history
from relay.rooms.matrix.storage.stored_event import first_place_after
from relay.store.ledger import Change, Index, Ledger

_AT_A_TIME = 100
# Below this, a write is not worth it.
_FEW = 32

Pause = Callable[[], Awaitable[None]]


class Leftovers:
    """Tidies once a day."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def tidy(self, delivered: Delivered, pause: Pause, now_ms: int) -> int:
        """Delete what nobody will ask for again; return how many rows went."""
        gone = await self._forget_departures(delivered, pause)
        gone += await self._cut_membership_log(delivered, pause)
        await self._ledger.run(sending.expire, now_ms - sending.KEPT_MS)
        return gone

    async def _forget_departures(self, delivered: Delivered, pause: Pause) -> int:
        after = gone = 0
        while True:
            numbers, arrived = await self._ledger.read(_arrived, after, delivered)
            if not numbers:
                return gone
            after = numbers[-1]
            if len(arrived) >= min(_FEW, len(numbers)):
                await self._ledger.run(_forget, arrived)
                gone += len(arrived)
            await pause()

    async def _cut_membership_log(self, delivered: Delivered, pause: Pause) -> int:
        if not delivered.people:
            return 0
        before = first_place_after(min(delivered.people.values()))
        gone = 0
        while True:
            cut, count = await self._ledger.read(history.old_log_lines, before, _AT_A_TIME)
            if count < _FEW:
                return gone
            await self._ledger.run(history.cut_log, cut)
            gone += count
            await pause()


def _arrived(index: Index, after: int, delivered: Delivered) -> tuple[list[int], list[int]]:
    numbers = departures.oldest(index, after, _AT_A_TIME)
    arrived = [number for number in numbers if delivered.has_left(index, number, graph.sender_of(index, number))]
    return numbers, arrived


def _forget(change: Change, numbers: Iterable[int]) -> None:
    for number in numbers:
        departures.forget(change, number)
