"""Opens state folders as a start does and shows what their owner's apps would see, without doors and network.

Usage: python -m tests.interop.recovered_state; one JSON line in for each folder, one out. It lives for many folders.

In: `state`, `room`, `sessions` (tokens), `inbox` (the token whose to-device messages are read), `media` (addresses).
Out: for each kind of `promises` what is there, by name; or `error`.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import trio

from relay.app.family import family_door
from relay.app.house import open_house
from relay.app.network import open_network
from relay.base import log
from relay.base.config import load
from relay.client_api.door import Door
from tests.fakes.http import make_request, whole_body
from tests.interop.promises import FAR_MESSAGE, MEDIA, MESSAGE, SESSION, TO_DEVICE


class Visitor:
    """Asks the family's door as an app does."""

    def __init__(self, door: Door, token: str) -> None:
        self._door = door
        self._token = token

    async def bytes(self, path: str) -> bytes | None:
        """Return the body of a 200, None for any other answer."""
        response = await self._door.answer(make_request("GET", f"/_matrix/client/{path}", token=self._token))
        body = await whole_body(response)
        return body if response.status == 200 else None

    async def json(self, path: str) -> dict[str, Any]:
        """Return the JSON of a 200, nothing for any other answer."""
        body = await self.bytes(path)
        answer: dict[str, Any] = {} if body is None else orjson.loads(body)
        return answer


async def look(asked: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Recover the folder and return what is in it."""
    folder = Path(asked["state"])
    async with open_house(folder, load(folder)) as house:
        if not house.ledger.healthy:
            raise AssertionError(house.ledger.status().fault)
        door = family_door(house, await open_network(house))
        sessions: dict[str, Any] = {}
        for token in asked["sessions"]:
            sessions[token] = (await Visitor(door, token).json("v3/account/whoami")).get("device_id")
        owner = Visitor(door, next(iter(sessions), ""))
        events = await _messages(owner, asked["room"])
        media = {address: await _digest(owner, address) for address in asked["media"]}
        return {
            SESSION: sessions,
            MESSAGE: {event["event_id"]: event["content"]["body"] for event in events},
            FAR_MESSAGE: {event["content"]["body"]: event["sender"] for event in events},
            TO_DEVICE: await _to_device(Visitor(door, asked["inbox"])),
            MEDIA: media,
        }


async def _messages(owner: Visitor, room: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    start: str | None = ""
    while start is not None:
        page = await owner.json(f"v3/rooms/{quote(room)}/messages?dir=b&limit=500{start}")
        events += page.get("chunk", [])
        start = f"&from={page['end']}" if page.get("chunk") and "end" in page else None
    return [event for event in events if event["type"] == "m.room.message"]


async def _to_device(app: Visitor) -> dict[str, Any]:
    found: dict[str, Any] = {}
    since = ""
    while True:
        answer = await app.json(f"v3/sync?timeout=0{since}")
        events = answer.get("to_device", {}).get("events", [])
        if not events:
            return found
        found |= {event["content"]["name"]: event["content"] for event in events}
        since = f"&since={answer['next_batch']}"


async def _digest(owner: Visitor, address: str) -> str | None:
    body = await owner.bytes(f"v1/media/download/{address.removeprefix('mxc://')}")
    return None if body is None else hashlib.sha256(body).hexdigest()


def main() -> None:
    """Answer line by line until there is no more."""
    log.configure(level="error")
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = trio.run(look, json.loads(line))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
