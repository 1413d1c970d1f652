"""What was typed and answered in this session, in memory only, without anything secret: for whoever helps from afar."""

import json
from collections import deque
from collections.abc import Mapping
from typing import Any

from relay.base.limits import MAX_TRANSCRIPT_BYTES
from relay.console import improv

HIDDEN = "***"
_SECRET_WORDS = ("password", "passphrase", "secret", "psk", "token")
# Of a program's request only these are shown as they are; everything else may be anybody's or anything.
_SHOWN_FIELDS = ("seq", "verb", "ssid", "hostname", "utc", "settings")
_SHOWN_CHARACTERS = 200


def names_secret(key: str) -> bool:
    """Return whether a field or setting of this name holds a secret."""
    return any(word in key.lower() for word in _SECRET_WORDS)


class Transcript:
    """The last lines of a session; the oldest go first."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._size_bytes = 0

    def lines(self) -> list[str]:
        """Return the lines, the oldest first."""
        return list(self._lines)

    def clear(self) -> None:
        """Forget everything: whoever comes next is somebody else."""
        self._lines.clear()
        self._size_bytes = 0

    def note(self, *lines: str) -> None:
        """Keep lines that hold nothing secret."""
        for line in lines:
            self._lines.append(line)
            self._size_bytes += len(line.encode()) + 1
        while self._size_bytes > MAX_TRANSCRIPT_BYTES:
            self._size_bytes -= len(self._lines.popleft().encode()) + 1

    def answer(self, prompt: str, text: str, *, secret: bool) -> None:
        """Keep what was typed behind a question; of a secret nothing, not even how long it was."""
        self.note(f"{prompt}{HIDDEN if secret else text}")

    def command(self, prompt: str, name: str, arguments: list[str]) -> None:
        """Keep a command; the value of a secret that was typed in the open after all is not kept."""
        if arguments and names_secret(arguments[0]):
            key, equals, _ = arguments[0].partition("=")
            arguments = [key + equals + HIDDEN] if equals else [key, *(HIDDEN for _ in arguments[1:])]
        self.note(" ".join([prompt.rstrip(), name, *arguments]))

    def misunderstood(self, prompt: str) -> None:
        """Keep that something was typed that is no command: a password in the wrong place looks just so."""
        self.note(f"{prompt}{HIDDEN} (no command)")

    def request(self, fields: dict[str, Any]) -> None:
        """Keep a program's request as far as it is known to hold nothing secret."""
        self.note(f"> {json.dumps(_redacted(fields))[:_SHOWN_CHARACTERS]}")

    def reply(self, reply: Mapping[str, Any]) -> None:
        """Keep how a request ended; results may hold what only the asker should see."""
        told = {name: reply[name] for name in ("seq", "ok", "code") if name in reply}
        self.note(f"< {json.dumps(told)[:_SHOWN_CHARACTERS]}")

    def packet(self, event: improv.Event) -> None:
        """Keep a browser's command."""
        named = f" {event.ssid} {HIDDEN}" if isinstance(event, improv.SendWifi) else ""
        self.note(f"> improv {type(event).__name__}{named}")


def _redacted(fields: dict[str, Any]) -> dict[str, Any]:
    redacted: dict[str, Any] = {}
    for name, value in fields.items():
        if name == "settings" and isinstance(value, dict):
            redacted[name] = {key: HIDDEN if names_secret(key) else text for key, text in value.items()}
        else:
            redacted[name] = value if name in _SHOWN_FIELDS else HIDDEN
    return redacted
