"""What apps keep on the box: account data and tags (client-server API, "Client Config", "Room Tagging")."""

from typing import Any

from relay.base.errors import ForbiddenError, InvalidParamError, NotFoundError
from relay.base.ids import RoomId
from relay.client_api.door import Door, Reply, grows, json_object
from relay.client_api.fields import room_of, user_of
from relay.delivery.ledger import Ledger
from relay.household import account_data
from relay.household.sessions import Session
from relay.transport.message import Request

_USER = "/_matrix/client/v3/user/{userId}"


def register(door: Door, ledger: Ledger) -> None:
    """Hang the endpoints of account data and tags here."""
    endpoints = _AccountDataEndpoints(ledger)
    for path in (f"{_USER}/account_data/{{type}}", f"{_USER}/rooms/{{roomId}}/account_data/{{type}}"):
        door.private("GET", path, endpoints.get)
        door.private("PUT", path, endpoints.put, grows=grows)
    door.private("GET", f"{_USER}/rooms/{{roomId}}/tags", endpoints.tags)
    door.private("PUT", f"{_USER}/rooms/{{roomId}}/tags/{{tag}}", endpoints.set_tag, grows=grows)
    door.private("DELETE", f"{_USER}/rooms/{{roomId}}/tags/{{tag}}", endpoints.remove_tag)


def require_own(session: Session, request: Request) -> None:
    """Let pass whoever asks about themselves.

    Raises:
        ForbiddenError: the path names somebody else.
        InvalidInputError: it names nobody.
    """
    if user_of(request) != session.user:
        raise ForbiddenError("this is somebody else's")


class _AccountDataEndpoints:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def get(self, session: Session, request: Request) -> Reply:
        room = _place(session, request)
        found = await self._ledger.read(account_data.get, session.user, room, request.params["type"])
        if found is None:
            raise NotFoundError("no account data of this type")
        return found

    async def put(self, session: Session, request: Request) -> Reply:
        room = _place(session, request)
        account_data.refuse_server_managed(request.params["type"])
        content = await json_object(request)
        await self._ledger.run(account_data.put, session.user, room, request.params["type"], content)
        return None

    async def tags(self, session: Session, request: Request) -> Reply:
        require_own(session, request)
        return {"tags": await self._ledger.read(account_data.tags, session.user, room_of(request))}

    async def set_tag(self, session: Session, request: Request) -> Reply:
        require_own(session, request)
        content: dict[str, Any] = await json_object(request)
        order = content.get("order")
        if order is not None and (isinstance(order, bool) or not isinstance(order, int | float)):
            raise InvalidParamError("order is not a number")
        if not request.params["tag"] or len(request.params["tag"].encode("utf-8", "surrogatepass")) > 255:
            raise InvalidParamError("a tag has 1 to 255 bytes")
        await self._ledger.run(account_data.set_tag, session.user, room_of(request), request.params["tag"], content)
        return None

    async def remove_tag(self, session: Session, request: Request) -> Reply:
        require_own(session, request)
        await self._ledger.run(account_data.remove_tag, session.user, room_of(request), request.params["tag"])
        return None


def _place(session: Session, request: Request) -> RoomId | None:
    require_own(session, request)
    return room_of(request) if "roomId" in request.params else None
