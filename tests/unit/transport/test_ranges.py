import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.transport.ranges import UnsatisfiableRangeError, parse_range, render_content_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=2-5", (2, 6)),
        ("bytes=5-", (5, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-30", (0, 10)),
        ("bytes=9-999", (9, 10)),
        ("bytes=0-1,3-4", None),
        ("bytes=5-2", None),
        ("bytes=-", None),
        ("items=0-1", None),
        ("bytes=a-b", None),
        (None, None),
        ("", None),
    ],
)
def test_single_ranges_are_understood_and_all_else_means_the_whole(
    header: str | None, expected: tuple[int, int] | None
) -> None:
    assert parse_range(header, 10) == expected


@pytest.mark.parametrize(("header", "length"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0)])
def test_a_range_behind_the_end_is_unsatisfiable(header: str, length: int) -> None:
    with pytest.raises(UnsatisfiableRangeError):
        parse_range(header, length)


@given(
    st.one_of(st.text(max_size=30), st.from_regex(r"bytes=[0-9]{0,20}-[0-9]{0,20}", fullmatch=True)), st.integers(0, 99)
)
def test_a_range_is_always_inside_the_body(header: str, length: int) -> None:
    try:
        part = parse_range(header, length)
    except UnsatisfiableRangeError:
        return
    if part is not None:
        assert 0 <= part[0] < part[1] <= length


def test_content_range_counts_from_zero_and_includes_the_last_byte() -> None:
    assert render_content_range(2, 6, 10) == "bytes 2-5/10"
