"""One console on one line: bytes in, actions out. Every transition between person, program and silence is here."""

import enum
from collections.abc import Callable, Mapping
from typing import Any

from relay.base.errors import RelayError
from relay.base.limits import MAX_CONSOLE_LINE_BYTES, MAX_CONSOLE_WAITING_BYTES
from relay.base.lines import bad
from relay.box.links import interface_names
from relay.console import grammar, improv, machine
from relay.console.actions import Abandon, Action, Ask, Keep, Leave, Note, Send
from relay.console.dialogues import Dialogues
from relay.console.draft import Draft, setting_names
from relay.console.editor import Entered, Event, Interrupted, LineEditor, Wondering
from relay.console.gate import Gate, LockedError
from relay.console.installer import Installer
from relay.console.keys import KeyReader
from relay.console.operator import Place
from relay.console.script import Attended, Packet, Question, Request, Say, Script, Step
from relay.console.transcript import Transcript, names_secret

_RETURN, _NEWLINE, _INTERRUPT, _ERASE, _BRACE = 0x0D, 0x0A, 0x03, 0x15, 0x7B

_INTERRUPTED = improv.Text(bytes([_INTERRUPT]))


class _Mode(enum.Enum):
    QUIET = "nothing is written until somebody is there"
    PERSON = "prompt and line editor"
    PROGRAM = "inside a JSON line"


