"""Other servers' people, for the household: what they publish, and who answers at all."""

import copy
from typing import Any

import trio

from relay.base.errors import PeerRefusedError, UnreachableError
from relay.base.ids import ServerName, UserId, server_of


class MemoryPeoplePeers:
    """Answers for any server from what tests put in; `calls` lists what was asked.

    Attributes:
        devices: user -> the answer of `GET /user/devices`.
        one_time_keys: user -> device -> keys that are left, given out in order.
        profiles: user -> the answer of `GET /query/profile`.
        down: servers that cannot be reached; `hanging` ones never answer, `refusing` ones answer 403.
    """

    def __init__(self) -> None:
        self.devices: dict[UserId, dict[str, Any]] = {}
        self.one_time_keys: dict[UserId, dict[str, list[dict[str, Any]]]] = {}
        self.profiles: dict[UserId, dict[str, Any]] = {}
        self.down: set[str] = set()
        self.hanging: set[str] = set()
        self.refusing: set[str] = set()
        self.calls: list[str] = []

    async def _reach(self, call: str, server: ServerName) -> None:
        self.calls.append(f"{call} {server}")
        await trio.lowlevel.checkpoint()
        if server in self.hanging:
            await trio.sleep_forever()
        if server in self.down:
            raise UnreachableError("no route")
        if server in self.refusing:
            raise PeerRefusedError("no", status=403, errcode="M_FORBIDDEN")

    async def query_keys(self, server: ServerName, device_keys: dict[str, list[str]]) -> dict[str, Any]:
        await self._reach("query_keys", server)
        answer: dict[str, Any] = {"device_keys": {}, "master_keys": {}, "self_signing_keys": {}}
        for name in device_keys:
            user = UserId(name)
            if server_of(user) == server and user in self.devices:
                listed = self.devices[user]["devices"]
                answer["device_keys"][user] = {entry["device_id"]: copy.deepcopy(entry["keys"]) for entry in listed}
                for usage in ("master", "self_signing"):
                    if f"{usage}_key" in self.devices[user]:
                        answer[f"{usage}_keys"][user] = copy.deepcopy(self.devices[user][f"{usage}_key"])
        return answer

    async def claim_keys(self, server: ServerName, one_time_keys: dict[str, dict[str, str]]) -> dict[str, Any]:
        await self._reach("claim_keys", server)
        given: dict[str, Any] = {}
        for user, by_device in one_time_keys.items():
            for device in by_device:
                left = self.one_time_keys.get(UserId(user), {}).get(device)
                if left:
                    given.setdefault(user, {})[device] = left.pop(0)
        return {"one_time_keys": given}

    async def user_devices(self, server: ServerName, user: UserId) -> dict[str, Any]:
        await self._reach("user_devices", server)
        if user not in self.devices:
            raise PeerRefusedError("unknown", status=404, errcode="M_NOT_FOUND")
        return {"user_id": user, **copy.deepcopy(self.devices[user])}

    async def query_profile(self, server: ServerName, user: UserId, field: str | None = None) -> dict[str, Any]:
        await self._reach("query_profile", server)
        found = self.profiles.get(user)
        if found is None or (field is not None and field not in found):
            raise PeerRefusedError("unknown", status=404, errcode="M_NOT_FOUND")
        return dict(found) if field is None else {field: found[field]}
