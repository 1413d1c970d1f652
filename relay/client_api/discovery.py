"""What an app asks before it logs in, and what the box says it can do.

Client-server API, "Server discovery", "API Versions" and "Capabilities negotiation".
"""

from typing import Any

from relay.base.errors import NotFoundError
from relay.client_api.door import Door, Reply
from relay.core.matrix.room_versions import DEFAULT, SUPPORTED
from relay.household.sessions import Session
from relay.transport.message import Request

SPEC_VERSIONS = ("r0.6.1", *(f"v1.{minor}" for minor in range(1, 13)))
"""v1.11 is what makes apps ask for media with their token; nothing is listed that does not work."""

_CAPABILITIES: dict[str, Any] = {
    "m.change_password": {"enabled": True},
    "m.room_versions": {"default": DEFAULT.id, "available": dict.fromkeys(sorted(SUPPORTED, key=int), "stable")},
    "m.set_displayname": {"enabled": True},
    "m.set_avatar_url": {"enabled": True},
    "m.3pid_changes": {"enabled": False},
    "m.get_login_token": {"enabled": False},
}


def register(door: Door, public_url: str, federation_authority: str) -> None:
    """Hang discovery here: `public_url` is what apps use, `federation_authority` HOST:PORT what servers use.

    Either may be empty: then nothing is promised at its well-known address.
    """

    async def client(_request: Request) -> Reply:
        if not public_url:
            raise NotFoundError("this box has no public address for apps")
        return {"m.homeserver": {"base_url": public_url}}

    async def server(_request: Request) -> Reply:
        if not federation_authority:
            raise NotFoundError("this box delegates to nobody")
        return {"m.server": federation_authority}

    door.public("GET", "/.well-known/matrix/client", client)
    door.public("GET", "/.well-known/matrix/server", server)
    door.public("GET", "/_matrix/client/versions", _versions)
    door.private("GET", "/_matrix/client/v3/capabilities", _capabilities)


async def _versions(_request: Request) -> Reply:
    return {"versions": list(SPEC_VERSIONS), "unstable_features": {}}


async def _capabilities(_session: Session, _request: Request) -> Reply:
    return {"capabilities": _CAPABILITIES}
