"""A user of a hostile server who is properly in a room of the box: whatever she sends has its chance."""

import itertools
from typing import Any

from relay.core.matrix.building import sign_raw
from relay.core.matrix.events import event_id_of
from relay.core.matrix.room_versions import room_version
from tests.interop.hostile_server import HostileServer
from tests.interop.peer_clients import quote
from tests.interop.victim import Victim

V1, V2 = "/_matrix/federation/v1", "/_matrix/federation/v2"


class Guest:
    """Eve, a user of the hostile server, who is properly in a room of Anna's; makes PDUs of every kind."""

    def __init__(self, victim: Victim, hostile: HostileServer, version: str = "11") -> None:
        self.victim, self.hostile = victim, hostile
        self.version = room_version(version)
        made_of = {"preset": "public_chat", "room_version": version}
        self.room: str = victim.anna.call("POST", "v3/createRoom", made_of)["room_id"]
        self.user = f"@eve:{hostile.name}"
        self.numbers = itertools.count()
        room, user = quote(self.room), quote(self.user)
        status, made = hostile.ask(victim.box, "GET", f"{V1}/make_join/{room}/{user}?ver={version}")
        assert status == 200, made
        join = self.signed({**made["event"], "origin_server_ts": 1_700_000_000_000})
        status, joined = hostile.ask(victim.box, "PUT", f"{V2}/send_join/{room}/{self.id_of(join)}", join)
        assert status == 200, joined
        by_type = {event["type"]: self.id_of(event) for event in joined["state"] if event["state_key"] == ""}
        self.join = self.id_of(join)
        self.create, self.power = by_type["m.room.create"], by_type["m.room.power_levels"]
        implied = self.version.room_id_is_hash
        self.auth = [*([] if implied else [self.create]), self.power, self.join]
        self.depth = join["depth"] + 1

    def signed(self, raw: dict[str, Any]) -> dict[str, Any]:
        return sign_raw(raw, self.version, self.hostile.name, self.hostile.key)

    def id_of(self, pdu: dict[str, Any]) -> str:
        return event_id_of(pdu, self.version)

    def draft(self, body: str, **other: Any) -> dict[str, Any]:
        """Return an unsigned message; `other` replaces its fields, None takes one out."""
        drawn = {
            "type": "m.room.message", "sender": self.user, "room_id": self.room, "depth": self.depth,
            "content": {"msgtype": "m.text", "body": body, "number": next(self.numbers)}, "prev_events": [self.join],
            "auth_events": self.auth, "origin_server_ts": 1_700_000_000_001, **other,
        }  # fmt: skip
        return {name: value for name, value in drawn.items() if value is not None}

    def message(self, body: str, **other: Any) -> dict[str, Any]:
        return self.signed(self.draft(body, **other))

    def send(self, pdus: list[Any], edus: list[Any] | None = None) -> tuple[int, Any]:
        content: dict[str, Any] = {"origin": self.hostile.name, "origin_server_ts": 1, "pdus": pdus}
        if edus is not None:
            content["edus"] = edus
        target = f"{V1}/send/{self.version.id}.{next(self.numbers)}"
        return self.hostile.ask(self.victim.box, "PUT", target, content)

    def bodies(self) -> list[Any]:
        return [event["content"].get("body") for event in self.victim.anna.messages(self.room)]
