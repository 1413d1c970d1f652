"""The words a person may type, each as short as it stays unique."""

import dataclasses
from collections.abc import Iterable, Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """One command: its words, its arguments as shown, and how many of them it takes."""

    words: tuple[str, ...]
    arguments: str
    summary: str
    least: int = 0
    most: int = 0

    @property
    def name(self) -> str:
        """Return the words with spaces between them."""
        return " ".join(self.words)


COMMANDS = (
    Command(("setup",), "", "ask for everything, then set the box up"),
    Command(("status",), "", "what runs and what is queued"),
    Command(("doctor",), "", "what is wrong and what to do next"),
    Command(("diagnostics",), "", "a text for helpers, names and secrets left out"),
    Command(("show",), "[KEY]", "settings, and what is planned; transcript", 0, 1),
    Command(("set",), "KEY VALUE", "plan a setting; a password is asked for", 1, 2),
    Command(("drop",), "KEY", "take a planned setting back", 1, 1),
    Command(("plan",), "", "what apply would change, and what is missing"),
    Command(("apply",), "", "do what is planned"),
    Command(("commit",), "[confirmed [MINUTES]]", "do it on trial; without words: keep it", 0, 2),
    Command(("rollback",), "", "back to the settings before the last change"),
    Command(("user", "add"), "NAME", "make an account", 1, 1),
    Command(("user", "list"), "", "who lives here"),
    Command(("user", "passwd"), "NAME", "set a new password", 1, 1),
    Command(("user", "deactivate"), "NAME", "close an account for good", 1, 1),
    Command(("invite",), "", "an invitation that one person can use once"),
    Command(("network",), "", "how the box is connected; set network.eth0.address"),
    Command(("wifi", "scan"), "", "which networks are in reach"),
    Command(("wifi", "join"), "NAME", "join a network, also a hidden one", 1, 1),
    Command(("wifi", "forget"), "NAME", "forget a network and its password", 1, 1),
    Command(("time", "set"), "UTC", "set the clock: 2026-11-23T12:00:00Z", 1, 1),
    Command(("unlock",), "", "allow changes: the owner's password is asked for"),
    Command(("lock",), "", "allow no more changes"),
    Command(("terminal",), "utf8|ascii", "how QR codes are drawn here", 1, 1),
    Command(("passphrase",), "", "give a locked box the passphrase that it waits for"),
    Command(("release", "back"), "", "have the release before this one come back"),
    Command(("repair",), "", "set damaged blocks aside, keep what still fits"),
    Command(("restart",), "[safe]", "start the box again; safe: serving nobody", 0, 1),
    Command(("factory-reset",), "", "forget everything, after a typed confirmation"),
    Command(("help",), "", "this list"),
    Command(("exit",), "", "leave the console"),
)


class UsageError(Exception):
    """What was typed is no command; the message says what would be."""


def parse(text: str) -> tuple[Command, list[str]]:
    """Return the command in `text` and its arguments; the last argument takes the rest of the line.

    Raises:
        UsageError: the words are unknown or ambiguous, or the arguments too few or too many.
    """
    words = text.split()
    command = _find(words)
    given = len(command.words)
    rest = text.split(None, given)[given:]
    arguments = rest[0].split(None, max(0, command.most - 1)) if rest else []
    arguments = [argument.strip() for argument in arguments]
    if not command.least <= len(arguments) <= command.most:
        raise UsageError(f"usage: {command.name} {command.arguments}".rstrip())
    return command, arguments


def _find(words: Sequence[str]) -> Command:
    left: Iterable[Command] = COMMANDS
    for depth, word in enumerate(words):
        left = _fitting(left, depth, word)
        if not left:
            raise UsageError(f"there is no {' '.join(words[: depth + 1])[:60]!r}; help lists what there is")
        distinct = {command.words[depth] for command in left}
        if len(distinct) > 1:
            raise UsageError(f"{word!r} may be {', '.join(sorted(distinct))}")
        complete = [command for command in left if len(command.words) == depth + 1]
        if complete:
            return complete[0]
    raise UsageError(f"more words follow: {', '.join(sorted({command.name for command in left}))}")


def _fitting(commands: Iterable[Command], depth: int, word: str) -> list[Command]:
    deep = [command for command in commands if len(command.words) > depth]
    exact = [command for command in deep if command.words[depth] == word]
    return exact or [command for command in deep if command.words[depth].startswith(word)]


def candidates(text: str, keys: Iterable[str]) -> list[str]:
    """Return the words that could stand where `text` ends: command words, or setting names behind set and show."""
    *before, last = text.split(" ")
    before = [word for word in before if word]
    left: list[Command] = list(COMMANDS)
    for depth, word in enumerate(before):
        left = _fitting(left, depth, word)
        names = {command.words[depth] for command in left}
        if len(names) != 1:
            return []
        if any(len(command.words) == depth + 1 for command in left):
            argument = len(before) - depth - 1
            return _arguments(left[0], argument, last, keys)
    fitting = [command for command in left if command.words[len(before)].startswith(last)]
    return sorted({command.words[len(before)] for command in fitting})


def _arguments(command: Command, argument: int, last: str, keys: Iterable[str]) -> list[str]:
    if argument:
        return []
    if command.name in ("set", "show", "drop"):
        return sorted(key for key in keys if key.startswith(last))
    if command.name == "commit":
        return [word for word in ("confirmed",) if word.startswith(last)]
    if command.name == "restart":
        return [word for word in ("safe",) if word.startswith(last)]
    if command.name == "terminal":
        return [word for word in ("ascii", "utf8") if word.startswith(last)]
    return []


def explain(text: str, keys: Iterable[str]) -> list[str]:
    """Return help for what could stand where `text` ends, one line each."""
    words = text.split()
    typing = bool(words) and not text.endswith(" ")
    fixed = words[:-1] if typing else words
    left: list[Command] = list(COMMANDS)
    for depth, word in enumerate(words):
        fitting = _fitting(left, depth, word)
        if any(len(command.words) == depth + 1 for command in fitting) and depth < len(fixed):
            shown = in_columns(candidates(text, keys))
            return [f"  {fitting[0].name} {fitting[0].arguments}".rstrip(), *(f"    {line}" for line in shown)]
        left = fitting
    return [f"  {f'{command.name} {command.arguments}':<26} {command.summary}" for command in left]


def in_columns(names: Sequence[str], *, width: int = 75) -> list[str]:
    """Return `names` in lines of at most `width` columns, in reading order."""
    if not names:
        return []
    column = max(map(len, names)) + 2
    each = max(1, width // column)
    rows = (names[start : start + each] for start in range(0, len(names), each))
    return ["".join(name.ljust(column) for name in row).rstrip() for row in rows]
