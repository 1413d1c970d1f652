"""A line editor for terminals of unknown make: it writes printable text, CR, LF, BS and BEL, and nothing else."""

import dataclasses

from relay.base.limits import MAX_CONSOLE_HISTORY_LINES, MAX_CONSOLE_LINE_BYTES
from relay.console.keys import Key

WIDTH = 80
_HEIGHT = 24
_BELL = b"\a"
_ENDINGS = frozenset({Key.ENTER, Key.TAB, Key.INTERRUPT})


@dataclasses.dataclass(frozen=True, slots=True)
class Entered:
    """Enter was pressed."""

    text: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Interrupted:
    """Ctrl-C, or Ctrl-D on an empty line (`ended`)."""

    ended: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Wondering:
    """Tab, or `?` where it asks (`explain`); `text` is what stands before the cursor."""

    text: str
    explain: bool = False


Event = Entered | Interrupted | Wondering


class LineEditor:
    """One line at a time: prompt, text, cursor, and the history of this session in memory only."""

    def __init__(self) -> None:
        self._prompt = ""
        self._secret = False
        self._text = ""
        self._cursor = 0
        self._shown = 0
        self._history: list[str] = []
        self._recalled = 0
        self._kept_aside = ""

    def ask(self, prompt: str, *, secret: bool = False) -> bytes:
        """Begin a new line behind `prompt`; a secret one is never shown and never remembered."""
        self._prompt, self._secret = prompt, secret
        self._text, self._cursor, self._shown = "", 0, 0
        self._recalled, self._kept_aside = len(self._history), ""
        return prompt.encode()

    @property
    def empty(self) -> bool:
        """Return whether nothing has been typed."""
        return not self._text

    def remember(self, text: str) -> None:
        """Keep an entered line for the up key."""
        if text.strip() and self._history[-1:] != [text]:
            self._history.append(text)
            del self._history[:-MAX_CONSOLE_HISTORY_LINES]

    def forget(self) -> None:
        """Drop the history: the next person at the cable is somebody else."""
        self._history.clear()

    def redraw(self) -> bytes:
        """Return the prompt and the line again, on a new line."""
        self._shown = 0
        return self._prompt.encode() + self._draw(0)

    def insert(self, text: str) -> bytes:
        """Put `text` at the cursor."""
        if len((self._text + text).encode()) > MAX_CONSOLE_LINE_BYTES:
            return _BELL
        at_end = self._cursor == len(self._text)
        self._text = self._text[: self._cursor] + text + self._text[self._cursor :]
        self._cursor += len(text)
        if self._secret:
            return b""
        if at_end and len(self._prompt) + len(self._text) < WIDTH:
            self._shown = len(self._text)
            return text.encode()
        return self._draw_over()

    def press(self, key: str | Key) -> tuple[bytes, Event | None]:
        """Return what to write and what happened, if anything but editing did."""
        if key == "?" and self._asks():
            return b"", Wondering(self._text[: self._cursor], explain=True)
        if isinstance(key, str):
            return self.insert(key), None
        if key in _ENDINGS or (key is Key.END_OF_INPUT and not self._text):
            return self._finish(key)
        if key is Key.REDRAW:
            return b"\r\n" * _HEIGHT + self.redraw(), None
        return self._edit(key), None

    def _finish(self, key: Key) -> tuple[bytes, Event | None]:
        match key:
            case Key.ENTER:
                return b"\r\n", Entered(self._text)
            case Key.TAB:
                return b"", None if self._secret else Wondering(self._text[: self._cursor])
            case Key.INTERRUPT:
                return b"^C\r\n", Interrupted()
            case _:
                return b"\r\n", Interrupted(ended=True)

    def _asks(self) -> bool:
        # Inside a value, an address for example, it is a character like any other.
        return not self._secret and (" " not in self._text or self._text[: self._cursor].endswith(" "))

    def _edit(self, key: Key) -> bytes:
        if key in (Key.UP, Key.DOWN):
            return self._recall(-1 if key is Key.UP else 1)
        before, after = self._text[: self._cursor], self._text[self._cursor :]
        return self._put(*_edited(key, before, after))

    def _recall(self, step: int) -> bytes:
        wanted = self._recalled + step
        if self._secret or not 0 <= wanted <= len(self._history):
            return _BELL
        if self._recalled == len(self._history):
            self._kept_aside = self._text
        self._recalled = wanted
        return self._put(self._history[wanted] if wanted < len(self._history) else self._kept_aside, "")

    def _put(self, before: str, after: str) -> bytes:
        if (before + after, len(before)) == (self._text, self._cursor):
            return b"" if self._secret else _BELL
        self._text, self._cursor = before + after, len(before)
        return b"" if self._secret else self._draw_over()

    def _draw_over(self) -> bytes:
        return b"\r" + self._prompt.encode() + self._draw(self._shown)

    def _draw(self, over: int) -> bytes:
        """Return the visible part of the line, blanks over the `over` columns shown before, and the way back."""
        if self._secret:
            return b""
        room = max(8, WIDTH - 1 - len(self._prompt))
        start = max(0, self._cursor - room)
        window = self._text[start : start + room]
        blanks = max(0, over - len(window))
        back = len(window) + blanks - (self._cursor - start)
        self._shown = len(window)
        return window.encode() + b" " * blanks + b"\b" * back


def _edited(key: Key, before: str, after: str) -> tuple[str, str]:
    edits = {
        Key.BACKSPACE: (before[:-1], after),
        Key.DELETE: (before, after[1:]),
        Key.END_OF_INPUT: (before, after[1:]),
        Key.ERASE_LINE: ("", after),
        Key.ERASE_REST: (before, ""),
        Key.ERASE_WORD: (before[: before.rstrip().rfind(" ") + 1], after),
        Key.LEFT: (before[:-1], before[-1:] + after),
        Key.RIGHT: (before + after[:1], after[1:]),
        Key.HOME: ("", before + after),
        Key.END: (before + after, ""),
    }
    return edits.get(key, (before, after))
