"""What a step sees: the index to read, and a change to write."""

from collections.abc import Callable, Hashable
from typing import Any

from relay.base.errors import TooLargeError
from relay.base.limits import MAX_CHANGE_BYTES, MAX_CHANGE_OPERATIONS
from relay.store.index_file import IndexFile
from relay.store.names import Names
from relay.store.packing import pack
from relay.store.tables import INTERN, Operation, Value


class Index:
    """The read view of a step; only valid inside it.

    Attributes:
        position: the number of the last change applied.
    """

    def __init__(self, file: IndexFile, names: Names, position: int) -> None:
        self._file = file
        self._names = names
        self.position = position

    def rows(self, sql: str, *params: Value) -> list[tuple[Any, ...]]:
        """Return every row of a SELECT."""
        return self._file.rows(sql, params)

    def row(self, sql: str, *params: Value) -> tuple[Any, ...] | None:
        """Return the first row of a SELECT, None where it has none."""
        return self._file.row(sql, params)

    def value(self, sql: str, *params: Value) -> Any:  # noqa: ANN401 - whatever the column holds
        """Return the first column of the first row of a SELECT, None where it has none."""
        row = self._file.row(sql, params)
        return None if row is None else row[0]

    def find(self, text: str) -> int | None:
        """Return the number that stands for `text` in the tables, None where it has none."""
        return self._names.find(text)

    def name(self, number: int) -> str:
        """Return the text that `number` stands for.

        Raises:
            KeyError: no text has this number.
        """
        return self._names.name(number)


class Change(Index):
    """The read and write view of a step: all of it happens, or none.

    Attributes:
        begun: whether anything was written.
        lazy: whether everything written may be lost in a power cut.
        patient: whether nothing written is worth a commit of its own.
        position: the number this change will have; also the sync-stream position of everything written in it.
    """

    def __init__(self, file: IndexFile, names: Names, position: int, allow: Callable[[], None]) -> None:
        super().__init__(file, names, position)
        self._allow = allow
        self._size_bytes = 0
        self._new_names: dict[str, int] = {}
        self.begun = False
        self.operations: list[list[Value]] = []
        self.topics: list[Hashable] = []
        self.lazy = True
        self.patient = True

    def write(self, operation: Operation, *params: Value) -> None:
        """Apply `operation` at once: later reads of this step see it.

        Raises:
            TooLargeError: the change has too many operations or bytes.
            StorageError: the box takes nothing in, flash failed.
            apsw.ConstraintError: the tables refuse it; nothing of this operation was applied.
        """
        if not self.begun:
            self._allow()
            self._file.begin_change()
            self.begun = True
        self._size_bytes += sum(len(param) if isinstance(param, str | bytes) else 9 for param in params) + 4
        if self._size_bytes > MAX_CHANGE_BYTES or len(self.operations) >= MAX_CHANGE_OPERATIONS:
            raise TooLargeError(
                f"one change holds at most {MAX_CHANGE_OPERATIONS} operations and {MAX_CHANGE_BYTES} bytes"
            )
        self._file.apply(operation, params)
        self.operations.append([operation.number, *params])
        self.lazy = self.lazy and operation.lazy
        self.patient = self.patient and operation.patient

    def intern(self, text: str) -> int:
        """Return the number that stands for `text`, giving it one where it has none."""
        number = self.find(text)
        if number is None:
            number = self._names.next_number + len(self._new_names)
            self.write(INTERN, number, text)
            self._new_names[text] = number
        return number

    def find(self, text: str) -> int | None:
        """Return the number that stands for `text` in the tables, None where it has none."""
        # What this change made is not asked of the shared cache: the change may yet be undone.
        return self._new_names.get(text) or self._names.find(text)

    def name(self, number: int) -> str:
        """Return the text that `number` stands for.

        Raises:
            KeyError: no text has this number.
        """
        if number < self._names.next_number:
            return self._names.name(number)
        for text, made in self._new_names.items():
            if made == number:
                return text
        raise KeyError(number)

    def wake(self, *topics: Hashable) -> None:
        """Ring the watchers of `topics` once this change is durable."""
        self.topics += topics

    def pack(self) -> bytes:
        """Return the change as the journal keeps it: [position, [number, params...]...]."""
        return pack([self.position, *self.operations])

    def keep_names(self) -> None:
        """Let later steps see the names this change made."""
        self._names.add(self._new_names)
