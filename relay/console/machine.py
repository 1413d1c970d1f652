"""The same console for programs: one JSON object a line, each answered by one that carries the same `seq`.

Request `{"seq": 1, "verb": "set", "settings": {"name": "box.example"}}`; reply
`{"seq": 1, "ok": true, "result": {...}}` or `{"seq": 1, "ok": false, "code": ..., "message": ...}`. A changing request
that is repeated with the same `seq` is not carried out again but answered again: a program that lost the cable asks
once more. Ctrl-C and LF (`03 0A`) bring a line in any state to where a `{` is understood; lines of answers that do not
begin with `{` are for people.
"""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from relay.base.errors import InvalidInputError, RelayError
from relay.base.limits import MAX_CONSOLE_REMEMBERED_REPLIES
from relay.base.lines import bad, parse_line, result_of
from relay.console.actions import Keep
from relay.console.dialogues import Dialogues
from relay.console.draft import SECRETS, Draft, differences
from relay.console.script import Request, Script
from relay.console.words import flat

_READING = frozenset({"hello", "status", "doctor", "show", "plan", "user_list", "about", "network", "wifi_scan"})
_CHANGING = frozenset(
    {
        *("user_add", "user_passwd", "user_deactivate", "invite_create", "restart", "factory_reset", "time_set"),
        *("wifi_join", "hostname_set", "device_name_set", "commit", "rollback"),
    }
)
_DRAFTING = frozenset({"set", "drop", "apply"})
_MAX_SEQ_BYTES = 64


class Machine:
    """Answers programs; remembers what it answered while the console runs."""

    def __init__(self, draft: Draft, dialogues: Dialogues, provisioned: Callable[[], bool]) -> None:
        self._draft = draft
        self._dialogues = dialogues
        self._provisioned = provisioned
        self._remembered: dict[str, tuple[bytes, dict[str, Any]]] = {}

    def begin(self, line: bytes) -> Script:
        """Return the script that answers `line`; it returns the whole reply and never raises a RelayError."""
        seq: object = None
        try:
            fields = parse_line(line)
            seq = fields.pop("seq", None)
            if not isinstance(seq, int | str | None) or len(str(seq)) > _MAX_SEQ_BYTES:
                seq = None
                raise InvalidInputError("seq is a number or a short text")
            verb = fields.get("verb")
            if not isinstance(verb, str) or verb not in _READING | _CHANGING | _DRAFTING:
                known = ", ".join(sorted(_READING | _CHANGING | _DRAFTING))
                raise InvalidInputError(f"there is no such verb; known are {known}")
            return (yield from self._answer_once(seq, verb, fields))
        except RelayError as error:
            return _bad(seq, error)

    def _answer_once(self, seq: int | str | None, verb: str, fields: dict[str, Any]) -> Script:
        if seq is None or verb in _READING:
            return _good(seq, (yield from self._carry_out(verb, fields)))
        digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).digest()
        key = json.dumps(seq)
        if key in self._remembered and self._remembered[key][0] == digest:
            return self._remembered[key][1]
        reply = _good(seq, (yield from self._carry_out(verb, fields)))
        self._remembered[key] = digest, reply
        while len(self._remembered) > MAX_CONSOLE_REMEMBERED_REPLIES:
            del self._remembered[next(iter(self._remembered))]
        return reply

    def _carry_out(self, verb: str, fields: dict[str, Any]) -> Script:
        match verb:
            case "hello":
                return {"console": 1, "provisioned": self._provisioned()}
            case "plan":
                return (yield from self._plan())
            case "show" if not self._provisioned():
                return {"settings": {}}
            case "set" | "drop":
                return (yield from self._change_draft(verb, fields))
            case "apply":
                return (yield from self._apply(fields))
            case _:
                reply = yield Request(fields)
                return result_of(reply)

    def _change_draft(self, verb: str, fields: dict[str, Any]) -> Script:
        settings = fields.get("settings")
        if not isinstance(settings, dict) or not all(isinstance(value, str) for value in settings.values()):
            raise InvalidInputError("settings are texts by name")
        trial = Draft(self._draft.values())
        for key, value in settings.items():
            if verb == "drop":
                trial.drop(key)
            else:
                trial.set(key, value, provisioned=self._provisioned())
        self._draft.replace(trial)
        yield Keep(self._draft.kept())
        return {"missing": self._draft.missing(provisioned=self._provisioned())}

    def _plan(self) -> Script:
        provisioned = self._provisioned()
        planned = self._draft.shown()
        plan: dict[str, Any] = {
            "planned": planned,
            "missing": self._draft.missing(provisioned=provisioned),
            "secret": list(SECRETS),
        }
        if provisioned:
            present = result_of((yield Request({"verb": "show"})))
            changes = differences(planned, flat(present["settings"]))
            plan["changes"] = {key: {"is": is_now, "planned": value} for key, (is_now, value) in changes.items()}
            if "goes_back_in_s" in present:
                plan["goes_back_in_s"] = present["goes_back_in_s"]
        return plan

    def _apply(self, fields: dict[str, Any]) -> Script:
        confirm_s = fields.get("confirm_s")
        provisioned = self._provisioned()
        if missing := self._draft.missing(provisioned=provisioned):
            raise InvalidInputError(f"missing: {', '.join(missing)}")
        if confirm_s is not None and not provisioned:
            raise InvalidInputError("a new box has nothing to go back to: confirm_s is for one that is set up")
        if not self._draft.shown():
            return {"changed": False, "restart_needed": False, "restarting": False}
        return (yield from self._dialogues.applied(provisioned=provisioned, confirm_s=confirm_s))


def _good(seq: object, result: dict[str, Any] | None) -> dict[str, Any]:
    return {"seq": seq, "ok": True, "result": result or {}}


def _bad(seq: object, error: RelayError) -> dict[str, Any]:
    return {"seq": seq, **bad(error)}


def too_long(limit_bytes: int) -> dict[str, Any]:
    """Return the reply to a line over the limit, whose `seq` was never read."""
    return _bad(None, InvalidInputError(f"a line is longer than {limit_bytes} bytes"))


def render(reply: dict[str, Any]) -> bytes:
    """Return `reply` as one ASCII line."""
    return json.dumps(reply, separators=(",", ":")).encode("ascii") + b"\r\n"
