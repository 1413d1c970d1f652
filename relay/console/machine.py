"""The same console for programs: one JSON object a line, each answered by one that carries the same `seq`.

Request `{"seq": 1, "verb": "set", "settings": {"name": "box.example"}}`; reply
`{"seq": 1, "ok": true, "result": {...}}` or `{"seq": 1, "ok": false, "code": ..., "message": ...}`. A changing request
that is repeated with the same `seq` is not carried out again but answered again: a program that lost the cable asks
once more, and one that lost the console too asks `happened`. Ctrl-C and LF (`03 0A`) bring a line in any state to where
a `{` is understood; lines of answers that do not begin with `{` are for people. `hw/CONSOLE.md` says it all.
"""

import hashlib
import json
from collections.abc import Callable, Generator, Mapping
from typing import Any

from relay.base.errors import InvalidInputError, RelayError
from relay.base.limits import MAX_CONSOLE_REMEMBERED_REPLIES
from relay.base.lines import bad, parse_line, result_of
from relay.console.actions import Keep, Note
from relay.console.checked import DamagedLineError, add_checksum, take_checksum
from relay.console.dialogues import Dialogues
from relay.console.dialogues.lock import waited_for
from relay.console.draft import SECRETS, Draft, basics, differences, network_problems
from relay.console.gate import Gate
from relay.console.pieces import Pieces
from relay.console.script import Request, Script, Step
from relay.console.transcript import Transcript
from relay.console.verbs import Kind, Verb, find_verb, schema
from relay.console.words import flat

_MAX_SEQ_BYTES = 64
# Marks a reply whose line gets a checksum; never sent.
CHECKED = "checked"


class Machine:
    """Answers programs; remembers what it answered while the console runs, and what became of it for longer.

    Args:
        draft: what is planned.
        dialogues: what people's commands do.
        provisioned: whether the box has been set up.
        gate: what changes have to pass.
        transcript: what was asked and answered so far.
        done: what became of earlier requests, as kept last.
    """

    def __init__(
        self,
        draft: Draft,
        dialogues: Dialogues,
        provisioned: Callable[[], bool],
        *,
        gate: Gate,
        transcript: Transcript,
        done: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        self._draft = draft
        self._dialogues = dialogues
        self._provisioned = provisioned
        self._gate = gate
        self._transcript = transcript
        self._remembered: dict[str, tuple[bytes, dict[str, Any]]] = {}
        self._done = dict(done or {})
        self._pieces = Pieces()
        self._was_a_box = provisioned()

    def begin(self, line: bytes) -> Script:
        """Return the script that answers `line`; it returns the whole reply and never raises a RelayError."""
        seq: object = None
        checked = False
        try:
            line, checked = take_checksum(line)
            fields = parse_line(line)
            self._transcript.request(fields)
            seq = _take_seq(fields)
            verb = find_verb(fields)
            if not (verb.name == "factory_reset" and self._gate.must_wait()):
                # Before the memory too: what was answered to the owner is not answered again to somebody else.
                self._gate.require(verb.name)
            reply = yield from self._answer_once(seq, verb, fields)
        except DamagedLineError as error:
            reply, checked = _bad(None, error), True
        except RelayError as error:
            reply = _bad(seq, error)
        return {CHECKED: True, **(reply or {})} if checked else reply

    def _answer_once(self, seq: int | str | None, verb: Verb, fields: dict[str, Any]) -> Script:
        if seq is None or verb.kind is Kind.READS:
            return _good(seq, (yield from self._carry_out(verb.name, fields)))
        self._forget_another_box()
        digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).digest()
        key = json.dumps(seq)
        if key in self._remembered and self._remembered[key][0] == digest:
            return self._remembered[key][1]
        if verb.kind is Kind.PLANS:
            reply = _good(seq, (yield from self._carry_out(verb.name, fields)))
        else:
            reply = yield from self._answer_and_note(seq, verb, fields)
        self._forget_another_box()
        self._remembered[key] = digest, reply
        _bound(self._remembered)
        return reply

    def _answer_and_note(
        self, seq: int | str, verb: Verb, fields: dict[str, Any]
    ) -> Generator[Step, Any, dict[str, Any]]:
        yield from self._note(seq, verb, "begun")
        try:
            reply = _good(seq, (yield from self._carry_out(verb.name, fields)))
        except RelayError as error:
            yield from self._note(seq, verb, error.code)
            raise
        if verb.name == "factory_reset":
            self._done.clear()
            yield Note({})
        else:
            yield from self._note(seq, verb, "done")
        return reply

    def _note(self, seq: int | str, verb: Verb, state: str) -> Generator[Step, Any, None]:
        name = _name_of(seq)
        self._done.pop(name, None)
        self._done[name] = verb.name, state
        _bound(self._done)
        yield Note(dict(self._done))

    def _happened(self, of: object) -> dict[str, Any]:
        """Return what became of a changing request, also one of before the console started anew."""
        if isinstance(of, bool) or not isinstance(of, int | str):
            raise InvalidInputError("of is the seq of a request")
        verb, state = self._done.get(_name_of(of), ("", "unknown"))
        known = state in ("begun", "done", "unknown")
        return {"of": of, "verb": verb, "state": state if known else "failed", "code": "" if known else state}

    def _forget_another_box(self) -> None:
        # Whoever reset it: the next box is not set up by what was answered of the last one.
        if self._was_a_box != self._provisioned():
            self._was_a_box = not self._was_a_box
            self._remembered.clear()

    def _carry_out(self, verb: str, fields: dict[str, Any]) -> Script:
        match verb:
            case "hello" | "unlock" | "lock" | "transcript" | "schema" | "happened":
                return (yield from self._about(verb, fields))
            case "plan" | "set" | "drop" | "apply":
                return (yield from self._about_the_draft(verb, fields))
            case "diagnostics":
                return (yield from self._diagnostics(fields.get("offset", 0)))
        if verb == "factory_reset" and self._gate.must_wait():
            yield from waited_for(self._gate)
        reply = yield Request(fields)
        return result_of(reply)

    def _about_the_draft(self, verb: str, fields: dict[str, Any]) -> Script:
        match verb:
            case "plan":
                return (yield from self._plan())
            case "apply":
                return (yield from self._apply(fields))
            case _:
                return (yield from self._change_draft(verb, fields))

    def _about(self, verb: str, fields: dict[str, Any]) -> Script:
        match verb:
            case "hello":
                return (yield from self._hello(fields))
            case "unlock":
                return (yield from self._unlock(fields))
            case "transcript":
                return {"lines": self._transcript.lines()}
            case "lock":
                self._gate.lock()
                return {"locked": self._gate.locked}
            case "schema":
                return {"verbs": schema(), "basics": basics()}
            case _:
                return self._happened(fields["of"])

    def _diagnostics(self, offset: object) -> Script:
        if offset == 0:
            made = yield Request({"verb": "diagnostics", "transcript": self._transcript.outline()})
            self._pieces.put(str(result_of(made)["text"]))
        return self._pieces.at(offset)

    def forget(self) -> None:
        """Drop the text made last: the next program has its own made."""
        self._pieces.put("")

    def _hello(self, fields: dict[str, Any]) -> Script:
        if not self._gate.clock_is_set and "utc" in fields:
            # A clock that was never set is worse than any program's. Whether it could be set is told below.
            yield Request({"verb": "time_set", "utc": fields["utc"]})
        return {
            "console": 1,
            "provisioned": self._provisioned(),
            "locked": self._gate.locked,
            "button": self._gate.has_button,
            "clock_set": self._gate.clock_is_set,
            "crc": "crc32",
            "secret": list(SECRETS),
        }

    def _unlock(self, fields: dict[str, Any]) -> Script:
        secret = fields["secret"]
        if not isinstance(secret, str):
            raise InvalidInputError("the secret is a text")
        if self._gate.locked:
            yield from self._dialogues.prove(secret)
        return {"locked": self._gate.locked}

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
        if provisioned or self._draft.network():
            present = result_of((yield Request({"verb": "show"})))
            settings = flat(present["settings"])
            changes = differences(planned, settings)
            if problems := network_problems(planned, settings):
                plan["problems"] = problems
            plan["changes"] = {key: {"is": is_now, "planned": value} for key, (is_now, value) in changes.items()}
            if "goes_back_in_s" in present:
                plan["goes_back_in_s"] = present["goes_back_in_s"]
        return plan

    def _apply(self, fields: dict[str, Any]) -> Script:
        confirm_s = fields.get("confirm_s")
        provisioned = self._provisioned()
        alone = self._draft.is_network_only()
        if not alone and (missing := self._draft.missing(provisioned=provisioned)):
            raise InvalidInputError(f"missing: {', '.join(missing)}")
        if confirm_s is not None and not provisioned and not alone:
            raise InvalidInputError("a new box has nothing to go back to: confirm_s is for one that is set up")
        if not self._draft.shown():
            return {"changed": False, "restart_needed": False, "restarting": False}
        phrases: dict[str, str] = {name: fields[name] for name in fields if name.startswith("passphrase")}
        return (yield from self._dialogues.applied(provisioned=provisioned, confirm_s=confirm_s, phrases=phrases))


