import pytest

from relay.base.limits import MIB, REFUSE_SHARE, SLOW_SHARE
from relay.delivery.bounds.levels import Level, free_space, pressure


@pytest.mark.parametrize(
    ("share", "wanted"), [(0.0, 0.0), (SLOW_SHARE, 0.0), (0.875, 0.5), (REFUSE_SHARE, 1.0), (3.0, 1.0)]
)
def test_pressure_begins_at_80_percent_and_is_whole_at_95(share: float, wanted: float) -> None:
    assert pressure(share) == pytest.approx(wanted)
    assert Level("card", round(share * 1000), 1000).pressure == pytest.approx(wanted)


@pytest.mark.parametrize(("free_mib", "wanted"), [(0, 1.0), (512, 1.0), (1024, 0.5), (1536, 0.0), (100_000, 0.0)])
def test_free_space_is_judged_by_the_reserve_and_not_by_the_size_of_the_disk(free_mib: int, wanted: float) -> None:
    assert free_space(free_mib * MIB, 512 * MIB).pressure == pytest.approx(wanted, abs=1e-4)


def test_a_limit_of_nothing_is_full() -> None:
    assert Level("card", 1, 0).pressure == 1.0
