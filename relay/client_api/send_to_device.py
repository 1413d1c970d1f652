"""Messages from device to device (client-server API, "Send-to-Device messaging")."""

import contextlib
import secrets
from typing import Any

from relay.base.clock import Clock
from relay.base.config import LimitsConfig
from relay.base.errors import InvalidInputError
from relay.base.ids import DeviceId, UserId, parse_user_id
from relay.base.limits import MAX_TO_DEVICE_RECIPIENTS
from relay.client_api.door import Door, Reply, grows, json_object
from relay.client_api.fields import required_object
from relay.delivery import to_device
from relay.delivery.ledger import Change, Ledger
from relay.delivery.sending import AlreadySentError, ClientTransaction, record, refuse_repeated
from relay.household.sessions import Session
from relay.household.to_device import check_content
from relay.transport.message import Request

Messages = dict[UserId, dict[DeviceId, dict[str, Any]]]


class SendToDevice:
    """`PUT /sendToDevice/{eventType}/{txnId}`."""

    def __init__(self, ledger: Ledger, clock: Clock, limits: LimitsConfig) -> None:
        self._ledger = ledger
        self._limits = limits
        self._clock = clock

    async def send(self, session: Session, request: Request) -> Reply:
        """Deliver each message to its device's inbox, here or elsewhere; once for each transaction id."""
        kind = request.params["eventType"]
        messages = _read(required_object(await json_object(request), "messages"))
        transaction = ClientTransaction(session.user, session.device, f"to_device/{kind}", request.params["txnId"])
        message_id, now_ms = secrets.token_urlsafe(16), self._clock.wall_ms()

        def deliver(change: Change) -> None:
            refuse_repeated(change, transaction)
            to_device.route(change, session.user, kind, messages, message_id=message_id, limits=self._limits)
            record(change, transaction, None, now_ms)

        with contextlib.suppress(AlreadySentError):
            await self._ledger.run(deliver)
        return None


def register(door: Door, sending: SendToDevice) -> None:
    """Hang it."""
    door.private("PUT", "/_matrix/client/v3/sendToDevice/{eventType}/{txnId}", sending.send, grows=grows)


def _read(body: dict[str, Any]) -> Messages:
    messages: Messages = {}
    count = 0
    for user, by_device in body.items():
        if not isinstance(by_device, dict) or not all(isinstance(content, dict) for content in by_device.values()):
            raise InvalidInputError("messages maps users to devices to contents")
        count += len(by_device)
        for content in by_device.values():
            check_content(content)
        messages[parse_user_id(user)] = {DeviceId(device): content for device, content in by_device.items()}
    if count > MAX_TO_DEVICE_RECIPIENTS:
        raise InvalidInputError(f"one request may address {MAX_TO_DEVICE_RECIPIENTS} devices")
    return messages
