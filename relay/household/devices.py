"""The devices of the household. A login makes one; keys, tokens and an inbox are its own and go with it."""

from collections.abc import Iterable
from dataclasses import dataclass

from relay.base.errors import ForbiddenError
from relay.base.ids import DeviceId, UserId
from relay.base.limits import MAX_DEVICE_NAME_CHARACTERS, MAX_DEVICES_PER_USER
from relay.household import acknowledged, device_keys, to_device, tokens
from relay.household.faults import UnknownDeviceError
from relay.store.ledger import Change, Index
from relay.store.tables import Operation

DDL = (
    """CREATE TABLE IF NOT EXISTS devices (
        user INTEGER NOT NULL, device TEXT NOT NULL, display_name TEXT, last_seen_ms INTEGER NOT NULL,
        PRIMARY KEY (user, device)) WITHOUT ROWID""",
)
_ADD = Operation(320, "INSERT INTO devices (user, device, display_name, last_seen_ms) VALUES (?, ?, ?, ?)")
_RENAME = Operation(321, "UPDATE devices SET display_name = ? WHERE user = ? AND device = ?")
_TOUCH = Operation(322, "UPDATE devices SET last_seen_ms = ? WHERE user = ? AND device = ?", lazy=True, patient=True)
_DELETE = Operation(323, "DELETE FROM devices WHERE user = ? AND device = ?")
OPERATIONS = (_ADD, _RENAME, _TOUCH, _DELETE)


@dataclass(frozen=True, slots=True)
class Device:
    """One device: where it was seen from is never kept."""

    device: DeviceId
    display_name: str | None
    last_seen_ms: int


def list_devices(index: Index, user: UserId) -> list[Device]:
    """Return the devices of `user`, by id."""
    rows = index.rows(
        "SELECT device, display_name, last_seen_ms FROM devices WHERE user = ? ORDER BY device", index.find(user)
    )
    return [Device(DeviceId(device), name, seen_ms) for device, name, seen_ms in rows]


def get(index: Index, user: UserId, device: DeviceId) -> Device:
    """Return one device.

    Raises:
        UnknownDeviceError: the user has no such device.
    """
    row = index.row(
        "SELECT display_name, last_seen_ms FROM devices WHERE user = ? AND device = ?", index.find(user), device
    )
    if row is None:
        raise UnknownDeviceError("no such device")
    return Device(device, row[0], row[1])


def exists(index: Index, user: UserId, device: DeviceId) -> bool:
    """Return whether `user` has the device."""
    return index.row("SELECT 1 FROM devices WHERE user = ? AND device = ?", index.find(user), device) is not None


def ensure(change: Change, user: UserId, device: DeviceId, initial_name: str | None, now_ms: int) -> None:
    """Make the device if it is new; one that is known keeps its name.

    Raises:
        ForbiddenError: it would be one too many, or its id is one of the person's cross-signing keys.
    """
    number = change.intern(user)
    if exists(change, user, device):
        change.write(_TOUCH, now_ms, number, device)
    else:
        if change.row("SELECT 1 FROM cross_signing_keys WHERE user = ? AND public = ?", number, device) is not None:
            raise ForbiddenError("this device id is a cross-signing key of the account")
        count = change.value("SELECT COUNT(*) FROM devices WHERE user = ?", number)
        if count >= MAX_DEVICES_PER_USER:
            raise ForbiddenError(f"a person may have at most {MAX_DEVICES_PER_USER} devices")
        change.write(_ADD, number, device, _shortened(initial_name), now_ms)


def rename(change: Change, user: UserId, device: DeviceId, display_name: str) -> None:
    """Give the device another name.

    Raises:
        UnknownDeviceError: the user has no such device.
    """
    get(change, user, device)
    change.write(_RENAME, _shortened(display_name), change.intern(user), device)


def touch(change: Change, user: UserId, device: DeviceId, now_ms: int) -> None:
    """Note when the device was seen; written with the next commit, so that a quiet box writes nothing."""
    change.write(_TOUCH, now_ms, change.intern(user), device)


def delete(change: Change, user: UserId, doomed: Iterable[DeviceId]) -> list[DeviceId]:
    """Delete devices with their keys, tokens and inboxes; those that do not exist are skipped.

    Returns:
        Those that had published keys: the caller tells everybody that they went (delivery's device fan-out).
    """
    number = change.intern(user)
    published = []
    for device in doomed:
        if not exists(change, user, device):
            continue
        if device_keys.drop_device(change, number, device):
            published.append(device)
        tokens.drop_device(change, number, device)
        to_device.drop_device(change, number, device)
        acknowledged.drop_device(change, number, device)
        change.write(_DELETE, number, device)
    return published


def _shortened(name: str | None) -> str | None:
    return None if name is None else name[:MAX_DEVICE_NAME_CHARACTERS]
