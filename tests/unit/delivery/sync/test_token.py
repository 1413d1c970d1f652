"""Sync tokens survive the way to the app and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.errors import InvalidInputError
from relay.delivery.sync.token import SyncToken

numbers = st.integers(min_value=0, max_value=10**12 - 1)


@given(numbers, numbers, numbers, numbers)
def test_a_token_reads_back_as_what_it_was(position: int, to_device: int, boot: int, typing: int) -> None:
    token = SyncToken(position, to_device, boot, typing)
    assert SyncToken.parse(str(token)) == token


@pytest.mark.parametrize("text", ["", "s1", "t5", "s1_2_3", "s1_2_3_4_5", "s-1_2_3_4", "s1_2_3_x", "s" + "9" * 40])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        SyncToken.parse(text)
