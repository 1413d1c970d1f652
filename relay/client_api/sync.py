"""`GET /sync`: the request; the answer is made by `relay.delivery.sync`."""

from typing import Any

from relay.base.errors import InvalidInputError
from relay.client_api.door import Door, Reply
from relay.client_api.fields import bool_argument, int_argument
from relay.core.matrix.canonical_json import parse
from relay.delivery.ledger import Ledger
from relay.delivery.sync.filter import EVERYTHING, SyncFilter
from relay.delivery.sync.long_poll import Asked, Sync
from relay.delivery.sync.token import SyncToken
from relay.household import filters
from relay.household.sessions import Session
from relay.transport.message import Request


class SyncDoor:
    """The endpoint."""

    def __init__(self, ledger: Ledger, sync: Sync) -> None:
        self._ledger = ledger
        self._sync = sync

    async def sync(self, session: Session, request: Request) -> Reply:
        """Answer at once or when there is news; `set_presence` has no effect, as presence is not kept."""
        since = request.argument("since")
        asked = Asked(
            session=session,
            since=SyncToken.parse(since) if since else None,
            filters=await self._filter(session, request.argument("filter")),
            timeout_s=int_argument(request, "timeout", default=0) / 1000,
            full_state=bool_argument(request, "full_state"),
            state_after=bool_argument(request, "use_state_after"),
        )
        return await self._sync.answer(asked)

    async def _filter(self, session: Session, text: str | None) -> SyncFilter:
        if not text:
            return EVERYTHING
        if text.startswith("{"):
            value: Any = parse(text.encode("utf-8"))
        else:
            value = await self._ledger.read(filters.get, session.user, text)
        if not isinstance(value, dict):
            raise InvalidInputError("a filter is not an object")
        return SyncFilter.parse(value)


def register(door: Door, sync: SyncDoor) -> None:
    """Hang it."""
    door.private("GET", "/_matrix/client/v3/sync", sync.sync)
