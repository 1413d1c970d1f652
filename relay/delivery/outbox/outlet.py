"""How a transaction leaves the house: the one thing an outbox asks of the protocol that carries it."""

from collections.abc import Sequence
from typing import Any, Protocol

from relay.base.ids import ServerName


class Outlet(Protocol):
    """Carries transactions to other servers."""

    async def send(
        self,
        destination: ServerName,
        transaction_id: str,
        pdus: Sequence[dict[str, Any]],
        edus: Sequence[dict[str, Any]],
        made_ms: int,
    ) -> dict[str, Any]:
        """Deliver one transaction and return the peer's reply: it is the peer's from now on.

        Raises:
            UnreachableError: no answer, or one of a server in trouble; the same transaction is tried again later.
            PeerRefusedError: an answer that says no.
        """
        ...