class Session:
    """The console of one box; it outlives unplugging, and what was typed so far does not.

    Args:
        provisioned: whether the box has been set up, asked afresh each time.
        place: where the box is found, asked afresh each time.
        kept: the draft that was kept last.
        done: what became of programs' requests, as noted last.
        gate: what changes have to pass.
        leave_when_applied: whether setting the box up ends the session.
    """

    def __init__(
        self,
        provisioned: Callable[[], bool],
        place: Callable[[], Place],
        kept: dict[str, str] | None = None,
        *,
        gate: Gate,
        done: Mapping[str, tuple[str, str]] | None = None,
        leave_when_applied: bool = False,
    ) -> None:
        self._provisioned = provisioned
        self._gate = gate
        self._transcript = Transcript()
        self._packets = improv.ImprovReader()
        self._installer = Installer(place, gate)
        self._draft = Draft(kept)
        self._dialogues = Dialogues(
            self._draft, provisioned, gate, self._transcript, leave_when_applied=leave_when_applied
        )
        self._machine = machine.Machine(
            self._draft, self._dialogues, provisioned, gate=gate, transcript=self._transcript, done=done
        )
        self._question: Question | None = None
        self._asked_verb = ""
        self._editor = LineEditor()
        self._keys = KeyReader()
        self._mode = _Mode.QUIET
        self._at_line_start = True
        self._line = bytearray()
        self._script: Script | None = None
        self._for_program = False
        self._detached = False
        self._number = 0
        self._pending = False
        self._waiting: list[improv.Event] = []
        self._actions: list[Action] = []

    def greet(self) -> list[Action]:
        """Begin without a CR, for a terminal whose user has just started this; a new box is asked about at once."""
        self._wake()
        if not self._provisioned():
            self._begin(self._dialogues.begin("setup", []))
        return self._taken()

    def receive(self, data: bytes) -> list[Action]:
        """Return what to do about `data`, in order; how the bytes are cut never matters."""
        self._feed(data)
        return self._taken()

    def _feed(self, data: bytes) -> None:
        if self._gate.heard():
            self._forget()
            if self._mode is _Mode.PERSON:
                self._say(["", "Locked: nobody was here for ten minutes."])
        for byte in data:
            for event in self._packets.receive(bytes([byte])):
                self._meet(event)

    def _meet(self, event: improv.Event) -> None:
        if not self._pending:
            self._take_event(event)
        elif event == _INTERRUPTED and not self._detached:
            self._abandon()
        elif len(self._waiting) < MAX_CONSOLE_WAITING_BYTES:
            self._waiting.append(event)

    def _take_event(self, event: improv.Event) -> None:
        match event:
            case improv.Text(data):
                self._take(data[0])
            case improv.Begun():
                self._make_way()
            case _:
                self._for_program = True
                self._transcript.packet(event)
                self._begin(self._installer.begin(event))

    def paused(self) -> list[Action]:
        """Give up a packet whose rest did not come; to be called when a second went by without a byte."""
        for event in self._packets.give_up():
            self._meet(event)
        return self._taken()

    def answered(self, number: int, reply: dict[str, Any]) -> list[Action]:
        """Return what to do about the operator's reply to `number`."""
        if self._pending and number == self._number:
            self._pending = False
            if self._asked_verb == "provision" and reply.get("ok") is True and not self._detached:
                # Whoever made the password is its owner.
                self._gate.unlock()
            self._advance(reply)
            waiting, self._waiting = self._waiting, []
            for event in waiting:
                self._meet(event)
        return self._taken()

    def unplugged(self) -> list[Action]:
        """Forget the person; what the operator is doing is waited for, so that a program can ask what came of it."""
        self._waiting.clear()
        self._line.clear()
        self._packets.give_up()
        self._gate.lock()
        self._forget()
        if self._pending:
            self._detached = True
        else:
            self._end_script()
        self._be_quiet()
        return self._taken()

    def told(self, *lines: str) -> list[Action]:
        """Tell a person something that nobody asked for; what was being typed stays."""
        if self._mode is _Mode.PERSON and not self._detached:
            self._say(["", *lines])
            if not self._pending:
                self._send(self._editor.redraw())
        return self._taken()

    def was_reset(self) -> list[Action]:
        """Forget the plan, for everything else was forgotten too."""
        self._gate.lock()
        self._forget()
        self._draft.clear()
        self._actions.append(Keep(None))
        return self.told("Everything was forgotten: this box is new again.")

    def _forget(self) -> None:
        self._editor.forget()
        self._transcript.clear()
        self._machine.forget()

    def _taken(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions

    def _send(self, data: bytes) -> None:
        if not data or self._detached:
            return
        last = self._actions[-1] if self._actions else None
        if isinstance(last, Send):
            self._actions[-1] = Send(last.data + data)
        else:
            self._actions.append(Send(data))

    def _make_way(self) -> None:
        # A browser speaks: whoever typed is not there any more, and a prompt in front of a packet would hide it.
        if self._mode is _Mode.PERSON:
            self._editor.forget()
            self._end_script()
            self._send(b"\r\n")
        self._line.clear()
        self._be_quiet()

    def _take(self, byte: int) -> None:
        match self._mode:
            case _Mode.QUIET:
                self._take_quietly(byte)
            case _Mode.PROGRAM:
                self._take_for_program(byte)
            case _Mode.PERSON if byte == _BRACE and self._script is None and self._editor.empty and self._keys.at_rest:
                self._send(b"\r\n")
                self._mode = _Mode.PROGRAM
                self._line += b"{"
            case _Mode.PERSON:
                for key in self._keys.receive(bytes([byte])):
                    data, event = self._editor.press(key)
                    self._send(data)
                    if event is not None:
                        self._handle(event)

    def _take_quietly(self, byte: int) -> None:
        if byte == _BRACE and self._at_line_start:
            self._mode = _Mode.PROGRAM
            self._line += b"{"
        elif byte == _RETURN:
            self._wake()
            self._prompt()
        else:
            self._at_line_start = byte == _NEWLINE

    def _take_for_program(self, byte: int) -> None:
        if byte in (_INTERRUPT, _ERASE):
            self._line.clear()
            self._be_quiet()
        elif byte not in (_RETURN, _NEWLINE):
            # One byte more than the limit is kept: it says that the line was too long.
            if len(self._line) <= MAX_CONSOLE_LINE_BYTES:
                self._line.append(byte)
        else:
            line = bytes(self._line)
            self._line.clear()
            self._be_quiet()
            if len(line) > MAX_CONSOLE_LINE_BYTES:
                self._send(machine.render(machine.too_long(MAX_CONSOLE_LINE_BYTES)))
            else:
                self._for_program = True
                self._begin(self._machine.begin(line))

    def _be_quiet(self) -> None:
        self._mode = _Mode.QUIET
        self._at_line_start = True

    def _wake(self) -> None:
        self._mode = _Mode.PERSON
        self._keys = KeyReader()
        # So that the LF of a CR LF is known to belong to the CR that woke us.
        self._keys.receive(b"\r")
        self._say(["", *self._dialogues.greeting()])

    def _say(self, lines: list[str], *, private: bool = False) -> None:
        self._transcript.note(*(["(not kept)"] if private else lines))
        self._send("".join(f"{line}\r\n" for line in lines).encode())

    def _prompt(self) -> None:
        self._send(self._editor.ask(self._prompt_text()))

    def _prompt_text(self) -> str:
        return "relay> " if self._provisioned() else "new box> "

    def _handle(self, event: Event) -> None:
        match event:
            case Entered(text) if self._script is not None:
                if self._question is not None:
                    is_hidden = self._question.secret or self._question.private
                    self._transcript.answer(self._question.prompt, text, hidden=is_hidden)
                self._advance(text)
            case Entered(text):
                self._enter(text)
            case Interrupted(ended=True) if self._script is None:
                self._begin(self._dialogues.begin("exit", []))
            case Interrupted():
                self._end_script()
                self._prompt()
            case Wondering() if self._script is None:
                self._help_along(event)
            case Wondering():
                self._send(b"\a")

    def _enter(self, text: str) -> None:
        if not text.strip():
            self._prompt()
            return
        try:
            command, arguments = grammar.parse(text)
        except grammar.UsageError as error:
            if grammar.candidates(text.split(maxsplit=1)[0], ()):
                # Else it may be anything, also a password in the wrong place.
                self._editor.remember(text)
            self._transcript.misunderstood(self._prompt_text())
            self._send(f"{error}\r\n".encode())
            self._prompt()
            return
        self._transcript.command(self._prompt_text(), command.name, arguments)
        if not arguments or not names_secret(arguments[0]):
            self._editor.remember(text)
        self._begin(self._dialogues.begin(command.name, arguments))

    def _help_along(self, event: Wondering) -> None:
        keys = setting_names(provisioned=self._provisioned(), interfaces=interface_names())
        if event.explain:
            self._say(["?", *grammar.explain(event.text, keys)])
            self._send(self._editor.redraw())
            return
        found = grammar.candidates(event.text, keys)
        last = event.text.rpartition(" ")[2]
        shared = _shared_start(found)
        if len(found) == 1:
            self._send(self._editor.insert(found[0][len(last) :] + " "))
        elif len(shared) > len(last):
            self._send(self._editor.insert(shared[len(last) :]))
        elif found:
            self._say(["", *grammar.in_columns(found)])
            self._send(self._editor.redraw())
        else:
            self._send(b"\a")

    def _begin(self, script: Script) -> None:
        self._script = script
        self._advance(None)

    def _advance(self, value: object) -> None:
        """Run the script until it has to wait for somebody."""
        script = self._script
        while script is not None:
            try:
                step = script.send(value)
            except StopIteration as end:
                self._finish_script(end.value)
                return
            except RelayError as error:
                self._say([f"error: {error}"])
                self._finish_script(None)
                return
            if isinstance(step, Request):
                value = self._ask(step.fields)
                if value is None:
                    return
                continue
            value = None
            if self._waits_after(step):
                return

    def _waits_after(self, step: Step) -> bool:
        """Do what `step` says; return whether the script has to wait, or is over."""
        match step:
            case Say(lines, private):
                self._say(list(lines), private=private)
            case Question() | Attended() if self._detached:
                self._end_script()
                return True
            case Question(prompt, secret):
                self._question = step
                self._send(self._editor.ask(prompt, secret=secret))
                return True
            case Packet(data):
                self._send(data)
            case Keep() | Note() | Leave():
                self._act(step)
        return False

    def _ask(self, fields: dict[str, Any]) -> dict[str, Any] | None:
        """Pass a request on; return the refusal where the gate does not let it pass."""
        try:
            self._gate.admit(fields)
        except LockedError as error:
            return bad(error)
        self._number += 1
        self._pending, self._asked_verb = True, str(fields.get("verb"))
        self._actions.append(Ask(self._number, fields))
        return None

    def _act(self, action: Keep | Note | Leave) -> None:
        if isinstance(action, Leave):
            self._gate.lock()
            self._forget()
            self._be_quiet()
        self._actions.append(action)

    def _finish_script(self, reply: dict[str, Any] | None) -> None:
        if self._for_program and reply is not None:
            self._transcript.reply(reply)
            self._send(machine.render(reply))
        was_person = not self._for_program and not self._detached
        self._end_script()
        if was_person and self._mode is _Mode.PERSON:
            self._prompt()

    def _end_script(self) -> None:
        if self._script is not None:
            self._script.close()
        self._script, self._for_program, self._detached = None, False, False
        self._question = None

    def _abandon(self) -> None:
        self._pending = False
        self._waiting.clear()
        self._actions.append(Abandon(self._number))
        if self._for_program:
            self._end_script()
            return
        self._end_script()
        self._say(["^C", "Interrupted; status shows how far it came."])
        self._prompt()


def _shared_start(texts: list[str]) -> str:
    shared = texts[0] if texts else ""
    for text in texts:
        while not text.startswith(shared):
            shared = shared[:-1]
    return shared
