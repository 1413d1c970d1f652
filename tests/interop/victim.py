"""A box under attack: what it may use, whether it still serves, and the nonsense that is thrown at it."""

import contextlib
import http.client
import itertools
import json
import os
import random  # noqa: TID251 - seeded, so that a failure comes back
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.interop.box_process import PASSWORD, BoxProcess
from tests.interop.peer_clients import Api

MOST_MEMORY_MIB = 128
MOST_MORE_FILES = 40
UNKNOWN_EVENT = "$" + "e" * 43
NESTED = b"[" * 5000 + b"]" * 5000

NAMES = [
    "type", "identifier", "user", "password", "token", "device_id", "initial_device_display_name", "refresh_token",
    "auth", "session", "new_password", "logout_devices", "preset", "visibility", "invite", "initial_state", "name",
    "topic", "room_version", "creation_content", "power_level_content_override", "room_alias_name", "is_direct",
    "user_id", "reason", "membership", "displayname", "avatar_url", "device_keys", "one_time_keys", "fallback_keys",
    "timeout", "messages", "master_key", "self_signing_key", "user_signing_key", "algorithm", "auth_data", "version",
    "rooms", "sessions", "content", "m.read", "m.fully_read", "typing", "room_id", "servers", "order", "tags",
    "conditions", "actions", "pattern", "enabled", "limit", "since", "filter", "server", "room", "timeline",
    "event_fields", "third_party_signed", "search_term", "devices", "display_name", "redacts", "alias", "aliases",
    "alt_aliases", "kind", "data", "pushkey", "app_id", "lang", "url", "erase", "username", "inhibit_login",
    "ed25519", "signed_curve25519:AAAA", "signatures", "keys", "PHONE", "@anna:x", "*", "users", "events", "ban",
]  # fmt: skip


class Nonsense:
    """Draws JSON values, some of them almost right."""

    def __init__(self, seed: str, words: list[str]) -> None:
        self.chance = random.Random(seed)
        self.words = words

    def word(self) -> str:
        return self.chance.choice(self.words)

    def value(self, depth: int = 3) -> Any:
        chance = self.chance
        kind = chance.randrange(12)
        if kind < 3 and depth:
            return {self.name(): self.value(depth - 1) for _ in range(chance.randrange(4))}
        if kind < 5 and depth:
            return [self.value(depth - 1) for _ in range(chance.randrange(4))]
        return chance.choice(
            [
                None,
                True,
                False,
                0,
                -1,
                1,
                2**53,
                -(2**70),
                2**63,
                1.5,
                1e300,
                "",
                "\0",
                "x" * 300,
                "é\U0001f600",
                "\ud800",
            ]
            + [self.word() for _ in range(8)]
        )

    def name(self) -> str:
        return self.word() if self.chance.random() < 0.3 else self.chance.choice(NAMES)

    def body(self) -> Any:
        if self.chance.random() < 0.1:
            return self.value()
        return {self.name(): self.value() for _ in range(self.chance.randrange(1, 9))}


class Victim:
    """A running box, a person on it, and what it may use."""

    def __init__(self, box: BoxProcess) -> None:
        self.box = box
        self.anna = box.login()
        self.room: str = self.anna.call("POST", "v3/createRoom", {"preset": "public_chat", "room_version": "11"})[
            "room_id"
        ]
        self._sent = itertools.count()
        self._files = self._open_files()

    def _open_files(self) -> int:
        assert self.box.process is not None
        return len(list(Path(f"/proc/{self.box.process.pid}/fd").iterdir()))

    @property
    def peak_memory_mib(self) -> float:
        assert self.box.process is not None
        status = Path(f"/proc/{self.box.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    @property
    def processor_s(self) -> float:
        """How long the box has been computing."""
        assert self.box.process is not None
        fields = Path(f"/proc/{self.box.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def check(self, more_files: int = MOST_MORE_FILES) -> None:
        """Assert that the box serves as before: versions, a login, a send, a sync; and has not grown."""
        assert self.box.process is not None
        assert self.box.process.poll() is None
        with urllib.request.urlopen(f"{self.box.base}/_matrix/client/versions", timeout=10) as answer:
            assert answer.status == 200
        again = Api(self.box.base)
        again.login("anna", PASSWORD)
        number = next(self._sent)
        event_id = again.send(self.room, f"still here {number}", f"still{number}")
        synced = again.call("GET", "v3/sync?timeout=0")
        timeline = synced["rooms"]["join"][self.room]["timeline"]["events"]
        assert timeline[-1]["event_id"] == event_id
        again.call("POST", "v3/logout", {})
        assert self.peak_memory_mib < MOST_MEMORY_MIB
        deadline = time.monotonic() + 10
        while self._open_files() > self._files + more_files and time.monotonic() < deadline:
            again.call("GET", "versions")
        assert self._open_files() <= self._files + more_files


def ask_as(
    victim: Victim,
    method: str,
    target: str,
    body: bytes,
    headers: dict[str, str] | None = None,
    *,
    token: str | None = None,
) -> tuple[int, bytes]:
    """Ask the client door with just these bytes, as Anna unless `token` is somebody else's."""
    connection = http.client.HTTPConnection("127.0.0.1", victim.box.client_port, timeout=30)
    fields = {"Authorization": f"Bearer {token or victim.anna.token}", **(headers or {})}
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, target, body or None, fields)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def code_of(body: bytes) -> str:
    return str(json.loads(body)["errcode"])
