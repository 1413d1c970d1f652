"""Interned names: a small number for every user, room, server and other short text that many rows repeat."""

from relay.store.index_file import IndexFile

_MAX_CACHED = 16_384


class Names:
    """The table `names`, with a bounded cache in front.

    Attributes:
        next_number: the number the next new name gets.
    """

    def __init__(self, file: IndexFile) -> None:
        self._file = file
        self._numbers: dict[str, int] = {}
        self._texts: dict[int, str] = {}
        self.next_number = 1

    def load(self) -> None:
        """Forget the cache and read where the numbers stand: at the start and after a roll-back."""
        self._numbers.clear()
        self._texts.clear()
        ((most,),) = self._file.rows("SELECT max(number) FROM names")
        self.next_number = (most or 0) + 1

    def find(self, text: str) -> int | None:
        """Return the number of `text`, None where it has none."""
        number = self._numbers.get(text)
        if number is None:
            row = self._file.row("SELECT number FROM names WHERE text = ?", (text,))
            if row is None:
                return None
            number = row[0]
            self._remember(text, number)
        return number

    def name(self, number: int) -> str:
        """Return the text of `number`.

        Raises:
            KeyError: it has none.
        """
        text = self._texts.get(number)
        if text is None:
            row = self._file.row("SELECT text FROM names WHERE number = ?", (number,))
            if row is None:
                raise KeyError(number)
            text = row[0]
            self._remember(text, number)
        return text

    def add(self, names: dict[str, int]) -> None:
        """Take in what a kept change wrote."""
        for text, number in names.items():
            self._remember(text, number)
        self.next_number += len(names)

    def _remember(self, text: str, number: int) -> None:
        if len(self._numbers) >= _MAX_CACHED:
            self._numbers.clear()
            self._texts.clear()
        self._numbers[text] = number
        self._texts[number] = text
