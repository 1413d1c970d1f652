"""Waiting until a fact is there or the time is up; on a server as an app does, one sync after another."""

import threading
import time
from collections.abc import Callable
from typing import Any

from tests.interop.peer_clients import Api, quote


def wait_until(true: Callable[[], object], within_s: float = 15) -> None:
    """Return once `true()` is; nothing announces such facts, so it is asked again soon.

    Raises:
        TimeoutError: it never was.
    """
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError
        threading.Event().wait(0.01)


def sync_until(api: Api, found: Callable[[dict[str, Any]], Any], within_s: float = 20, since: str = "") -> Any:
    """Sync, from `since` on if it is given, until `found(answer)` gives something true; returns that.

    Raises:
        TimeoutError: it never did.
    """
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        query = f"timeout=1000{f'&since={quote(since)}' if since else ''}"
        answer = api.call("GET", f"v3/sync?{query}")
        if result := found(answer):
            return result
        since = answer["next_batch"]
    raise TimeoutError


def wait_for_body(api: Api, room: str, body: str, within_s: float = 20) -> dict[str, Any]:
    """Return the event of `room` whose body is `body`, once a sync shows it."""

    def found(answer: dict[str, Any]) -> Any:
        events = answer.get("rooms", {}).get("join", {}).get(room, {}).get("timeline", {}).get("events", [])
        return next((event for event in events if event.get("content", {}).get("body") == body), None)

    result: dict[str, Any] = sync_until(api, found, within_s)
    return result


def wait_for_invite(api: Api, room: str, within_s: float = 20) -> None:
    """Return once a sync shows an invite to `room`."""
    sync_until(api, lambda answer: room in answer.get("rooms", {}).get("invite", {}), within_s)
