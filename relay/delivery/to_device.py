"""Where a message from one device to others goes: inboxes here, outboxes for elsewhere."""

from collections.abc import Mapping
from typing import Any

from relay.base.config import LimitsConfig
from relay.base.ids import DeviceId, ServerName, UserId, server_of
from relay.delivery.outbox import queue as outbox_queue
from relay.household import to_device
from relay.store.ledger import Change

Json = dict[str, Any]

_DEFAULTS = LimitsConfig()


def route(
    change: Change,
    sender: UserId,
    message_type: str,
    messages: Mapping[UserId, Mapping[DeviceId, Json]],
    *,
    message_id: str,
    limits: LimitsConfig = _DEFAULTS,
) -> None:
    """Deliver `messages` of one request: one EDU for each other server, with one id.

    `message_id` has at most 32 characters and is fixed in this change, so that a peer that gets the EDU twice knows it.
    `limits` bound the inboxes here.

    Source: Matrix S2S v1.19, "Send-to-device messaging".
    """
    own = server_of(sender)
    elsewhere: dict[ServerName, Json] = {}
    for user, by_device in messages.items():
        server = server_of(user)
        if server != own:
            elsewhere.setdefault(server, {})[user] = dict(by_device)
            continue
        for device, content in by_device.items():
            to_device.enqueue(change, user, device, sender, message_type, content, limits=limits)
    for server, theirs in elsewhere.items():
        edu = {"sender": sender, "type": message_type, "message_id": message_id, "messages": theirs}
        outbox_queue.enqueue(change, server, "m.direct_to_device", edu)
