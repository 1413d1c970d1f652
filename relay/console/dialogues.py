"""What each command does, as a script. Nothing here knows of bytes, keys or processes."""

from collections.abc import Callable, Generator
from typing import Any

from relay.base.config import ClientConfig, FederationConfig
from relay.base.errors import RelayError
from relay.base.limits import MIN_PASSWORD_CHARACTERS
from relay.base.lines import result_of
from relay.console import words
from relay.console.actions import Keep, Leave
from relay.console.draft import BASICS, Draft, check
from relay.console.grammar import COMMANDS
from relay.console.script import Question, Request, Say, Script, Step

_USUAL = {"federation": FederationConfig().listen, "client": ClientConfig().listen}


class Dialogues:
    """The commands of one session, sharing its draft and its way of drawing."""

    def __init__(self, draft: Draft, provisioned: Callable[[], bool], *, leave_when_applied: bool) -> None:
        self._draft = draft
        self._provisioned = provisioned
        self._leave_when_applied = leave_when_applied
        self._ascii = False

    def begin(self, name: str, arguments: list[str]) -> Script:
        """Return the script of the command called `name`."""
        script: Script = getattr(self, "_" + name.replace(" ", "_").replace("-", "_"))(*arguments)
        return script

    def greeting(self) -> list[str]:
        """Return what the first CR is answered with."""
        if self._provisioned():
            return ["Doorstep. status shows how it is; help lists what there is."]
        return ["Doorstep. This box is not set up yet.", "setup asks for everything; help lists what there is."]

    def _status(self) -> Script:
        result = yield from _asked({"verb": "status"})
        yield Say(words.status(result))
        if not self._provisioned():
            yield from self._plan()
        return None

    def _doctor(self) -> Script:
        result = yield from _asked({"verb": "doctor"})
        yield Say(words.findings(result))
        return None

    def _show(self, key: str = "") -> Script:
        settings: dict[str, Any] = {}
        if self._provisioned():
            settings = words.flat((yield from _asked({"verb": "show"}))["settings"])
        chosen = {name: value for name, value in settings.items() if name.startswith(key)}
        planned = {name: value for name, value in self._draft.shown().items() if name.startswith(key)}
        lines = [f"{name} = {value}" for name, value in chosen.items()]
        yield Say([*lines, *(f"{name} = {value}  (planned)" for name, value in planned.items())] or ["nothing set"])
        return None

    def _set(self, key: str, value: str = "") -> Script:
        name, equals, text = key.partition("=")
        if equals:
            key, value = name, " ".join(filter(None, [text, value]))
        if key == "password":
            if value:
                yield Say(["A password is asked for, never typed in the line: set password"])
                return None
            value = yield from _new_password()
        self._draft.set(key, value, provisioned=self._provisioned())
        yield Keep(self._draft.kept())
        return None

    def _drop(self, key: str) -> Script:
        if not self._draft.drop(key):
            yield Say([f"{key} was not planned"])
        yield Keep(self._draft.kept())
        return None

    def _plan(self) -> Script:
        provisioned = self._provisioned()
        lines = [f"{name} = {value}" for name, value in self._draft.shown().items()]
        missing = [f"missing: {key}  ({BASICS[key]})" for key in self._draft.missing(provisioned=provisioned)]
        if lines and not missing:
            missing = ["apply does it." if provisioned else "Nothing is missing: apply sets the box up."]
        yield Say([*lines, *missing] or ["nothing planned"])
        return None

    def _apply(self) -> Script:
        provisioned = self._provisioned()
        if self._draft.missing(provisioned=provisioned) or not self._draft.shown():
            yield from self._plan()
            return None
        if not provisioned:
            yield Say([f"Setting up {self._draft.value('name')}. This takes a few seconds."])
        result = yield from self.applied(provisioned=provisioned)
        if provisioned:
            yield Say(["Saved. restart makes it count." if result["restart_needed"] else "Nothing changed."])
            return None
        yield Say([*self._drawn(result), *words.provisioned(result)])
        if self._leave_when_applied:
            yield Leave(applied=True)
        return None

    def applied(self, *, provisioned: bool) -> Generator[Step, Any, dict[str, Any]]:
        """Apply the draft and forget it; return the operator's result."""
        result = yield from _asked(self._draft.request(provisioned=provisioned))
        self._draft.clear()
        yield Keep(None)
        return result

    def _setup(self) -> Script:
        if self._provisioned():
            yield Say(["This box is set up. show lists its settings, set changes them."])
            return None
        yield Say(["Enter takes what stands in brackets; Ctrl-C leaves the questions."])
        for key in ("name", "owner", "password", *_USUAL):
            yield from self._ask_for(key)
        yield from self._plan()
        answer = yield Question(f"Set up {self._draft.value('name')}, a name that can never change? [yes] ")
        if answer.strip().lower() in ("", "y", "yes"):
            yield from self._apply()
        return None

    def _ask_for(self, key: str) -> Generator[Step, Any, None]:
        yield Say([f"{key}: {BASICS[key]}"])
        while True:
            default = self._draft.value(key)
            if key == "password":
                value = yield from _new_password()
            else:
                default = default or _USUAL.get(key, "")
                answer = yield Question(f"{key} [{default}]: " if default else f"{key}: ")
                value = answer.strip() or default
            try:
                check(key, value, {"name": self._draft.value("name")} if self._draft.value("name") else {})
            except RelayError as error:
                yield Say([str(error) if value else "needed"])
                continue
            self._draft.set(key, value, provisioned=False)
            yield Keep(self._draft.kept())
            return

    def _user_add(self, name: str) -> Script:
        password = yield from _new_password()
        result = yield from _asked({"verb": "user_add", "name": name, "password": password})
        yield Say([result["user"]])
        return None

    def _user_list(self) -> Script:
        yield Say(words.users((yield from _asked({"verb": "user_list"}))))
        return None

    def _user_passwd(self, name: str) -> Script:
        password = yield from _new_password()
        yield from _asked({"verb": "user_passwd", "name": name, "password": password})
        yield Say(["Done; the devices are signed out."])
        return None

    def _user_deactivate(self, name: str) -> Script:
        answer = yield Question(f"Close the account of {name} for good? Type the name again: ")
        if answer.strip() != name:
            yield Say(["Nothing done."])
            return None
        yield from _asked({"verb": "user_deactivate", "name": name})
        return None

    def _invite(self) -> Script:
        result = yield from _asked({"verb": "invite_create"})
        yield Say([*self._drawn(result), *words.invitation(result)])
        return None

    def _network(self) -> Script:
        yield Say(words.network((yield from _asked({"verb": "network"}))))
        return None

    def _wifi_scan(self) -> Script:
        yield Say(words.networks((yield from _asked({"verb": "wifi_scan"}))))
        return None

    def _wifi_join(self, name: str) -> Script:
        password = yield Question("Password, empty for an open network: ", secret=True)
        yield Say([f"Joining {name}. If it fails, everything stays as it was."])
        yield Say(words.network((yield from _asked({"verb": "wifi_join", "ssid": name, "password": password}))))
        return None

    def _time_set(self, utc: str) -> Script:
        result = yield from _asked({"verb": "time_set", "utc": utc})
        yield Say([result["utc"]])
        return None

    def _terminal(self, kind: str) -> Script:
        if kind not in ("utf8", "ascii"):
            yield Say(["utf8 or ascii"])
            return None
        self._ascii = kind == "ascii"
        return None

    def _restart(self) -> Script:
        yield from _asked({"verb": "restart"})
        yield Say(["Restarting."])
        return None

    def _factory_reset(self) -> Script:
        name = "reset"
        if self._provisioned():
            status = yield from _asked({"verb": "status"})
            name = str(status.get("server", name))
        yield Say(["Every message, key, account and setting of this box will be gone. Nobody can bring them back."])
        answer = yield Question(f"To do that, type {name}: ")
        if answer.strip() != name:
            yield Say(["Nothing done."])
            return None
        yield from _asked({"verb": "factory_reset", "confirm": name})
        self._draft.clear()
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

    def _drawn(self, result: dict[str, Any]) -> list[str]:
        rows: list[str] = result.get("qr_ascii" if self._ascii else "qr", [])
        return rows


def _asked(fields: dict[str, Any]) -> Generator[Step, Any, dict[str, Any]]:
    reply = yield Request(fields)
    return result_of(reply)


def _new_password() -> Generator[Step, Any, str]:
    while True:
        first = yield Question("Password: ", secret=True)
        if len(first) < MIN_PASSWORD_CHARACTERS:
            yield Say([f"A password needs at least {MIN_PASSWORD_CHARACTERS} characters."])
            continue
        again = yield Question("The same again: ", secret=True)
        if first == again:
            return str(first)
        yield Say(["These were not the same."])
