"""What was typed and answered in this session, in memory only, without anything secret: for whoever helps from afar."""

import json
import re
from collections import deque
from collections.abc import Mapping
from typing import Any

from relay.base.limits import MAX_TRANSCRIPT_BYTES
from relay.console import improv
from relay.console.verbs import VERBS

HIDDEN = "***"
_SECRET_WORDS = ("password", "passphrase", "secret", "psk", "token")
# Of a program's request only these are shown as they are; everything else may be anybody's or anything.
_SHOWN_FIELDS = ("seq", "verb", "ssid", "hostname", "utc", "settings")
_SHOWN_CHARACTERS = 200
_DOTTED = re.compile(r"[a-z_]+\.[a-z0-9_]+(=|$)")
_DEFAULT = re.compile(r" \[.*\]")

# Whom a line names is not kept: `plan` and `setup` show the owner, lists and results people by their ids.
_OWNER = re.compile(r"^(owner =|Owner:) .*")
_PERSON = re.compile(r"@[^\s:@]+:[^\s,;)]+")
_ABOUT_PEOPLE = ("user add", "user passwd", "user deactivate")


def names_secret(key: str) -> bool:
    """Return whether a field or setting of this name holds a secret."""
    return any(word in key.lower() for word in _SECRET_WORDS)


def _is_hidden(key: str) -> bool:
    return key == "owner" or names_secret(key)


class Transcript:
    """The last lines of a session, each with what of it may leave the box; the oldest go first."""

    def __init__(self) -> None:
        self._lines: deque[tuple[str, str]] = deque()
        self._size_bytes = 0

    def lines(self) -> list[str]:
        """Return the lines, the oldest first."""
        return [line for line, _ in self._lines]

    def outline(self) -> list[str]:
        """Return what was asked without what it named, and errors, the oldest first: for whoever helps from afar."""
        found: list[str] = []
        unsaid = 0
        for line, told in self._lines:
            if told:
                found += [*([f"({unsaid} lines)"] if unsaid else []), told]
                unsaid = 0
            else:
                unsaid += bool(line)
        return [*found, *([f"({unsaid} lines)"] if unsaid else [])]

    def clear(self) -> None:
        """Forget everything: whoever comes next is somebody else."""
        self._lines.clear()
        self._size_bytes = 0

    def note(self, *lines: str) -> None:
        """Keep lines that hold nothing secret; whom they name is left out."""
        for line in lines:
            kept = _PERSON.sub(HIDDEN, _OWNER.sub(rf"\1 {HIDDEN}", line))
            self._keep(kept, kept if kept.startswith("error: ") else "")

    def answer(self, prompt: str, text: str, *, hidden: bool) -> None:
        """Keep what was typed behind a question; of what is hidden nothing, not even how long it or its default was."""
        self._keep(f"{_DEFAULT.sub('', prompt)}{HIDDEN}" if hidden else f"{prompt}{text}", f"? {HIDDEN}")

    def command(self, prompt: str, name: str, arguments: list[str]) -> None:
        """Keep a command; the value of a secret that was typed in the open after all is not kept."""
        if name in _ABOUT_PEOPLE:
            arguments = [HIDDEN]
        elif arguments and _is_hidden(arguments[0].partition("=")[0]):
            key, equals, _ = arguments[0].partition("=")
            arguments = [key + equals + HIDDEN] if equals else [key, *(HIDDEN for _ in arguments[1:])]
        told = [argument.partition("=")[0] if _DOTTED.match(argument) else HIDDEN for argument in arguments]
        self._keep(" ".join([prompt.rstrip(), name, *arguments]), " ".join([prompt.rstrip(), name, *told]))

    def misunderstood(self, prompt: str) -> None:
        """Keep that something was typed that is no command: a password in the wrong place looks just so."""
        self._keep(f"{prompt}{HIDDEN} (no command)", f"{prompt}{HIDDEN} (no command)")

    def request(self, fields: dict[str, Any]) -> None:
        """Keep a program's request as far as it is known to hold nothing secret."""
        verb = fields.get("verb")
        known = verb if isinstance(verb, str) and verb in VERBS else HIDDEN
        self._keep(f"> {json.dumps(_redacted(fields))[:_SHOWN_CHARACTERS]}", f"> {known}")

    def reply(self, reply: Mapping[str, Any]) -> None:
        """Keep how a request ended; results may hold what only the asker should see."""
        told = {name: reply[name] for name in ("seq", "ok", "code") if name in reply}
        shown = f"< {'ok' if reply.get('ok') is True else reply.get('code', 'refused')}"
        self._keep(f"< {json.dumps(told)[:_SHOWN_CHARACTERS]}", shown)

    def packet(self, event: improv.Event) -> None:
        """Keep a browser's command."""
        named = f" {event.ssid} {HIDDEN}" if isinstance(event, improv.SendWifi) else ""
        self._keep(f"> improv {type(event).__name__}{named}", f"> improv {type(event).__name__}")

    def _keep(self, line: str, told: str) -> None:
        self._lines.append((line, told))
        self._size_bytes += len(line.encode()) + 1
        while self._size_bytes > MAX_TRANSCRIPT_BYTES:
            self._size_bytes -= len(self._lines.popleft()[0].encode()) + 1


def _redacted(fields: dict[str, Any]) -> dict[str, Any]:
    redacted: dict[str, Any] = {}
    for name, value in fields.items():
        if name == "settings" and isinstance(value, dict):
            redacted[name] = {key: HIDDEN if _is_hidden(key) else text for key, text in value.items()}
        else:
            redacted[name] = value if name in _SHOWN_FIELDS else HIDDEN
    return redacted
