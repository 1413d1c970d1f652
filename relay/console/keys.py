"""Bytes from a terminal of unknown make, as keys. How they are cut never matters; unknown sequences vanish."""

import codecs
import enum

_MAX_SEQUENCE = 16


class Key(enum.Enum):
    """A key that is not a character."""

    ENTER = "enter"
    INTERRUPT = "ctrl-c"
    END_OF_INPUT = "ctrl-d"
    TAB = "tab"
    BACKSPACE = "backspace"
    DELETE = "delete"
    LEFT = "left"
    RIGHT = "right"
    UP = "up"
    DOWN = "down"
    HOME = "home"
    END = "end"
    ERASE_LINE = "ctrl-u"
    ERASE_WORD = "ctrl-w"
    ERASE_REST = "ctrl-k"
    REDRAW = "ctrl-l"


_CONTROL = {
    "\x01": Key.HOME,
    "\x02": Key.LEFT,
    "\x03": Key.INTERRUPT,
    "\x04": Key.END_OF_INPUT,
    "\x05": Key.END,
    "\x06": Key.RIGHT,
    "\x08": Key.BACKSPACE,
    "\t": Key.TAB,
    "\n": Key.ENTER,
    "\x0b": Key.ERASE_REST,
    "\x0c": Key.REDRAW,
    "\r": Key.ENTER,
    "\x0e": Key.DOWN,
    "\x10": Key.UP,
    "\x15": Key.ERASE_LINE,
    "\x17": Key.ERASE_WORD,
    "\x7f": Key.BACKSPACE,
}
_SEQUENCES = {
    "A": Key.UP,
    "B": Key.DOWN,
    "C": Key.RIGHT,
    "D": Key.LEFT,
    "H": Key.HOME,
    "F": Key.END,
    "1~": Key.HOME,
    "3~": Key.DELETE,
    "4~": Key.END,
    "7~": Key.HOME,
    "8~": Key.END,
}


class KeyReader:
    """Turns bytes into characters and `Key`s. CR, LF and CR LF are one Enter each."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._after_return = False
        self._sequence: str | None = None

    @property
    def at_rest(self) -> bool:
        """Return whether no character or sequence is half read."""
        return self._sequence is None and self._decoder.getstate()[0] == b""

    def receive(self, data: bytes) -> list[str | Key]:
        """Return the keys that `data` completes."""
        keys = [self._read(character) for character in self._decoder.decode(data)]
        return [key for key in keys if key is not None]

    def _read(self, character: str) -> str | Key | None:
        after_return, self._after_return = self._after_return, character == "\r"
        if character == "\n" and after_return:
            return None
        if character == "\x1b":
            self._sequence = ""
            return None
        if character < " " or character == "\x7f":
            # A control character inside a sequence means that the rest of it was lost on the line.
            self._sequence = None
            return _CONTROL.get(character)
        if self._sequence is not None:
            return self._read_sequence(character)
        if character == "\ufffd" or not character.isprintable():
            return None
        return character

    def _read_sequence(self, character: str) -> Key | None:
        sequence = self._sequence or ""
        if not sequence:
            # ESC and one more character is a key with Alt; [ and O begin the longer ones.
            self._sequence = character if character in "[O" else None
            return None
        if "@" <= character <= "~":
            self._sequence = None
            return _SEQUENCES.get(sequence[1:] + character)
        self._sequence = (sequence + character)[:_MAX_SEQUENCE]
        return None
