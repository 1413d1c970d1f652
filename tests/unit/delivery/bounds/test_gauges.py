from relay.base.config import LimitsConfig
from relay.base.ids import UserId
from relay.base.limits import FREE_SPACE_MEMORY_S, MIB
from relay.delivery.bounds.gauges import HouseGauges
from relay.household import account_data
from relay.household.tables import TABLES
from tests.fakes.ledger import memory_ledger

ANNA = UserId("@anna:box.test")


async def test_the_index_is_as_full_as_its_pages_and_room_made_by_deleting_counts_at_once() -> None:
    async with memory_ledger(TABLES) as ledger:
        gauges = HouseGauges(ledger, lambda: 10**12, LimitsConfig(index_mib=128), lambda: 0.0)
        before = gauges.index().held_bytes
        for number in range(20):
            await ledger.run(account_data.put, ANNA, None, f"t{number}", {"x": "y" * 100_000})
        assert 2_000_000 < gauges.index().held_bytes - before < 2_300_000
        assert gauges.index().limit_bytes == 128 * MIB
        await ledger.run(account_data.erase, ANNA)
        assert gauges.index().held_bytes - before < 50_000


async def test_the_file_system_is_asked_no_more_than_once_a_moment() -> None:
    asked: list[int] = []

    def free_bytes() -> int:
        asked.append(1)
        return 600 * MIB

    now_s = [0.0]
    async with memory_ledger(TABLES) as ledger:
        gauges = HouseGauges(ledger, free_bytes, LimitsConfig(), lambda: now_s[0])
        for _ in range(100):
            gauges.levels()
        assert len(asked) == 1
        index, free = gauges.levels()
        assert 0.8 < free.pressure < 1.0
        assert index.pressure == 0.0
        now_s[0] += FREE_SPACE_MEMORY_S
        gauges.levels()
        assert len(asked) == 2
