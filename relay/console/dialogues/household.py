"""The people who live here, and inviting one more."""

from relay.console import words
from relay.console.dialogues.asking import Scripts, Surroundings, asked, new_password
from relay.console.script import Question, Say, Script


class Household:
    """Accounts and invitations."""

    def __init__(self, house: Surroundings) -> None:
        self._house = house

    def scripts(self) -> Scripts:
        """Return what begins each command."""
        return {
            "user add": self._user_add,
            "user list": self._user_list,
            "user passwd": self._user_passwd,
            "user deactivate": self._user_deactivate,
            "invite": self._invite,
        }

    def _user_add(self, name: str) -> Script:
        password = yield from new_password()
        result = yield from asked({"verb": "user_add", "name": name, "password": password})
        yield Say([result["user"]])
        return None

    def _user_list(self) -> Script:
        yield Say(words.users((yield from asked({"verb": "user_list"}))), private=True)
        return None

    def _user_passwd(self, name: str) -> Script:
        password = yield from new_password()
        yield from asked({"verb": "user_passwd", "name": name, "password": password})
        yield Say(["Done; the devices are signed out."])
        return None

    def _user_deactivate(self, name: str) -> Script:
        answer = yield Question("Close this account for good? Type the name again: ", private=True)
        if answer.strip() != name:
            yield Say(["Nothing done."])
            return None
        yield from asked({"verb": "user_deactivate", "name": name})
        return None

    def _invite(self) -> Script:
        result = yield from asked({"verb": "invite_create"})
        yield Say([*self._house.drawn(result), *words.invitation(result)], private=True)
        return None
