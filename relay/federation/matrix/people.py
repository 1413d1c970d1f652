"""What other servers may know of the people here, and of the names of our rooms.

Source: Matrix S2S v1.19, "Querying for information", "Device Management", "End-to-End Encryption".
"""

from collections.abc import Awaitable, Callable
from typing import Any

from relay.base.errors import InvalidInputError, NotFoundError, TooLargeError
from relay.base.ids import DeviceId, RoomAlias, ServerName, UserId, parse_room_alias, server_of
from relay.base.limits import MAX_KEY_QUERY_USERS
from relay.delivery.ledger import Change, Index, Ledger
from relay.federation.matrix.asking import Asking, own_user, parameters
from relay.household import accounts, cross_signing, device_keys, device_lists, key_queries, key_signatures, profile
from relay.rooms.matrix import aliases
from relay.rooms.matrix.storage import members
from relay.transport.message import Request, Response

Json = dict[str, Any]

_USAGES = ("master", "self_signing")


def version_of(version: str) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint that tells what software this is: no authentication."""

    async def answer(_request: Request) -> Response:
        return Response.json({"server": {"name": "Doorstep", "version": version}})

    return answer


class People:
    """Answers about profiles, aliases, devices and keys."""

    def __init__(self, ledger: Ledger, server: ServerName, may_look: Callable[[ServerName], None]) -> None:
        self._ledger = ledger
        self._server = server
        self._may_look = may_look

    async def profile(self, asking: Asking) -> Response:
        """GET v1/query/profile."""
        user = own_user(asking.argument("user_id"), self._server)
        return Response.json(await self._ledger.read(_profile, user, asking.request.argument("field")))

    async def directory(self, asking: Asking) -> Response:
        """GET v1/query/directory."""
        with parameters():
            alias = parse_room_alias(asking.argument("room_alias"))
        if server_of(alias) != self._server:
            raise NotFoundError("this alias is another server's")
        return Response.json(await self._ledger.read(_directory, alias))

    async def devices(self, asking: Asking) -> Response:
        """GET v1/user/devices."""
        self._may_look(asking.origin)
        user = own_user(asking.param("userId"), self._server)
        return Response.json(await self._ledger.read(_devices, user))

    async def query_keys(self, asking: Asking) -> Response:
        """POST v1/user/keys/query."""
        wanted: dict[UserId, list[DeviceId]] = {}
        for name, devices in _by_user(asking, "device_keys").items():
            if not isinstance(devices, list) or not all(isinstance(device, str) for device in devices):
                raise InvalidInputError("device_keys does not hold lists of device ids")
            wanted[own_user(name, self._server)] = [DeviceId(device) for device in devices]
        answer = await self._ledger.read(key_queries.query_local, wanted, None)
        return Response.json({name: answer[name] for name in ("device_keys", "master_keys", "self_signing_keys")})

    async def claim_keys(self, asking: Asking) -> Response:
        """POST v1/user/keys/claim: a one-time key leaves once, and only after its claim is durable."""
        wanted: dict[UserId, dict[DeviceId, str]] = {}
        for name, by_device in _by_user(asking, "one_time_keys").items():
            if not isinstance(by_device, dict) or not all(isinstance(kind, str) for kind in by_device.values()):
                raise InvalidInputError("one_time_keys does not hold an algorithm for each device")
            wanted[own_user(name, self._server)] = {DeviceId(device): kind for device, kind in by_device.items()}
        if sum(map(len, wanted.values())) > MAX_KEY_QUERY_USERS:
            raise TooLargeError(f"at most {MAX_KEY_QUERY_USERS} keys can be claimed at once")

        def claim(change: Change) -> Json:
            return {"one_time_keys": device_keys.claim_local(change, wanted)}

        return Response.json(await self._ledger.run(claim))


def _by_user(asking: Asking, name: str) -> Json:
    value = asking.object().get(name)
    if not isinstance(value, dict):
        raise InvalidInputError(f"{name} is missing or not an object")
    if len(value) > MAX_KEY_QUERY_USERS:
        raise TooLargeError(f"at most {MAX_KEY_QUERY_USERS} users can be asked about at once")
    return value


def _profile(index: Index, user: UserId, wanted: str | None) -> Json:
    if not accounts.exists(index, user):
        raise NotFoundError("there is no such user")
    shown = profile.get(index, user)
    if wanted is None:
        return shown
    if wanted not in shown:
        raise NotFoundError("this user has no such field")
    return {wanted: shown[wanted]}


def _directory(index: Index, alias: RoomAlias) -> Json:
    room = aliases.resolve(index, alias)
    if room is None:
        raise NotFoundError("there is no such room alias")
    return {"room_id": room, "servers": sorted(members.joined_servers(index, room))}


def _devices(index: Index, user: UserId) -> Json:
    if not accounts.exists(index, user):
        raise NotFoundError("there is no such user")
    answer: Json = {
        "user_id": user,
        "stream_id": device_lists.last_change(index, user),
        # What devices are called is nobody's business elsewhere.
        "devices": [
            {"device_id": device, "keys": key_signatures.with_signatures(index, user, device, None, keys)}
            for device, keys in device_keys.keys_of(index, user).items()
        ],
    }
    shown = cross_signing.keys_of(index, user, None)
    answer.update({f"{usage}_key": key for usage, key in shown.items() if usage in _USAGES})
    return answer
