"""A stream whose first bytes are looked at before somebody else reads them: what stands in front of TLS."""

from __future__ import annotations

import trio

_LOOK_BYTES = 4096


class Preamble(trio.abc.Stream):
    """Passes everything on to `inner`; what has been looked at is received again, unless it was dropped."""

    def __init__(self, inner: trio.abc.Stream) -> None:
        self._inner = inner
        self._ahead = bytearray()

    @property
    def ahead(self) -> bytes:
        """What was looked at and not received yet."""
        return bytes(self._ahead)

    async def look(self) -> bool:
        """Wait for more bytes and put them at the end of `ahead`; return whether any came before the end.

        Raises:
            BrokenResourceError: the connection broke.
        """
        data = await self._inner.receive_some(_LOOK_BYTES)
        self._ahead += data
        return bool(data)

    def drop(self, count: int) -> None:
        """Take the first `count` bytes of `ahead` away: nobody else is to read them."""
        del self._ahead[:count]

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what was looked at, then what comes."""
        if not self._ahead:
            return bytes(await self._inner.receive_some(max_bytes))
        await trio.lowlevel.checkpoint()
        data = bytes(self._ahead[:max_bytes])
        del self._ahead[:max_bytes]
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send through the inner stream."""
        await self._inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait as the inner stream does."""
        await self._inner.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the inner stream."""
        await self._inner.aclose()
