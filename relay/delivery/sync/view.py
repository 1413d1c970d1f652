"""Which stretch of time one sync covers, for whom, and what they want of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from relay.base.ids import RoomId, UserId
from relay.delivery import sending
from relay.delivery.sync.filter import SyncFilter
from relay.household.sessions import Session
from relay.rooms.matrix.storage.stored_event import StoredEvent
from relay.store.ledger import Index


@dataclass(frozen=True, slots=True)
class View:
    """One sync request against one position.

    Attributes:
        since: what the app has seen up to, None for an initial sync.
        up_to: the position this answer goes up to.
        full_state: whether all state is told again.
        state_after: whether state is told as of the end of the timeline (v1.16).
        ignored: whose messages this person does not want.
        typing: who types now, for each room where that changed.
        room_account_data: what changed, by room.
    """

    session: Session
    filters: SyncFilter
    since: int | None
    up_to: int
    now_ms: int
    full_state: bool = False
    state_after: bool = False
    ignored: frozenset[UserId] = frozenset()
    typing: Mapping[RoomId, Collection[UserId]] = field(default_factory=dict)
    room_account_data: Mapping[RoomId, Mapping[str, dict[str, Any]]] = field(default_factory=dict)

    @property
    def user(self) -> UserId:
        """Who asks."""
        return self.session.user

    def show(self, index: Index, stored: StoredEvent) -> dict[str, Any]:
        """Return a timeline event as this device sees it, its own transaction id included."""
        shown = stored.client(now_ms=self.now_ms, with_room_id=False)
        if stored.event.sender == self.user:
            transaction_id = sending.transaction_of(index, self.session, stored)
            if transaction_id is not None:
                shown["unsigned"]["transaction_id"] = transaction_id
        return shown
