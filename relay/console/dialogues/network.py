"""How the box is connected, and joining a network."""

from relay.console import words
from relay.console.dialogues.asking import Scripts, asked
from relay.console.script import Question, Say, Script


class Network:
    """Wi-Fi and what the box makes of it."""

    def scripts(self) -> Scripts:
        """Return what begins each command."""
        return {
            "network": self._network,
            "wifi scan": self._wifi_scan,
            "wifi join": self._wifi_join,
            "wifi forget": self._wifi_forget,
        }

    def _network(self) -> Script:
        yield Say(words.network((yield from asked({"verb": "network"}))))
        return None

    def _wifi_scan(self) -> Script:
        yield Say(words.networks((yield from asked({"verb": "wifi_scan"}))))
        return None

    def _wifi_join(self, name: str) -> Script:
        password = yield Question("Password, empty for an open network: ", secret=True)
        yield Say([f"Joining {name}. If it fails, everything stays as it was."])
        joined = yield from asked({"verb": "wifi_join", "ssid": name, "password": password})
        yield Say([*words.network(joined), *words.trial(joined)])
        return None

    def _wifi_forget(self, name: str) -> Script:
        yield from asked({"verb": "wifi_forget", "ssid": name})
        yield Say([f"{name} is forgotten, and its password."])
        return None
