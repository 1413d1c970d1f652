from collections.abc import Callable
from typing import cast

import pytest

from relay.base.errors import TooLargeError
from relay.base.ids import EventId
from relay.core.matrix.events import Event
from relay.core.matrix.room_versions import room_version
from relay.core.matrix.state_resolution import resolve
from relay.rooms.matrix.deciding import merging
from relay.rooms.matrix.deciding.merging import Merger
from relay.rooms.matrix.storage.commit import NamedState
from relay.store.ledger import Ledger
from tests.unit.core.matrix.random_rooms import RandomRoom


class Shelf:
    """Stands for the ledger: it reads events, whatever step is given to read them with."""

    def __init__(self, room: RandomRoom) -> None:
        self._room = room
        self.largest_read = 0

    async def read(self, _step: Callable[..., object], event_ids: list[EventId]) -> dict[EventId, Event]:
        self.largest_read = max(self.largest_read, len(event_ids))
        return self._room.known(event_ids)


def room_of(version: str) -> tuple[RandomRoom, Shelf]:
    room = RandomRoom(room_version(version), "reset/22", forking=60)
    room.grow(60)
    return room, Shelf(room)


@pytest.mark.parametrize("version", ["10", "12"])
async def test_merging_is_resolving_with_every_event_of_the_room_at_hand(version: str) -> None:
    room, shelf = room_of(version)
    merger, nodes = Merger(cast("Ledger", shelf)), list(room.state_after)
    for older, newer in zip(nodes[::4], nodes[3::4], strict=False):
        states: list[NamedState] = [room.state_after[older], room.state_after[newer]]
        assert await merger.merge(room.version, states) == resolve(room.version, states, room.known)
    assert shelf.largest_read <= 100


async def test_merging_more_than_a_room_may_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    room, shelf = room_of("12")
    monkeypatch.setattr(merging, "MAX_MERGE_EVENTS", 3)
    nodes = list(room.state_after)
    with pytest.raises(TooLargeError):
        await Merger(cast("Ledger", shelf)).merge(room.version, [room.state_after[node] for node in nodes[-9::4]])
