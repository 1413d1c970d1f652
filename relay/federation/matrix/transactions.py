"""PUT /send.

Source: Matrix S2S v1.19, "Transactions".
"""

from relay.base.errors import InvalidParamError
from relay.base.limits import MAX_ID_BYTES, MAX_JSON_BODY_BYTES
from relay.delivery.bounds.admission import Admission
from relay.delivery.incoming import Incoming
from relay.federation.matrix.asking import Asking
from relay.transport.message import Response

# A list: what a stranger calls a type need not have a hash.
_PASSING = ["m.typing", "m.presence", "m.receipt"]


class Transactions:
    """Takes transactions."""

    def __init__(self, incoming: Incoming, admission: Admission) -> None:
        self._incoming = incoming
        self._admission = admission

    async def send(self, asking: Asking) -> Response:
        """Answer once the transaction is durable; a PDU that fails its checks has an `error` in the answer.

        Where there is no room the whole of it is refused, as a PDU that is refused alone is not sent again. What keeps
        nothing always passes: an empty transaction, a sign of life; who types; how far somebody has read.
        """
        transaction_id = asking.param("txnId")
        if not transaction_id or len(transaction_id.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES:
            raise InvalidParamError(f"a transaction id has 1 to {MAX_ID_BYTES} bytes")
        content = asking.object()
        pdus, edus = content.get("pdus", []), content.get("edus", [])
        if pdus or _keeps(edus):
            self._admission.take_from_server(asking.origin, len(await asking.request.body(MAX_JSON_BODY_BYTES)))
        reply = await self._incoming.receive(asking.origin, transaction_id, pdus, edus)
        return Response.json(reply)


def _keeps(edus: object) -> bool:
    """Return whether any of these units is kept; receipts only take the place of older ones."""
    if not isinstance(edus, list):
        return False
    return not all(isinstance(edu, dict) and edu.get("edu_type") in _PASSING for edu in edus)
