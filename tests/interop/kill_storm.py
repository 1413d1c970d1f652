"""Boxes that are killed at random moments while people on all of them, and on a Synapse, talk in one room."""

import random  # noqa: TID251 - seeded, so that a failure comes back
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Self

from tests.interop.box_process import BoxProcess
from tests.interop.peer_clients import Api, ApiError

_PATIENCE_S = 100
_START_S = 120


class Talker:
    """Somebody who sends without pause; what is refused or cut off is sent again under the same transaction id."""

    def __init__(self, api: Api, room: str, label: str, pause_s: float, again_s: float = 0.02) -> None:
        self.api, self._room, self._label, self._pause_s = api, room, label, pause_s
        self._again_s = again_s
        self.acknowledged: list[str] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._talk)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _talk(self) -> None:
        number = 0
        while not self._done.is_set():
            body = f"{self._label} {number}"
            try:
                self.api.send(self._room, body, body.replace(" ", "-"))
            except (ApiError, OSError):
                self._done.wait(self._again_s)
                continue
            self.acknowledged.append(body)
            number += 1
            self._done.wait(self._pause_s)

    def say_goodbye(self) -> None:
        """Send one last message: what a server refused for a gap of its own it fetches when the next one names it."""
        body = f"{self._label} goodbye"
        self.api.send(self._room, body, body.replace(" ", "-"))
        self.acknowledged.append(body)

    def heard(self) -> list[str]:
        """Return every message that this one's server shows, oldest first."""
        events = self.api.messages(self._room)
        return [str(event["content"].get("body", "")) for event in events if event["type"] == "m.room.message"]


def kill_again_and_again(boxes: Sequence[BoxProcess], kills: int, chance: random.Random) -> None:
    """Kill one box after the other, now and then all at once, and start each again."""
    done = 0
    while done < kills:
        threading.Event().wait(chance.uniform(0.02, 0.6))
        victims = list(boxes) if chance.random() < 0.15 else [chance.choice(boxes)]
        for box in victims:
            box.kill()
        for box in victims:
            box.start(_START_S, until_open=False)
        done += len(victims)


def wrong_with(talkers: Sequence[Talker]) -> list[str]:
    """Wait until everybody shows everything that was acknowledged; return what is lost, doubled or out of order."""
    for talker in talkers:
        talker.say_goodbye()
    promised = {body for talker in talkers for body in talker.acknowledged}
    found: list[str] = []
    for listener in talkers:
        held = _heard_in_the_end(listener, promised)
        where = listener.acknowledged[0].partition(" ")[0]
        found += [f"{body} is lost at {where}" for body in sorted(promised - set(held))]
        found += [f"{body} is doubled at {where}" for body, times in sorted(Counter(held).items()) if times > 1]
        own = set(listener.acknowledged)
        if [body for body in held if body in own] != listener.acknowledged:
            found.append(f"{where} shows its own messages in another order")
    return found


def _heard_in_the_end(listener: Talker, promised: set[str]) -> list[str]:
    """Return what it shows once nothing is missing, or once nothing more came for a long time."""
    held = listener.heard()
    last_s = time.monotonic()
    while not promised <= set(held) and time.monotonic() - last_s < _PATIENCE_S:
        threading.Event().wait(1)  # the servers are catching up
        before, held = len(held), listener.heard()
        if len(held) > before:
            last_s = time.monotonic()
    return held
