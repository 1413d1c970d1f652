from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.store.packing import pack, unpack, unpack_all

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=9) | st.binary(max_size=9)
VALUES = st.lists(st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=9), max_size=4)


@given(VALUES)
def test_what_is_packed_comes_out_as_it_went_in(values: list[Any]) -> None:
    assert unpack(pack(values)) == values


@given(st.lists(VALUES, max_size=4))
def test_several_stand_one_after_another(several: list[list[Any]]) -> None:
    assert list(unpack_all(b"".join(map(pack, several)))) == several


@given(st.binary(max_size=40))
def test_bytes_of_a_damaged_card_are_values_or_a_value_error(damaged: bytes) -> None:
    try:
        unpack(damaged)
    except ValueError:
        return


@pytest.mark.parametrize(("value", "error"), [(2**64, OverflowError), ("\ud800", ValueError), (object(), TypeError)])
def test_what_has_no_packed_form_is_refused_before_it_is_written(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        pack([value])
