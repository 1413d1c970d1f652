"""Events are found by their ids, young or old."""

from relay.base.ids import EventId
from relay.rooms.matrix.storage import graph
from relay.rooms.matrix.storage.stored_event import id_text
from relay.rooms.matrix.tables import ADD_EVENT, TABLES
from relay.store.ledger import Change, Index
from tests.fakes.ledger import memory_ledger

# The same first bytes in every generation of the index, and twice in one.
ROWS = {1: b"same" + b"a" * 28, 2: b"same" + b"b" * 28, 65_536: b"same" + b"c" * 28, 400_000: b"same" + b"d" * 28}


async def test_an_event_is_found_however_many_came_after_it() -> None:
    def fill(change: Change) -> None:
        for number, blob in ROWS.items():
            change.write(ADD_EVENT, number, 1, None, 0, None, blob, b"")

    def numbers(index: Index) -> list[int | None]:
        return [graph.number_of(index, id_text(blob)) for blob in (*ROWS.values(), b"same" + b"e" * 28)]

    async with memory_ledger(TABLES) as ledger:
        assert await ledger.read(graph.number_of, EventId("$" + "A" * 43)) is None
        await ledger.run(fill)
        assert await ledger.read(numbers) == [*ROWS, None]
