"""What apps ask for that this box does not do: the smallest answers they understand.

Client-server API, "Voice over IP", "Third-party networks", "Push notifications", "User directory", "Search",
"Presence", "Room previews".
"""

from typing import Any

from relay.base.errors import ForbiddenError, NotFoundError
from relay.client_api.door import Door, Reply, json_object
from relay.client_api.fields import optional_int, required_text
from relay.delivery.ledger import Index, Ledger
from relay.household import profile
from relay.household.sessions import Session
from relay.rooms.matrix.storage import members
from relay.transport.message import Request

_MOST_FOUND = 50


class UserDirectory:
    """`POST /user_directory/search`: the people one shares a room with, and nobody else."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def search(self, session: Session, request: Request) -> Reply:
        """Find people by a part of their id or of their name."""
        body = await json_object(request)
        limit = max(1, min(optional_int(body, "limit") or 10, _MOST_FOUND))
        term = required_text(body, "search_term").casefold()
        found = await self._ledger.read(_search, session, term, limit + 1)
        return {"results": found[:limit], "limited": len(found) > limit}


def register(door: Door, directory: UserDirectory) -> None:
    """Hang the answers."""
    v3 = "/_matrix/client/v3"
    door.private("POST", f"{v3}/user_directory/search", directory.search)
    for path, answer in _ANSWERS.items():
        door.private("GET", f"{v3}/{path}", _always(answer))
    door.private("POST", f"{v3}/pushers/set", _refuse("push gateways are not offered yet"))
    door.private("POST", f"{v3}/search", _always(_NO_RESULTS))
    door.private("PUT", f"{v3}/presence/{{userId}}/status", _always({}))
    door.private("GET", f"{v3}/presence/{{userId}}/status", _presence)
    door.private("GET", "/_matrix/client/v1/auth_metadata", _missing)


_NO_RESULTS: dict[str, Any] = {"search_categories": {"room_events": {"count": 0, "results": [], "highlights": []}}}
_ANSWERS: dict[str, dict[str, Any]] = {
    "voip/turnServer": {},
    "thirdparty/protocols": {},
    "pushers": {"pushers": []},
    "notifications": {"notifications": []},
}


def _always(answer: dict[str, Any]) -> Any:  # noqa: ANN401 - an endpoint
    async def endpoint(_session: Session, _request: Request) -> Reply:
        return dict(answer)

    return endpoint


def _refuse(why: str) -> Any:  # noqa: ANN401 - an endpoint
    async def endpoint(_session: Session, _request: Request) -> Reply:
        raise ForbiddenError(why)

    return endpoint


async def _presence(_session: Session, _request: Request) -> Reply:
    raise ForbiddenError("presence is not kept here")


async def _missing(_session: Session, _request: Request) -> Reply:
    raise NotFoundError("this box has no OAuth service")


def _search(index: Index, session: Session, term: str, most: int) -> list[dict[str, Any]]:
    found = []
    for user in sorted(members.users_sharing_room(index, session.user) - {session.user}):
        shown = profile.get(index, user)
        name = shown.get("displayname")
        if term in user.casefold() or (isinstance(name, str) and term in name.casefold()):
            found.append({"user_id": user, **{key: shown[key] for key in profile.IN_MEMBER_EVENTS if key in shown}})
            if len(found) == most:
                break
    for entry in found:
        if "displayname" in entry:
            entry["display_name"] = entry.pop("displayname")
    return found
