from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.base.errors import InvalidInputError
from relay.household.stored_json import pack, unpack

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60)
@given(value=VALUES)
def test_what_goes_in_comes_out(value: Any) -> None:
    assert unpack(pack(value)) == value


@pytest.mark.parametrize("value", [2**64, {"a": [-(2**63) - 1]}, "\ud800", {"\ud800": 1}])
def test_what_fits_no_answer_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError):
        pack(value)