def _take_seq(fields: dict[str, Any]) -> int | str | None:
    seq = fields.pop("seq", None)
    if isinstance(seq, bool) or not isinstance(seq, int | str | None) or len(str(seq)) > _MAX_SEQ_BYTES:
        raise InvalidInputError("seq is a number or a short text")
    return seq


def _name_of(seq: int | str) -> str:
    # A program may have put a name of somebody into it, and what is kept lies on flash.
    return hashlib.sha256(json.dumps(seq).encode()).hexdigest()[:16]


def _bound(remembered: dict[str, Any]) -> None:
    while len(remembered) > MAX_CONSOLE_REMEMBERED_REPLIES:
        del remembered[next(iter(remembered))]


def _good(seq: object, result: dict[str, Any] | None) -> dict[str, Any]:
    # Drawings are for people; on a bad line a long reply is one that never arrives whole.
    shown = {name: value for name, value in (result or {}).items() if not name.startswith("qr")}
    return {"seq": seq, "ok": True, "result": shown}


def _bad(seq: object, error: RelayError) -> dict[str, Any]:
    return {"seq": seq, **bad(error)}


def too_long(limit_bytes: int) -> dict[str, Any]:
    """Return the reply to a line over the limit, whose `seq` was never read."""
    return _bad(None, InvalidInputError(f"a line is longer than {limit_bytes} bytes"))


def render(reply: dict[str, Any]) -> bytes:
    """Return `reply` as one ASCII line, with a checksum where the request had one."""
    checked = CHECKED in reply
    line = json.dumps({key: value for key, value in reply.items() if key != CHECKED}, separators=(",", ":")).encode()
    return (add_checksum(line) if checked else line) + b"\r\n"
