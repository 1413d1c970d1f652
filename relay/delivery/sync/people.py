"""Whose devices an app has to look up again, and whose it may forget.

Client-server API, "Extensions to /sync" of end-to-end encryption: `device_lists`.
"""

from collections.abc import Sequence
from typing import Any

from relay.base.ids import UserId
from relay.household import device_lists, key_signatures
from relay.rooms.matrix.storage import history, members
from relay.rooms.matrix.storage.members import MembershipChange
from relay.store.ledger import Index


def device_list_changes(
    index: Index, user: UserId, after: int, up_to: int, log: Sequence[MembershipChange]
) -> dict[str, Any]:
    """Return `device_lists` for the changes after `after`, empty where there are none.

    Args:
        index: the snapshot.
        user: who asks.
        after: what they have seen.
        up_to: what they are told.
        log: the membership changes in between.
    """
    changed = device_lists.changed_since(index, after, up_to)
    candidates = set(changed)
    if after < history.log_begins_after(index):
        # What the log would say is gone: everybody may have come since.
        candidates |= members.users_sharing_room(index, user)
    gone: set[UserId] = set()
    mine = {change.room for change in log if change.user == user}
    for room in mine:
        others = {other for other, _ in members.members(index, room, "join")}
        if members.membership(index, room, user) == "join":
            candidates |= others
        else:
            gone |= others
    for change in log:
        if change.user == user:
            continue
        if change.membership == "join":
            candidates.add(change.user)
        elif change.previous == "join":
            gone.add(change.user)
    known = {other for other in candidates if other == user or members.share_room(index, user, other)}
    known |= key_signatures.signed_since(index, user, after)
    left = {other for other in gone - known if other != user and not members.share_room(index, user, other)}
    if not known and not left:
        return {}
    return {"changed": sorted(known), "left": sorted(left)}
