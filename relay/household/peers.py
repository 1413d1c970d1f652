"""What the household asks of other servers; the federation door implements it."""

from typing import Any, Protocol

from relay.base.ids import ServerName, UserId


class PeoplePeers(Protocol):
    """Look-ups of people elsewhere. JSON in and out, in the shapes of the server-server API.

    Every method raises `UnreachableError` or `PeerRefusedError`.
    """

    async def query_keys(self, server: ServerName, device_keys: dict[str, list[str]]) -> dict[str, Any]:
        """Return the answer of `POST /user/keys/query`: `device_keys`, `master_keys`, `self_signing_keys`."""
        ...

    async def claim_keys(self, server: ServerName, one_time_keys: dict[str, dict[str, str]]) -> dict[str, Any]:
        """Return the answer of `POST /user/keys/claim`: `one_time_keys`."""
        ...

    async def user_devices(self, server: ServerName, user: UserId) -> dict[str, Any]:
        """Return the answer of `GET /user/devices/{userId}`: `stream_id`, `devices`, cross-signing keys."""
        ...

    async def query_profile(self, server: ServerName, user: UserId, field: str | None = None) -> dict[str, Any]:
        """Return the answer of `GET /query/profile`."""
        ...
