"""What a machine has ready for the wire: one buffer for both versions of HTTP."""


class Outgoing:
    """Bytes in the order in which they are to be written; a machine appends to `_out`."""

    def __init__(self) -> None:
        self._out: list[bytes] = []

    def take(self) -> bytes:
        """Return and forget the bytes to be written."""
        if len(self._out) == 1:
            return self._out.pop()
        data = b"".join(self._out)
        self._out.clear()
        return data

    @property
    def unsent_bytes(self) -> int:
        """How many bytes wait in `take`."""
        return sum(map(len, self._out))
