"""Server-side key backup, all of it (client-server API, "Server-side key backups")."""

from collections.abc import Iterator
from typing import Any

from relay.base.errors import InvalidInputError, InvalidParamError, MissingParamError, NotFoundError
from relay.base.ids import RoomId, parse_room_id
from relay.base.limits import MAX_BACKUP_BODY_BYTES, MAX_BACKUP_KEYS_PER_CHANGE
from relay.client_api.door import Door, Reply, grows, json_object
from relay.client_api.fields import optional_text, required_object, required_text, room_of
from relay.delivery.ledger import Ledger
from relay.household import key_backup
from relay.household.key_backup import Backup, Sessions
from relay.household.sessions import Session
from relay.transport.message import Request

_VERSION = "/_matrix/client/v3/room_keys/version"
_KEYS = "/_matrix/client/v3/room_keys/keys"


def register(door: Door, ledger: Ledger) -> None:
    """Hang the endpoints of key backup here."""
    endpoints = _BackupEndpoints(ledger)
    door.private("POST", _VERSION, endpoints.create, grows=grows)
    door.private("GET", _VERSION, endpoints.current)
    door.private("GET", f"{_VERSION}/{{version}}", endpoints.version)
    door.private("PUT", f"{_VERSION}/{{version}}", endpoints.update)
    door.private("DELETE", f"{_VERSION}/{{version}}", endpoints.delete)
    for path in (_KEYS, f"{_KEYS}/{{roomId}}", f"{_KEYS}/{{roomId}}/{{sessionId}}"):
        door.private("GET", path, endpoints.get_keys)
        door.private("PUT", path, endpoints.put_keys, grows=grows)
        door.private("DELETE", path, endpoints.delete_keys)


class _BackupEndpoints:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def create(self, session: Session, request: Request) -> Reply:
        body = await json_object(request)
        algorithm, auth_data = required_text(body, "algorithm"), required_object(body, "auth_data")
        return {"version": await self._ledger.run(key_backup.create, session.user, algorithm, auth_data)}

    async def current(self, session: Session, _request: Request) -> Reply:
        return _shown(await self._ledger.read(key_backup.current, session.user))

    async def version(self, session: Session, request: Request) -> Reply:
        return _shown(await self._ledger.read(key_backup.get, session.user, request.params["version"]))

    async def update(self, session: Session, request: Request) -> Reply:
        body, version = await json_object(request), request.params["version"]
        algorithm, auth_data = required_text(body, "algorithm"), required_object(body, "auth_data")
        if optional_text(body, "version") not in (None, version):
            raise InvalidParamError("the version in the body is not the one in the path")
        await self._ledger.run(key_backup.update, session.user, version, algorithm, auth_data)
        return None

    async def delete(self, session: Session, request: Request) -> Reply:
        await self._ledger.run(key_backup.delete, session.user, request.params["version"])
        return None

    async def get_keys(self, session: Session, request: Request) -> Reply:
        room, name = _place(request)
        found = await self._ledger.read(key_backup.keys, session.user, _version(request), room, name)
        if room is None:
            return {"rooms": {room_id: {"sessions": of_room} for room_id, of_room in found.items()}}
        if name is None:
            return {"sessions": found.get(room, {})}
        if name not in found.get(room, {}):
            raise NotFoundError("this key is not in the backup")
        return found[room][name]

    async def put_keys(self, session: Session, request: Request) -> Reply:
        version, (room, name) = _version(request), _place(request)
        sessions = _sessions_in(await json_object(request, MAX_BACKUP_BODY_BYTES), room, name)
        # At least one change, empty or not: a wrong version has to be told in any case.
        first, *more = _parts(sessions)
        backup = await self._ledger.run(key_backup.put_keys, session.user, version, first)
        for part in more:
            backup = await self._ledger.run(key_backup.put_keys, session.user, version, part)
        return {"etag": backup.etag, "count": backup.count}

    async def delete_keys(self, session: Session, request: Request) -> Reply:
        room, name = _place(request)
        backup = await self._ledger.run(key_backup.delete_keys, session.user, _version(request), room, name)
        return {"etag": backup.etag, "count": backup.count}


def _version(request: Request) -> str:
    version = request.argument("version")
    if version is None:
        raise MissingParamError("version is missing")
    return version


def _place(request: Request) -> tuple[RoomId | None, str | None]:
    if "roomId" not in request.params:
        return None, None
    return room_of(request), request.params.get("sessionId")


def _sessions_in(body: dict[str, Any], room: RoomId | None, name: str | None) -> Sessions:
    if room is not None and name is not None:
        return {room: {name: body}}
    if room is not None:
        return {room: _checked(required_object(body, "sessions"))}
    found: Sessions = {}
    for room_id, of_room in required_object(body, "rooms").items():
        if not isinstance(of_room, dict):
            raise InvalidInputError("rooms does not map rooms to objects")
        found[parse_room_id(room_id)] = _checked(required_object(of_room, "sessions"))
    return found


def _checked(sessions: dict[str, Any]) -> dict[str, dict[str, Any]]:
    if not all(isinstance(data, dict) for data in sessions.values()):
        raise InvalidInputError("sessions does not map sessions to objects")
    return sessions


def _parts(sessions: Sessions) -> Iterator[Sessions]:
    """Yield `sessions` in pieces that fit a change, at least one."""
    flat = [(room, name, data) for room, of_room in sessions.items() for name, data in of_room.items()]
    for begin in range(0, max(len(flat), 1), MAX_BACKUP_KEYS_PER_CHANGE):
        part: Sessions = {}
        for room, name, data in flat[begin : begin + MAX_BACKUP_KEYS_PER_CHANGE]:
            part.setdefault(room, {})[name] = data
        yield part


def _shown(backup: Backup) -> dict[str, Any]:
    return {
        "algorithm": backup.algorithm,
        "auth_data": backup.auth_data,
        "count": backup.count,
        "etag": backup.etag,
        "version": backup.version,
    }
