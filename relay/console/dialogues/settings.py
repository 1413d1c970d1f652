"""Settings: what is, what is planned, and doing it; for a new box all of it at once."""

from collections.abc import Generator, Mapping
from typing import Any

from relay.base.config_names import is_certified_in_public
from relay.base.errors import RelayError
from relay.console import words
from relay.console.actions import Keep, Leave
from relay.console.dialogues.asking import Scripts, Surroundings, asked, new_password
from relay.console.draft import BASICS, check, differences, network_problems, setting_text
from relay.console.script import Question, Say, Script, Step

_PERSON = ("name", "owner", "password")
_ADDRESSES = ("federation", "client")
_CERTIFICATES = ("acme", "acme.directory", "tls_cert", "tls.cert")
_TRIAL_MINUTES = 5
# What of a change of the network people have to know though the box is what they asked for.
_OF_THE_NETWORK = ("notes", "goes_back_in_s", "careful")


class Settings:
    """Show, set, plan, apply, and the questions of a new box."""

    def __init__(self, house: Surroundings) -> None:
        self._house = house

    def scripts(self) -> Scripts:
        """Return what begins each command."""
        return {
            "show": self._show,
            "set": self._set,
            "drop": self._drop,
            "plan": self.plan,
            "apply": self._apply,
            "commit": self._commit,
            "rollback": self._rollback,
            "setup": self._setup,
        }

    def _show(self, key: str = "") -> Script:
        if key == "transcript":
            yield Say(self._house.transcript.lines(), private=True)
            return None
        settings = words.flat((yield from asked({"verb": "show"}))["settings"])
        chosen = {name: value for name, value in settings.items() if name.startswith(key)}
        planned = {name: value for name, value in self._house.draft.shown().items() if name.startswith(key)}
        lines = [f"{name} = {setting_text(value)}" for name, value in chosen.items()]
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
            value = yield from new_password()
        self._house.draft.set(key, value, provisioned=self._house.provisioned())
        yield Keep(self._house.draft.kept())
        return None

    def _drop(self, key: str) -> Script:
        if not self._house.draft.drop(key):
            yield Say([f"{key} was not planned"])
        yield Keep(self._house.draft.kept())
        return None

    def plan(self) -> Script:
        """Say what is planned, how it differs from what is, and what is missing."""
        house = self._house
        provisioned = house.provisioned()
        planned = house.draft.shown()
        if provisioned:
            present = yield from asked({"verb": "show"})
            settings = words.flat(present["settings"])
            lines = words.changes(differences(planned, settings)) if planned else []
            lines += [f"! {problem}" for problem in network_problems(planned, settings)]
            yield Say([*(lines or ["nothing planned"]), *(["apply does it."] if lines else []), *words.trial(present)])
            return None
        lines = [f"{name} = {value}" for name, value in planned.items()]
        if house.draft.network():
            settings = words.flat((yield from asked({"verb": "show"}))["settings"])
            lines += [f"! {problem}" for problem in network_problems(planned, settings)]
        missing = [f"missing: {key}  ({BASICS[key]})" for key in house.draft.missing(provisioned=False)]
        if lines and not missing:
            missing = ["Nothing is missing: apply sets the box up."]
        elif house.draft.is_network_only():
            missing = ["apply sets the network up; the box itself is set up later."]
        yield Say([*lines, *missing] or ["nothing planned"])
        return None

    def _apply(self) -> Script:
        yield from self._carry_out(None)
        return None

    def _commit(self, confirmed: str = "", minutes: str = "") -> Script:
        if not confirmed:
            present = yield from asked({"verb": "show"})
            if "goes_back_in_s" not in present and (self._house.draft.shown() or not self._house.provisioned()):
                yield from self._carry_out(None)
                return None
            yield from asked({"verb": "commit"})
            yield Say(["Kept."])
            return None
        number = minutes or str(_TRIAL_MINUTES)
        if not "confirmed".startswith(confirmed) or not number.isascii() or not number.isdigit():
            yield Say(["usage: commit [confirmed [MINUTES]]"])
            return None
        if not self._house.provisioned() and not self._house.draft.is_network_only():
            yield Say(["A new box has nothing to go back to: apply sets it up."])
            return None
        yield from self._carry_out(60 * int(number))
        return None

    def _rollback(self) -> Script:
        result = yield from asked({"verb": "rollback"})
        yield Say(["Back to the settings before.", *(["The box starts again with them."] * result["restarting"])])
        return None

    def _carry_out(self, confirm_s: int | None) -> Generator[Step, Any, None]:
        provisioned = self._house.provisioned()
        alone = self._house.draft.is_network_only()
        if not alone and (self._house.draft.missing(provisioned=provisioned) or not self._house.draft.shown()):
            yield from self.plan()
            return
        if self._house.draft.network():
            yield Say(["Setting the network up. If it does not come up, everything goes back to how it was."])
        if not provisioned and not alone:
            yield Say([f"Setting up {self._house.draft.value('name')}. This takes a few seconds."])
        phrases = yield from self._phrases(provisioned=provisioned)
        result = yield from self.applied(provisioned=provisioned, confirm_s=confirm_s, phrases=phrases)
        if "changed" in result:
            yield Say(words.saved(result))
            return
        yield Say([*self._house.drawn(result), *words.provisioned(result), *words.network_changed(result)])
        if self._house.leave_when_applied:
            yield Leave(applied=True)

    def _phrases(self, *, provisioned: bool) -> Generator[Step, Any, dict[str, str]]:
        """Ask for the passphrases that the planned place of the key needs."""
        draft, given = self._house.draft, {}
        if provisioned and any(key.startswith(("store.key_", "store.tpm_")) for key in draft.shown()):
            present = (yield from asked({"verb": "show"}))["settings"]
            if present.get("store", {}).get("key_source") == "passphrase":
                given["passphrase_now"] = yield Question("Passphrase of the box as it is now: ", secret=True)
        if draft.value("store.key_source") == "passphrase":
            yield Say(
                ["The passphrase of the box: it is asked for after each power cut, and nobody can bring it back."]
            )
            given["passphrase"] = yield from new_password()
        return given

    def _ask_where_the_key_is(self, key: dict[str, str]) -> Generator[Step, Any, None]:
        if not key or self._house.draft.value("store.key_source") or self._house.draft.value("key_file"):
            return
        yield Say([key["means"]])
        if key["source"]:
            answer = yield Question(f"store.key_source [{key['source']}]: ")
            self._house.draft.set("store.key_source", answer.strip() or key["source"], provisioned=False)
            yield Keep(self._house.draft.kept())

    def applied(
        self, *, provisioned: bool, confirm_s: object = None, phrases: Mapping[str, str] | None = None
    ) -> Generator[Step, Any, dict[str, Any]]:
        """Apply the draft and forget it; return the operator's result, with that of a new box's network in it."""
        draft = self._house.draft
        network: dict[str, Any] = {}
        if draft.is_network_only():
            provisioned = True
        elif not provisioned and draft.network():
            network = yield from asked({"verb": "set", "settings": draft.network()})
            for key in draft.network():
                draft.drop(key)
            yield Keep(draft.kept())
        request = draft.request(provisioned=provisioned, confirm_s=confirm_s)
        result = yield from asked({**request, **(phrases or {})})
        draft.clear()
        yield Keep(None)
        return {**{name: network[name] for name in _OF_THE_NETWORK if name in network}, **result}

    def _setup(self) -> Script:
        if self._house.provisioned():
            yield Say(["This box is set up. show lists its settings, set changes them."])
            return None
        yield Say(["Enter takes what stands in brackets; Ctrl-C leaves the questions."])
        usual = yield from asked({"verb": "usual", "profile": self._house.draft.value("profile")})
        for key in _PERSON + (_ADDRESSES if usual["asks_addresses"] else ()):
            yield from self._ask_for(key, usual.get(key, ""))
        if not usual["asks_addresses"]:
            yield Say(words.addresses(usual, self._house.draft.values()))
            yield from self._ask_who_certifies()
        yield from self._ask_where_the_key_is(usual.get("key", {}))
        yield from self.plan()
        answer = yield Question(f"Set up {self._house.draft.value('name')}, a name that can never change? [yes] ")
        if answer.strip().lower() in ("", "y", "yes"):
            yield from self._apply()
        return None

    def _ask_who_certifies(self) -> Generator[Step, Any, None]:
        draft = self._house.draft
        name = draft.value("name")
        if not is_certified_in_public(name) or any(map(draft.value, _CERTIFICATES)):
            return
        yield Say(words.certificates(name))
        while answer := (yield Question(f"certificate [{words.OWN_AUTHORITY}]: ")).strip().lower():
            if answer == words.OWN_AUTHORITY:
                return
            try:
                draft.set("acme", answer, provisioned=False)
            except RelayError as error:
                yield Say([str(error)])
                continue
            yield Keep(draft.kept())
            return

    def _ask_for(self, key: str, usual: str) -> Generator[Step, Any, None]:
        yield Say([f"{key}: {BASICS[key]}"])
        while True:
            default = self._house.draft.value(key)
            if key == "password":
                value = yield from new_password()
            else:
                default = default or usual
                prompt = f"{key} [{default}]: " if default else f"{key}: "
                answer = yield Question(prompt, private=key == "owner")
                value = answer.strip() or default
            try:
                check(key, value, {"name": self._house.draft.value("name")} if self._house.draft.value("name") else {})
            except RelayError as error:
                yield Say([str(error) if value else "needed"])
                continue
            self._house.draft.set(key, value, provisioned=False)
            yield Keep(self._house.draft.kept())
            return
