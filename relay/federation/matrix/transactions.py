"""PUT /send.

Source: Matrix S2S v1.19, "Transactions".
"""

from relay.base.errors import InvalidParamError
from relay.base.limits import MAX_ID_BYTES, MAX_JSON_BODY_BYTES
from relay.delivery.bounds.admission import Admission
from relay.delivery.incoming import Incoming
from relay.federation.matrix.asking import Asking
from relay.transport.message import Response


class Transactions:
    """Takes transactions."""

    def __init__(self, incoming: Incoming, admission: Admission) -> None:
        self._incoming = incoming
        self._admission = admission

    async def send(self, asking: Asking) -> Response:
        """Answer once the transaction is durable; a PDU that fails its checks has an `error` in the answer.

        Where there is no room the whole of it is refused, as a PDU that is refused alone is not sent again. An empty
        transaction, a sign of life, always passes.
        """
        transaction_id = asking.param("txnId")
        if not transaction_id or len(transaction_id.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES:
            raise InvalidParamError(f"a transaction id has 1 to {MAX_ID_BYTES} bytes")
        content = asking.object()
        pdus, edus = content.get("pdus", []), content.get("edus", [])
        if pdus or edus:
            self._admission.take_from_server(asking.origin, len(await asking.request.body(MAX_JSON_BODY_BYTES)))
        reply = await self._incoming.receive(asking.origin, transaction_id, pdus, edus)
        return Response.json(reply)
