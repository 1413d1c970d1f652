from tests.fakes.standby_contract import check_target
from tests.fakes.standby_target import MemoryTarget


async def test_the_fake_does_what_a_target_does(autojump_clock: object) -> None:
    await check_target(MemoryTarget())
