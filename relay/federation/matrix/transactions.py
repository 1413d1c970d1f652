"""PUT /send.

Source: Matrix S2S v1.19, "Transactions".
"""

from relay.base.errors import InvalidParamError
from relay.base.limits import MAX_ID_BYTES
from relay.delivery.incoming import Incoming
from relay.federation.matrix.asking import Asking
from relay.transport.message import Response


class Transactions:
    """Takes transactions."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming

    async def send(self, asking: Asking) -> Response:
        """Answer once the transaction is durable; a PDU that fails its checks has an `error` in the answer."""
        transaction_id = asking.param("txnId")
        if not transaction_id or len(transaction_id.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES:
            raise InvalidParamError(f"a transaction id has 1 to {MAX_ID_BYTES} bytes")
        content = asking.object()
        reply = await self._incoming.receive(
            asking.origin, transaction_id, content.get("pdus", []), content.get("edus", [])
        )
        return Response.json(reply)
