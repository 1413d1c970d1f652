"""Both kinds of tokens lead to a place in a timeline."""

import pytest

from relay.base.errors import InvalidInputError
from relay.client_api.tokens import order_of
from relay.delivery.sync.token import SyncToken
from relay.rooms.matrix import timeline


def test_a_sync_token_is_the_place_after_everything_it_has_told() -> None:
    assert order_of(str(SyncToken(7, 7, 1, 0))) == timeline.order_at(7)
    assert order_of(timeline.token(-5)) == -5


@pytest.mark.parametrize("text", ["", "x", "t", "tx", "s1"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        order_of(text)
