"""A person's devices: list, name, delete (client-server API, "Device Management")."""

from typing import Any

from relay.base.ids import DeviceId
from relay.client_api.door import Door, Reply, json_object
from relay.client_api.fields import optional_text, optional_texts, required
from relay.client_api.interactive_auth import InteractiveAuth
from relay.client_api.login import NoteDevices
from relay.delivery.ledger import Change, Ledger
from relay.household import devices
from relay.household.devices import Device
from relay.household.sessions import Session
from relay.transport.message import Request


def register(door: Door, ledger: Ledger, auth: InteractiveAuth, note: NoteDevices) -> None:
    """Hang the endpoints of devices here."""
    endpoints = _DeviceEndpoints(ledger, auth, note)
    door.private("GET", "/_matrix/client/v3/devices", endpoints.list_all)
    door.private("GET", "/_matrix/client/v3/devices/{deviceId}", endpoints.show)
    door.private("PUT", "/_matrix/client/v3/devices/{deviceId}", endpoints.rename)
    door.private("DELETE", "/_matrix/client/v3/devices/{deviceId}", endpoints.delete)
    door.private("POST", "/_matrix/client/v3/delete_devices", endpoints.delete_many)


class _DeviceEndpoints:
    def __init__(self, ledger: Ledger, auth: InteractiveAuth, note: NoteDevices) -> None:
        self._ledger = ledger
        self._auth = auth
        self._note = note

    async def list_all(self, session: Session, _request: Request) -> Reply:
        listed = await self._ledger.read(devices.list_devices, session.user)
        return {"devices": [_shown(device) for device in listed]}

    async def show(self, session: Session, request: Request) -> Reply:
        return _shown(await self._ledger.read(devices.get, session.user, DeviceId(request.params["deviceId"])))

    async def rename(self, session: Session, request: Request) -> Reply:
        name, device = optional_text(await json_object(request), "display_name"), DeviceId(request.params["deviceId"])

        def step(change: Change) -> None:
            if name is None:
                devices.get(change, session.user, device)
            else:
                devices.rename(change, session.user, device, name)

        await self._ledger.run(step)
        return None

    async def delete(self, session: Session, request: Request) -> Reply:
        device = DeviceId(request.params["deviceId"])
        return await self._delete(session, request, await json_object(request), [device])

    async def delete_many(self, session: Session, request: Request) -> Reply:
        body = await json_object(request)
        required(body, "devices")
        return await self._delete(session, request, body, list(map(DeviceId, optional_texts(body, "devices"))))

    async def _delete(self, session: Session, request: Request, body: dict[str, Any], doomed: list[DeviceId]) -> Reply:
        # The attempt is bound to these devices: a password given for one never deletes another.
        operation = f"delete_devices {sorted(doomed)}"
        challenge = await self._auth.password(operation, session, request, body)
        if challenge is not None:
            return challenge

        def step(change: Change) -> None:
            for gone in devices.delete(change, session.user, doomed):
                self._note(change, session.user, gone)

        await self._ledger.run(step)
        return None


def _shown(device: Device) -> dict[str, Any]:
    # Some apps insist on every field, null or not; where a device was is never known here.
    return {
        "device_id": device.device,
        "display_name": device.display_name,
        "last_seen_ip": None,
        "last_seen_ts": device.last_seen_ms,
    }
