"""Small things that outlive their use: departures that arrived, old lines of logs, what expired."""

from collections.abc import Awaitable, Callable, Iterable

from relay.delivery import sending
from relay.delivery.in_touch import in_touch_since
from relay.delivery.pruning.delivered import Delivered
from relay.household import remote_devices
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
        gone += await self._forget_strangers(pause)
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

    async def _forget_strangers(self, pause: Pause) -> int:
        """Forget the devices of people elsewhere with whom nobody here shares a room any more."""
        after = gone = 0
        while True:
            lists, strangers = await self._ledger.read(_strangers, after)
            if not lists:
                return gone
            after = lists[-1]
            if strangers:
                await self._ledger.run(_forget_devices, strangers)
                gone += len(strangers)
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


def _strangers(index: Index, after: int) -> tuple[list[int], list[int]]:
    found = remote_devices.stale_lists(index, after, _AT_A_TIME)
    return [number for number, _ in found], [number for number, user in found if in_touch_since(index, user) is None]


def _forget_devices(change: Change, numbers: Iterable[int]) -> None:
    for number in numbers:
        remote_devices.forget(change, number)


def _forget(change: Change, numbers: Iterable[int]) -> None:
    for number in numbers:
        departures.forget(change, number)
