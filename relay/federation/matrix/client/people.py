"""What the household asks of other servers.

Source: Matrix S2S v1.19, "End-to-End Encryption", "Device Management", "Querying for information".
"""

from typing import Any

from relay.base.ids import ServerName, UserId
from relay.federation.matrix.client.client import FederationClient, path_of

Json = dict[str, Any]


class MatrixPeoplePeers:
    """Looks people up; as `household.peers.PeoplePeers`."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def query_keys(self, server: ServerName, device_keys: dict[str, list[str]]) -> Json:
        """POST v1/user/keys/query."""
        path = "/_matrix/federation/v1/user/keys/query"
        return await self._client.post(server, path, {"device_keys": device_keys})

    async def claim_keys(self, server: ServerName, one_time_keys: dict[str, dict[str, str]]) -> Json:
        """POST v1/user/keys/claim."""
        path = "/_matrix/federation/v1/user/keys/claim"
        return await self._client.post(server, path, {"one_time_keys": one_time_keys})

    async def user_devices(self, server: ServerName, user: UserId) -> Json:
        """GET v1/user/devices."""
        return await self._client.get(server, path_of("/_matrix/federation/v1/user/devices", user))

    async def query_profile(self, server: ServerName, user: UserId, field: str | None = None) -> Json:
        """GET v1/query/profile."""
        query = [("user_id", str(user)), *([("field", field)] if field is not None else [])]
        return await self._client.get(server, "/_matrix/federation/v1/query/profile", query)
