"""Looking after the box: how it is, what is wrong, the clock, a new start, starting afresh."""

from relay.base.limits import RESET_WAIT_S
from relay.console import words
from relay.console.actions import Keep, Leave
from relay.console.dialogues.asking import Scripts, Surroundings, asked
from relay.console.dialogues.lock import waited_for
from relay.console.dialogues.settings import Settings
from relay.console.grammar import COMMANDS
from relay.console.script import Question, Say, Script


class Care:
    """Everything that is about the box itself and about this console."""

    def __init__(self, house: Surroundings, settings: Settings) -> None:
        self._house = house
        self._settings = settings

    def scripts(self) -> Scripts:
        """Return what begins each command."""
        return {
            "status": self._status,
            "doctor": self._doctor,
            "diagnostics": self._diagnostics,
            "time set": self._time_set,
            "terminal": self._terminal,
            "passphrase": self._passphrase,
            "repair": self._repair,
            "release back": self._release_back,
            "restart": self._restart,
            "factory-reset": self._factory_reset,
            "help": self._help,
            "exit": self._exit,
        }

    def _status(self) -> Script:
        result = yield from asked({"verb": "status"})
        yield Say(words.status(result))
        if not self._house.provisioned():
            yield from self._settings.plan()
        return None

    def _doctor(self) -> Script:
        result = yield from asked({"verb": "doctor"})
        yield Say(words.findings(result))
        return None

    def _diagnostics(self) -> Script:
        yield Say(["Looking at everything takes a moment."])
        result = yield from asked({"verb": "diagnostics", "transcript": self._house.transcript.outline()})
        yield Say(str(result["text"]).splitlines(), private=True)
        return None

    def _time_set(self, utc: str) -> Script:
        result = yield from asked({"verb": "time_set", "utc": utc})
        yield Say([result["utc"]])
        return None

    def _terminal(self, kind: str) -> Script:
        if kind not in ("utf8", "ascii"):
            yield Say(["utf8 or ascii"])
            return None
        self._house.ascii = kind == "ascii"
        return None

    def _passphrase(self) -> Script:
        passphrase = yield Question("Passphrase of the box: ", secret=True)
        yield Say(["Trying it takes a few seconds."])
        yield from asked({"verb": "passphrase", "passphrase": passphrase})
        yield Say(["It fits: the box starts."])
        return None

    def _repair(self) -> Script:
        yield Say(["Looking at every block. What cannot be kept is named."])
        result = yield from asked({"verb": "repair"})
        yield Say([*result["lines"], "status shows whether the box runs with it."])
        return None

    def _release_back(self) -> Script:
        answer = yield Question("Messages stay. Have the release before this one come back? Type yes: ")
        if answer.strip().lower() != "yes":
            yield Say(["Nothing done."])
            return None
        yield from asked({"verb": "release_back"})
        yield Say(["It comes back, if there is one that reads what is stored: this console starts anew with it."])
        return None

    def _restart(self, how: str = "") -> Script:
        if how not in ("", "safe"):
            yield Say(["usage: restart [safe]"])
            return None
        yield from asked({"verb": "restart_safe" if how else "restart"})
        yield Say(["Restarting in safe mode: nobody is served until restart is said again." if how else "Restarting."])
        return None

    def _factory_reset(self) -> Script:
        name = "reset"
        if self._house.provisioned():
            status = yield from asked({"verb": "status"})
            name = str(status.get("server") or name)
        yield Say(["Every message, key, account and setting of this box will be gone. Nobody can bring them back."])
        answer = yield Question(f"To do that, type {name}: ")
        if answer.strip() != name:
            yield Say(["Nothing done."])
            return None
        if self._house.gate.must_wait():
            wait = f"Nobody proved to be the owner: in {RESET_WAIT_S:.0f} s it is done. Ctrl-C or unplugging stops it."
            yield Say([wait])
            yield from waited_for(self._house.gate)
        yield from asked({"verb": "factory_reset", "confirm": name})
        self._house.draft.clear()
        yield Keep(None)
        yield Say(["Done. This box is new again: setup."])
        return None

    def _help(self) -> Script:
        yield Say([f"  {f'{command.name} {command.arguments}':<26} {command.summary}" for command in COMMANDS])
        yield Say(["Words may be shortened; Tab completes, ? explains; { begins a program's line."])
        return None

    def _exit(self) -> Script:
        yield Leave(applied=False)
        return None
