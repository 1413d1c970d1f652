"""Names, pictures and other fields of people here and elsewhere (client-server API, "Profiles")."""

from collections.abc import Awaitable, Callable
from typing import Any

from relay.base.errors import MissingParamError, NotFoundError
from relay.base.ids import ServerName, UserId, server_of
from relay.client_api.account_data import require_own
from relay.client_api.door import Door, Reply, grows, json_object
from relay.client_api.fields import user_of
from relay.delivery.ledger import Index, Ledger
from relay.household import accounts, profile
from relay.household.peers import PeoplePeers
from relay.household.sessions import Session
from relay.transport.message import Request

SpreadProfile = Callable[[UserId, dict[str, Any]], Awaitable[None]]
"""Shows a person's changed name and picture in the rooms they are in."""


def register(door: Door, ledger: Ledger, server: ServerName, peers: PeoplePeers, spread: SpreadProfile) -> None:
    """Hang the endpoints of profiles here."""
    endpoints = _ProfileEndpoints(ledger, server, peers, spread)
    door.public("GET", "/_matrix/client/v3/profile/{userId}", endpoints.whole)
    door.public("GET", "/_matrix/client/v3/profile/{userId}/{field}", endpoints.field)
    door.private("PUT", "/_matrix/client/v3/profile/{userId}/{field}", endpoints.put, grows=grows)
    door.private("DELETE", "/_matrix/client/v3/profile/{userId}/{field}", endpoints.delete)


class _ProfileEndpoints:
    def __init__(self, ledger: Ledger, server: ServerName, peers: PeoplePeers, spread: SpreadProfile) -> None:
        self._ledger = ledger
        self._server = server
        self._peers = peers
        self._spread = spread

    async def whole(self, request: Request) -> Reply:
        return await self._profile_of(user_of(request))

    async def field(self, request: Request) -> Reply:
        name = request.params["field"]
        found = await self._profile_of(user_of(request))
        if name not in found:
            raise NotFoundError("no such field in this profile")
        return {name: found[name]}

    async def put(self, session: Session, request: Request) -> Reply:
        require_own(session, request)
        name, body = request.params["field"], await json_object(request)
        profile.check_field(name)
        if name not in body:
            raise MissingParamError(f"{name} is missing")
        await self._change(session.user, name, body[name])
        return None

    async def delete(self, session: Session, request: Request) -> Reply:
        require_own(session, request)
        name = request.params["field"]
        if await self._ledger.run(profile.remove, session.user, name):
            await self._show(session.user, name)
        return None

    async def _change(self, user: UserId, name: str, value: object) -> None:
        # The empty text is how apps of before v1.16 take a name or picture off; null is one of the things not stored.
        if name in profile.IN_MEMBER_EVENTS and value in ("", None):
            changed = await self._ledger.run(profile.remove, user, name)
        else:
            changed = await self._ledger.run(profile.put, user, name, value)
        if changed:
            await self._show(user, name)

    async def _show(self, user: UserId, name: str) -> None:
        if name in profile.IN_MEMBER_EVENTS:
            await self._spread(user, await self._ledger.read(profile.get, user))

    async def _profile_of(self, user: UserId) -> dict[str, Any]:
        if server_of(user) != self._server:
            return await self._peers.query_profile(server_of(user), user)
        return await self._ledger.read(_local_profile, user)


def _local_profile(index: Index, user: UserId) -> dict[str, Any]:
    if not accounts.exists(index, user):
        raise NotFoundError("nobody of this name is known here")
    return profile.get(index, user)
