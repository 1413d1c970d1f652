"""Of whose device changes we hear: people elsewhere who are in a room with somebody here."""

from relay.base.ids import UserId
from relay.household import accounts
from relay.rooms.matrix.storage import members
from relay.store.ledger import Index


def in_touch_since(index: Index, user: UserId) -> int | None:
    """Return the change since which `user`, of another server, has shared a room with the household without a break.

    None if they share none. Their server sends us their device changes in that time and not before.
    """
    return members.together_since(index, user, [account.user for account in accounts.list_accounts(index)])
