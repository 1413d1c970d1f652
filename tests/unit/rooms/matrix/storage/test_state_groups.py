from hypothesis import given, settings
from hypothesis import strategies as st

from relay.rooms.matrix.storage import state_groups
from relay.rooms.matrix.storage.state_groups import EMPTY, State
from relay.rooms.matrix.tables import TABLES
from relay.store.ledger import Change
from tests.fakes.ledger import memory_ledger

KEYS = st.tuples(st.integers(1, 3), st.integers(1, 4))
DELTAS = st.lists(st.dictionaries(KEYS, st.integers(0, 50), min_size=1, max_size=4), min_size=1, max_size=80)


@settings(max_examples=15, deadline=None)
@given(deltas=DELTAS)
async def test_a_chain_of_deltas_reads_as_the_state_it_stands_for(deltas: list[State]) -> None:
    async with memory_ledger(TABLES) as ledger:
        groups = await ledger.run(_build, deltas)
        expected: State = {}
        parent = EMPTY
        for delta, group in zip(deltas, groups, strict=True):
            before = dict(expected)
            expected = {key: event for key, event in (expected | delta).items() if event}
            assert await ledger.read(state_groups.load, group) == expected
            keys = [(1, 1), (2, 3), (9, 9)]
            found = await ledger.read(state_groups.look_up, group, keys)
            assert found == {key: expected[key] for key in keys if key in expected}
            assert await ledger.read(state_groups.parent_of, group) == parent
            assert await ledger.read(state_groups.changes_between, parent, group) in (
                delta,
                state_groups.difference(before, expected),
            )
            parent = group


def _build(change: Change, deltas: list[State]) -> list[int]:
    groups, parent = list[int](), EMPTY
    for delta in deltas:
        parent = state_groups.child(change, parent, delta)
        groups.append(parent)
    return groups


async def test_no_chain_is_longer_than_its_bound() -> None:
    async with memory_ledger(TABLES) as ledger:
        await ledger.run(_build, [{(1, number): number + 1} for number in range(100)])
        deepest = await ledger.read(lambda index: index.value("SELECT max(depth) FROM state_groups"))
        assert deepest == 32
