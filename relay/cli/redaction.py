"""What leaves the box for a helper: names become tags, secrets go, and what is not known to be harmless is a name.

A tag says of which kind it is and which one (`<server-1>`): the same name has the same tag within one text, and a tag
is counted rather than computed, so nobody can try names against it.
"""

import dataclasses
import functools
import ipaddress
import json
import re
from collections.abc import Callable

from relay.base.config import Config, ServerConfig
from relay.base.ids import ServerName
from relay.base.networks import is_loopback

HIDDEN = "***"
_KNOWN_KEYS = {"user": "user", "room": "room", "server": "server", "device": "device", "url": "url"}
_SHOWN_TEXTS = frozenset(
    {
        *("what", "next_step", "level", "fault", "fault_code", "waits", "loose_end", "lost_page", "protection"),
        *("safe_mode", "failed"),
        *(
            "of_the_card",
            "of_the_box",
            "intake",
            "event",
            "code",
            "timestamp",
            "unit",
            "mode",
            "state",
            "source",
            "client",
            "federation",
        ),
    }
)
"""Keys of status, findings and log events whose texts are the box's own words; names inside of them are replaced."""
_OWN_WORDS = frozenset(
    {
        *("app", "store", "storage", "delivery", "rooms", "room", "household", "federation", "client", "client_api"),
        *(
            "admin",
            "console",
            "uplink",
            "transport",
            "box",
            "base",
            "core",
            "cli",
            "relay",
            "config",
            "input",
            "network",
        ),
        *("peer", "queue", "tls", "acme", "dns", "rate", "retention", "standby", "limits", "log", "server", "journal"),
        *("clock", "board", "button", "light", "media", "account", "doctor", "trio", "builtins", "hw", "index", "root"),
    }
)
"""What an event, a code, a setting or a module begins with."""
_HAPPENED = ("ed", "able", "invalid", "lost", "full", "unknown", "json", "crc", "made", "sent", "begun")
_FILE_ENDINGS = frozenset(
    {
        *("toml", "key", "pem", "db", "json", "service", "timer", "socket", "path", "py", "so", "crt", "sock", "sh"),
        *("conf", "new", "part", "before", "trial", "old", "bak", "txt", "html", "mount", "device", "catalogue"),
    }
)
_MATRIX = re.compile(r"(?:[@#!][^\s:,;\"'<>]{1,255}:[A-Za-z0-9.\-\[\]:]+|[!$][A-Za-z0-9_-]{43}|mxc://\S+)")
_URL = re.compile(r"\b([a-z][a-z0-9+.-]*)://([^\s\"'<>]+)")
_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
# Also as systemd names an adapter that is plugged in (systemd.net-naming-scheme(7)).
_MAC = re.compile(r"\b(?:(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}|(?:en|wl|ww)x[0-9a-f]{12})\b")
_ADDRESS = re.compile(
    r"(?<![\w.:])\[?((?:\d{1,3}\.){3}\d{1,3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:(?:\.\d{1,3}){3})?)\]?(?![\w])"
)
_SECRET = re.compile(
    r"(?i)\b((?:\w*_)?(?:password|passphrase|secret|token|psk|bearer|authorization|hmac))(\"?\s*[:=]\s*)\S+"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic) [A-Za-z0-9+/._~=-]{4,}")
_HOME = re.compile(r"/home/[^/\s]+")
_ERROR = re.compile(r"\b((?:\w+\.)*\w*(?:Error|Exception|ExceptionGroup|Interrupt|Exit)): .*")
_QUOTED = re.compile(r"(?<![\w])('[^'\n]*'|\"[^\"\n]*\")(?![\w])")
_RANDOM = re.compile(r"(?<![\w/.-])[A-Za-z0-9+_=-]{12,}(?![\w/.])")
_DOTTED = re.compile(r"(?<![\w/.@<-])(?:[\w-]+\.)+[\w-]+(?![\w/>])")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
_OWN_KEY = re.compile(r"[a-z][a-z0-9_]*")
_LONG = 16
_NUMBER = re.compile(r"[\d.]+\w{0,3}|v?\d[\w.+~-]*")
_CONTROL = re.compile(r"[^ -~]")


