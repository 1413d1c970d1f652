from hypothesis import given
from hypothesis import strategies as st

from relay.transport.names import Service, in_order

SERVICES = st.lists(
    st.builds(Service, st.sampled_from(["a", "b", "c"]), st.integers(1, 65535), st.integers(0, 3), st.integers(0, 9)),
    max_size=8,
)


@given(SERVICES, st.integers(0, 100))
def test_lower_priorities_come_first_and_nothing_is_lost(services: list[Service], luck: int) -> None:
    ordered = in_order(services, lambda most: min(luck, most - 1))
    assert sorted(ordered, key=repr) == sorted(services, key=repr)
    assert [service.priority for service in ordered] == sorted(service.priority for service in services)


def test_weight_decides_by_chance_within_a_priority() -> None:
    light, heavy = Service("light", 1, 0, 1), Service("heavy", 1, 0, 9)
    assert in_order([heavy, light], lambda _most: 0) == [light, heavy]
    assert in_order([heavy, light], lambda _most: 5) == [heavy, light]


def test_a_dot_says_that_the_service_is_not_there() -> None:
    assert in_order([Service(".", 0), Service("", 0)]) == []
