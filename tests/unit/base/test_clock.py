from relay.base.clock import SystemClock


def test_the_clock_is_in_milliseconds_of_this_century() -> None:
    assert 1_700_000_000_000 < SystemClock().wall_ms() < 4_000_000_000_000
