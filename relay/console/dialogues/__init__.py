"""What each command does, as a script, by topic. Nothing here knows of bytes, keys or processes."""

from collections.abc import Callable, Generator
from typing import Any

from relay.console.dialogues.asking import Surroundings
from relay.console.dialogues.care import Care
from relay.console.dialogues.household import Household
from relay.console.dialogues.network import Network
from relay.console.dialogues.settings import Settings
from relay.console.draft import Draft
from relay.console.script import Script, Step


class Dialogues:
    """The commands of one session, sharing its draft and its way of drawing."""

    def __init__(self, draft: Draft, provisioned: Callable[[], bool], *, leave_when_applied: bool) -> None:
        self._provisioned = provisioned
        house = Surroundings(draft, provisioned, leave_when_applied)
        self._settings = Settings(house)
        self._scripts = {
            **self._settings.scripts(),
            **Household(house).scripts(),
            **Network().scripts(),
            **Care(house, self._settings).scripts(),
        }

    def begin(self, name: str, arguments: list[str]) -> Script:
        """Return the script of the command called `name`."""
        return self._scripts[name](*arguments)

    def greeting(self) -> list[str]:
        """Return what the first CR is answered with."""
        if self._provisioned():
            return ["Doorstep. status shows how it is; help lists what there is."]
        return ["Doorstep. This box is not set up yet.", "setup asks for everything; help lists what there is."]

    def applied(self, *, provisioned: bool, confirm_s: object = None) -> Generator[Step, Any, dict[str, Any]]:
        """Apply the draft and forget it; return the operator's result."""
        return self._settings.applied(provisioned=provisioned, confirm_s=confirm_s)
