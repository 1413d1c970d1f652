import base64
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.base.errors import InvalidInputError
from relay.base.limits import MAX_PARCEL_BYTES
from relay.delivery.moving.parcel import unwrap, wrap
from relay.store.packing import pack

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.lists(VALUES, min_size=1, max_size=3), max_size=3))
@settings(max_examples=40)
def test_records_come_out_as_they_went_in(records: list[list[Any]]) -> None:
    assert unwrap(wrap(records)) == records


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: base64.b64encode(data).decode()))
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        unwrap(text)


@pytest.mark.parametrize("value", [5, [5], [[]], {"a": 1}, [[1], 2]])
def test_values_that_are_no_records_are_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError):
        unwrap(base64.b64encode(zlib.compress(pack(value))).decode())


def test_a_parcel_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        unwrap(wrap([["data", bytes(2 * MAX_PARCEL_BYTES)]]))
