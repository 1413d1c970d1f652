"""Filters that apps store once and name in every sync (client-server API, "Filtering")."""

from relay.client_api.account_data import require_own
from relay.client_api.door import Door, Reply, json_object
from relay.client_api.fields import optional_object
from relay.delivery.ledger import Ledger
from relay.household import filters
from relay.household.sessions import Session
from relay.transport.message import Request


def register(door: Door, ledger: Ledger) -> None:
    """Hang the endpoints of filters here."""

    async def add(session: Session, request: Request) -> Reply:
        require_own(session, request)
        content = await json_object(request)
        for part in ("room", "presence", "account_data"):
            optional_object(content, part)
        return {"filter_id": await ledger.run(filters.add, session.user, content)}

    async def get(session: Session, request: Request) -> Reply:
        require_own(session, request)
        return await ledger.read(filters.get, session.user, request.params["filterId"])

    door.private("POST", "/_matrix/client/v3/user/{userId}/filter", add)
    door.private("GET", "/_matrix/client/v3/user/{userId}/filter/{filterId}", get)
