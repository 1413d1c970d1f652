"""Transactions as HTTP requests.

Source: Matrix S2S v1.19, "Transactions".
"""

from collections.abc import Sequence
from typing import Any

from relay.base.ids import ServerName
from relay.federation.matrix.client.client import FederationClient, path_of

Json = dict[str, Any]


class MatrixOutlet:
    """Sends what the outboxes hold."""

    def __init__(self, client: FederationClient, server: ServerName) -> None:
        self._client = client
        self._server = server

    async def send(
        self, destination: ServerName, transaction_id: str, pdus: Sequence[Json], edus: Sequence[Json], made_ms: int
    ) -> Json:
        """Deliver one transaction; as `Outlet.send`."""
        content: Json = {"origin": self._server, "origin_server_ts": made_ms, "pdus": list(pdus)}
        if edus:
            content["edus"] = list(edus)
        path = path_of("/_matrix/federation/v1/send", transaction_id)
        return await self._client.put(destination, path, content)