class Redactor:
    """Makes one text; learn every name there is before the first line is written."""

    def __init__(self) -> None:
        self._tags: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._known: re.Pattern[str] | None = None

    def name(self, kind: str, text: str) -> str:
        """Return the tag of a private name; from now on it is replaced wherever it stands."""
        if not text:
            return text
        key = text.casefold()
        if key not in self._tags:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._tags[key] = f"<{kind}-{self._counts[kind]}>"
            self._known = None
        return self._tags[key]

    def learn(self, kind: str, text: str) -> None:
        """Know `text`, and the host in it where it is an address or URL, as a private name."""
        if len(text) < 2:
            return
        for host in _hosts(text):
            self.name("host" if kind in ("url", "setting") else kind, host)
        self.name(kind, text)

    def text(self, text: str) -> str:
        """Return one line of words with every name and secret replaced, in printable ASCII."""
        text = self._replace_known(text)
        for pattern, replace in self._steps():
            text = pattern.sub(replace, text)
        return _CONTROL.sub("?", text)

    def value(self, key: str, value: object) -> object:
        """Return a JSON value of status or log, by the name of its key: texts only where that is known to be shown."""
        match value:
            case bool() | int() | float() | None:
                return value
            case dict():
                return {self._key(str(name)): self.value(str(name), inner) for name, inner in value.items()}
            case list() | tuple():
                return [self.value(key, inner) for inner in value]
        return self.text(str(value)) if key in _SHOWN_TEXTS else self.name(_KNOWN_KEYS.get(key, "name"), str(value))

    def log_line(self, line: str) -> str:
        """Return one line of the box's log: of an event what is known to be harmless, of other lines the words."""
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            return self.text(line)
        shown = [f"{self._key(name)}={self.value(name, value)}" for name, value in event.items()]
        return _CONTROL.sub("?", " ".join(shown))

    def counts(self) -> dict[str, int]:
        """Return how many names of each kind were replaced."""
        return dict(sorted(self._counts.items()))

    def _key(self, name: str) -> str:
        """Return what a value is kept under: a word of the box's own as it is, any other as a name."""
        if _OWN_KEY.fullmatch(name) and not _MAC.search(name):
            return name
        shown = self.text(name)
        return self.name("name", name) if shown == name else shown

    def _steps(self) -> list[tuple[re.Pattern[str], Callable[[re.Match[str]], str]]]:
        return [
            (_ERROR, lambda found: f"{found[1]}: {HIDDEN}"),
            (_BEARER, lambda found: f"{found[1]} {HIDDEN}"),
            (_HOME, lambda found: self.name("home", found[0])),
            (_SECRET, lambda found: f"{found[1]}{found[2]}{HIDDEN}"),
            (_MATRIX, lambda found: self.name("id", found[0])),
            (_URL, self._url),
            (_MAIL, lambda found: found[0] if _is_unit(found[0]) else self.name("mail", found[0])),
            (_QUOTED, lambda found: f"{found[0][0]}{HIDDEN}{found[0][0]}"),
            (_MAC, lambda found: self.name("mac", found[0])),
            (_ADDRESS, self._address),
            (_RANDOM, lambda found: HIDDEN if _looks_random(found[0]) else found[0]),
            (_DOTTED, lambda found: found[0] if _is_own(found[0]) else self.name("host", found[0])),
        ]

    def _replace_known(self, text: str) -> str:
        if self._known is None and self._tags:
            names = sorted(self._tags, key=len, reverse=True)
            self._known = re.compile(rf"(?i)(?<![\w<-])(?:{'|'.join(map(re.escape, names))})(?![\w>])")
        return text if self._known is None else self._known.sub(lambda found: self._tags[found[0].casefold()], text)

    def _url(self, found: re.Match[str]) -> str:
        # What is behind the host may be a token, and before it a user.
        rest = found[2].rpartition("@")[2].partition("/")[0].partition("?")[0]
        host, _, port = rest.rpartition(":") if re.search(r":\d+$", rest) else (rest, "", "")
        shown = host if host.startswith("<") else self._host(host)
        return f"{found[1]}://{shown}{f':{port}' if port else ''}"

    def _host(self, host: str) -> str:
        return host if is_everybodys(host) else self.name("host", host)

    def _address(self, found: re.Match[str]) -> str:
        try:
            address = ipaddress.ip_address(found[1])
        except ValueError:
            # A time of day, or so.
            return found[0]
        if is_everybodys(found[1]):
            return found[0]
        kind = "address" if address.is_global else "private-address"
        return found[0].replace(found[1], self.name(kind, found[1]))


def is_everybodys(host: str) -> bool:
    """Return whether this is an address that every machine has: loopback, or any."""
    host = host.removeprefix("[").removesuffix("]")
    return is_loopback(host) or host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


def _hosts(text: str) -> list[str]:
    """Return the hosts in a setting: of an address, a URL, a mail address, or a list of any."""
    found = []
    for piece in re.split(r"[\s,]+", text):
        host = piece.partition("://")[2] or piece
        host = host.partition("/")[0].rpartition("@")[2]
        host = re.sub(r":\d+$", "", host).removeprefix("[").removesuffix("]")
        if len(host) > 1 and host != text and not host.isdigit() and not is_everybodys(host):
            found.append(host)
    return found


def _looks_random(text: str) -> bool:
    if all(_WORD.fullmatch(piece) for piece in re.split(r"[+_=-]+", text) if piece):
        # Words and numbers with dashes between them, such as the name of a board.
        return False
    digits, lower, upper = (any(test(letter) for letter in text) for test in (str.isdigit, str.islower, str.isupper))
    return sum((digits, lower, upper)) > (1 if len(text) >= _LONG else 2)


def _is_unit(text: str) -> bool:
    """Return whether this is an instance of a unit rather than a mail address."""
    return text.startswith("relay-") and text.endswith((".service", ".socket", ".timer", ".path"))


def _is_own(text: str) -> bool:
    """Return whether a dotted word is an event, a code, a setting, a file or a number rather than a host."""
    if _NUMBER.fullmatch(text):
        return True
    first, _, rest = text.partition(".")
    last = text.rpartition(".")[2]
    if last in _FILE_ENDINGS or last.isdigit() or text in _setting_names():
        return True
    if first == "relay" and "." in rest:
        # A module of ours, in a traceback.
        return rest.partition(".")[0] in _OWN_WORDS
    # Events and codes tell what happened; a name of a host that begins like one ends otherwise.
    return first in _OWN_WORDS and ("_" in rest or rest.endswith(_HAPPENED)) and "." not in rest


@functools.cache
def _setting_names() -> frozenset[str]:
    tables = dataclasses.asdict(Config(server=ServerConfig(name=ServerName(""))))
    return frozenset(f"{section}.{name}" for section, table in tables.items() for name in table)
