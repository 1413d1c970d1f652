"""Carries out a family's day through the client-server API, whatever server answers it."""

import base64
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from relay.cli.bench.household import DEVICES, FAMILY, PICTURE_BYTES, ROOMS, Act, Device, Kind, devices_of
from relay.cli.bench.load import quote

_ONE_TIME_KEYS = 20
_MEGOLM, _OLM = "m.megolm.v1.aes-sha2", "m.olm.v1.curve25519-aes-sha2"


class Ask(Protocol):
    """Asks a server in the name of one device."""

    async def __call__(self, device: Device, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """Return the JSON answer; `path` begins after `/_matrix/client/` unless it begins with a slash.

        Raises:
            RuntimeError: the answer was not 200.
        """
        ...


class Player:
    """The family's apps.

    Args:
        ask: reaches both servers.
        names: server names, the measured one and the relatives'.
        wait_until: returns when it is so many seconds after the day began.
        poll_ms: how long apps wait for news.
    """

    def __init__(
        self, ask: Ask, names: tuple[str, str], wait_until: Callable[[float], Awaitable[None]], poll_ms: int = 30_000
    ) -> None:
        self._ask = ask
        self._names = names
        self._wait_until = wait_until
        self._poll_ms = poll_ms
        self._rooms: list[str] = []
        self._seen: dict[tuple[Device, str], str] = {}
        self._read: dict[tuple[str, str], str] = {}
        self._since: dict[Device, str] = {}
        self._sessions: dict[tuple[Device, int], str] = {}
        self._versions: dict[str, str] = {}
        self._sent = 0
        self.counts: dict[Kind, int] = dict.fromkeys(Kind, 0)

    def full_name(self, user: str) -> str:
        """Return the user id of one person."""
        return f"@{user}:{self._names[0 if user in FAMILY else 1]}"

    async def settle_in(self) -> None:
        """Publish keys, make the rooms and let everybody join."""
        for device in DEVICES:
            await self._publish_keys(device)
        for user in FAMILY:
            made = await self._ask(
                devices_of(user)[0],
                "POST",
                "v3/room_keys/version",
                {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"public_key": _noise(user, 32)}},
            )
            self._versions[user] = made["version"]
        encryption = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": _MEGOLM}}
        for room in ROOMS:
            others = [user for user in room.people if user != room.people[0]]
            body = {
                "preset": "private_chat",
                "invite": list(map(self.full_name, others)),
                "initial_state": [encryption],
            }
            made = await self._ask(devices_of(room.people[0])[0], "POST", "v3/createRoom", body)
            self._rooms.append(made["room_id"])
            for user in others:
                path = (
                    f"v3/join/{quote(made['room_id'])}?server_name={quote(self._names[0])}&via={quote(self._names[0])}"
                )
                await self._ask(devices_of(user)[0], "POST", path, {})
        for device in DEVICES:
            await self._poll(device, 0)

    async def poll_forever(self, device: Device) -> None:
        """Keep one app up to date."""
        while True:
            await self._poll(device, self._poll_ms)

    async def play(self, acts: Sequence[Act]) -> None:
        """Carry out `acts`, each when its time has come."""
        doing = {
            Kind.TYPE: self._type,
            Kind.SAY: self._say,
            Kind.PICTURE: self._picture,
            Kind.READ: self._mark_read,
            Kind.SHARE_KEYS: self._share_keys,
            Kind.SETTINGS: self._keep_settings,
        }
        for act in acts:
            await self._wait_until(act.at_s)
            await doing[act.kind](act)
            self.counts[act.kind] += 1

    async def _poll(self, device: Device, timeout_ms: int) -> None:
        since = f"&since={quote(self._since[device])}" if device in self._since else ""
        answer = await self._ask(device, "GET", f"v3/sync?timeout={timeout_ms}{since}")
        self._since[device] = answer["next_batch"]
        for room, section in answer.get("rooms", {}).get("join", {}).items():
            for event in section.get("timeline", {}).get("events", []):
                self._seen[device, room] = event["event_id"]

    async def _type(self, act: Act) -> None:
        await self._typing(act, typing=True)

    async def _typing(self, act: Act, *, typing: bool) -> None:
        user = self.full_name(act.device.user)
        body: dict[str, object] = {"typing": typing, **({"timeout": 30_000} if typing else {})}
        await self._ask(act.device, "PUT", f"{self._room_path(act)}/typing/{quote(user)}", body)

    async def _say(self, act: Act) -> None:
        await self._typing(act, typing=False)
        await self._send(act, 120 + act.number * 37 % 400)

    async def _picture(self, act: Act) -> None:
        uris = []
        for part, size in (("picture", PICTURE_BYTES), ("thumbnail", PICTURE_BYTES // 10)):
            data = hashlib.shake_256(f"{part} {act.number}".encode()).digest(size)
            answer = await self._ask(act.device, "POST", "/_matrix/media/v3/upload", data)
            uris.append(answer["content_uri"].removeprefix("mxc://"))
        await self._send(act, 900)
        for user in ROOMS[act.room].people:
            if user != act.device.user:
                for uri in uris:
                    await self._ask(devices_of(user)[0], "GET", f"v1/media/download/{uri}")

    async def _send(self, act: Act, size_bytes: int) -> None:
        self._sent += 1
        content = {
            "algorithm": _MEGOLM,
            "sender_key": _noise(f"{act.device}", 32),
            "session_id": self._sessions.get((act.device, act.room), _noise("none", 32)),
            "device_id": act.device.name,
            "ciphertext": _noise(f"{act.number}", size_bytes),
        }
        await self._ask(act.device, "PUT", f"{self._room_path(act)}/send/m.room.encrypted/t{self._sent}", content)

    async def _mark_read(self, act: Act) -> None:
        room = self._rooms[act.room]
        event = self._seen.get((act.device, room))
        if event is None or self._read.get((act.device.user, room)) == event:
            return
        self._read[act.device.user, room] = event
        await self._ask(act.device, "POST", f"{self._room_path(act)}/read_markers", _markers(event))

    async def _share_keys(self, act: Act) -> None:
        session = self._sessions[act.device, act.room] = _noise(f"session {act.device} {act.room} {act.number}", 32)
        people = ROOMS[act.room].people
        ids = {user: self.full_name(user) for user in people}
        await self._ask(act.device, "POST", "v3/keys/query", {"device_keys": {user: [] for user in ids.values()}})
        others = [device for user in people for device in devices_of(user) if device != act.device]
        stranger = others[act.number % len(others)]
        wanted = {ids[stranger.user]: {stranger.name: "signed_curve25519"}}
        await self._ask(act.device, "POST", "v3/keys/claim", {"one_time_keys": wanted})
        messages: dict[str, dict[str, object]] = {}
        for device in others:
            messages.setdefault(ids[device.user], {})[device.name] = _olm_message(act, device)
        self._sent += 1
        await self._ask(act.device, "PUT", f"v3/sendToDevice/m.room.encrypted/t{self._sent}", {"messages": messages})
        key = _one_time_key(self.full_name(stranger.user), stranger, f"more {act.number}")
        await self._ask(stranger, "POST", "v3/keys/upload", {"one_time_keys": key})
        for user in people:
            if user in FAMILY:
                await self._back_up(devices_of(user)[0], self._rooms[act.room], session)

    async def _back_up(self, device: Device, room: str, session: str) -> None:
        data = {"ciphertext": _noise(session, 500), "mac": _noise("mac", 8), "ephemeral": _noise(session + "e", 32)}
        entry = {"first_message_index": 0, "forwarded_count": 0, "is_verified": True, "session_data": data}
        body = {"rooms": {room: {"sessions": {session: entry}}}}
        await self._ask(device, "PUT", f"v3/room_keys/keys?version={quote(self._versions[device.user])}", body)

    async def _keep_settings(self, act: Act) -> None:
        recent = [[f"emoji {number}", number] for number in range(act.number % 7, act.number % 7 + 20)]
        path = f"v3/user/{quote(self.full_name(act.device.user))}/account_data/io.element.recent_emoji"
        await self._ask(act.device, "PUT", path, {"recent_emoji": recent, "at": act.number})

    async def _publish_keys(self, device: Device) -> None:
        user = self.full_name(device.user)
        keys = {
            "user_id": user,
            "device_id": device.name,
            "algorithms": [_OLM, _MEGOLM],
            "keys": {f"{kind}:{device.name}": _noise(f"{kind} {device}", 32) for kind in ("curve25519", "ed25519")},
            "signatures": {user: {f"ed25519:{device.name}": _noise(f"signature {device}", 64)}},
        }
        one_time: dict[str, object] = {}
        for number in range(_ONE_TIME_KEYS):
            one_time.update(_one_time_key(user, device, f"first {number}"))
        await self._ask(device, "POST", "v3/keys/upload", {"device_keys": keys, "one_time_keys": one_time})

    def _room_path(self, act: Act) -> str:
        return f"v3/rooms/{quote(self._rooms[act.room])}"


def _markers(event: str) -> dict[str, str]:
    # What Element and the SDKs behind most apps send when a room is looked at.
    return {"m.fully_read": event, "m.read": event}


def _noise(seed: str, size_bytes: int) -> str:
    """Return unpadded base64 of bytes that no compression makes smaller, as ciphertexts and keys are."""
    return base64.b64encode(hashlib.shake_256(seed.encode()).digest(size_bytes)).decode().rstrip("=")


def _one_time_key(user: str, device: Device, label: str) -> dict[str, object]:
    seed = f"{device} {label}"
    signatures = {user: {f"ed25519:{device.name}": _noise(f"signed {seed}", 64)}}
    return {f"signed_curve25519:{_noise(seed, 6)}": {"key": _noise(seed, 32), "signatures": signatures}}


def _olm_message(act: Act, device: Device) -> dict[str, object]:
    ciphertext = {_noise(f"curve25519 {device}", 32): {"type": 1, "body": _noise(f"{act.number} {device}", 700)}}
    return {"algorithm": _OLM, "sender_key": _noise(f"{act.device}", 32), "ciphertext": ciphertext}
