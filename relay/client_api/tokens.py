"""Tokens that apps bring back: from a sync, or from a page of history."""

from relay.delivery.sync.token import SyncToken
from relay.rooms.matrix import timeline


def order_of(text: str) -> int:
    """Return the place in a room's timeline that a token of either kind stands for.

    Raises:
        InvalidInputError: this box made no such token.
    """
    if text.startswith("s"):
        return timeline.order_at(SyncToken.parse(text).position)
    return timeline.parse_token(text)
