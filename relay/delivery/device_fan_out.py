"""Who is told when somebody here changes devices or cross-signing keys: servers that share a room, and people here.

Source: Matrix S2S v1.19, "Device Management" and the definition of `m.signing_key_update`.
"""

from collections.abc import Iterable
from typing import Any

from relay.base.ids import DeviceId, ServerName, UserId, server_of
from relay.delivery.outbox import queue as outbox_queue
from relay.household import cross_signing, device_keys, device_lists, devices, key_signatures
from relay.rooms.matrix.storage import members
from relay.store.ledger import Change, Index

Json = dict[str, Any]

_DEVICE = "m.device_list_update"
_SIGNING = "m.signing_key_update"


def note(change: Change, user: UserId, device: DeviceId | None) -> None:
    """Tell everybody who may want to know that `device` of `user` changed; None: the cross-signing keys did.

    Updates that have not left yet are collapsed to the newest one for each person; its `prev_id` names one that the
    peer never saw, so it asks for the whole list.
    """
    own = server_of(user)
    previous = device_lists.last_change(change, user)
    device_lists.note_changed(change, user)
    sharing = members.users_sharing_room(change, user)
    tell(change, user, device, previous, {server_of(other) for other in sharing} - {own})
    change.wake(*[("user", other) for other in sorted({user, *sharing}) if server_of(other) == own])


def introduce(change: Change, user: UserId, servers: Iterable[ServerName]) -> None:
    """Tell `servers`, which may never have heard of `user`'s devices, that there is a list to ask for.

    Source: Matrix S2S v1.19, "Device Management": updates are sent when a user joins a room with new servers.
    """
    known = devices.list_devices(change, user)
    if known:
        tell(change, user, known[0].device, device_lists.last_change(change, user), set(servers) - {server_of(user)})


def look_again(index: Index, user: UserId) -> Json | None:
    """Return the EDU that makes a server fetch the whole device list of `user`; None where they have no device."""
    known = devices.list_devices(index, user)
    return {"edu_type": _DEVICE, "content": _device_update(index, user, known[0].device, 0)} if known else None


def tell(change: Change, user: UserId, device: DeviceId | None, previous: int, servers: set[ServerName]) -> None:
    """Queue the update for `servers`, `previous` being the last stream id they may know."""
    for server in sorted(servers):
        if device is None:
            outbox_queue.take_replaced(change, server, _SIGNING, user)
            outbox_queue.enqueue(change, server, _SIGNING, _signing_update(change, user), replaces=user)
            continue
        replaced = outbox_queue.take_replaced(change, server, _DEVICE, user)
        before = previous if replaced is None else replaced["stream_id"]
        outbox_queue.enqueue(change, server, _DEVICE, _device_update(change, user, device, before), replaces=user)


def _device_update(index: Index, user: UserId, device: DeviceId, previous: int) -> Json:
    content: Json = {
        "user_id": user,
        "device_id": device,
        "stream_id": device_lists.last_change(index, user),
        "prev_id": [previous] if previous else [],
    }
    if not devices.exists(index, user, device):
        return {**content, "deleted": True}
    keys = device_keys.keys_of(index, user, [device]).get(device)
    if keys is not None:
        content["keys"] = key_signatures.with_signatures(index, user, device, None, keys)
    return content


def _signing_update(change: Change, user: UserId) -> Json:
    shown = cross_signing.keys_of(change, user, None)
    return {"user_id": user} | {f"{usage}_key": key for usage, key in shown.items() if usage != "user_signing"}
