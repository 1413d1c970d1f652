"""Files from other servers.

Source: Matrix S2S v1.19, "Content Repository".
"""

import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from typing import Self
from urllib.parse import unquote

from relay.base.errors import InvalidInputError, NotFoundError, PeerRefusedError, UnreachableError
from relay.base.ids import MediaId, ServerName
from relay.delivery.media import RemoteFile
from relay.federation.matrix.client.client import FederationClient, path_of
from relay.federation.matrix.multipart import MediaPart, boundary_of

# RFC 6266: the extended form, where there is one, is the better one.
_EXTENDED = re.compile(r"filename\*=utf-8''([^;\s]+)", re.IGNORECASE)
_ESCAPED = re.compile(r"\\(.)")
_FILENAME = re.compile(r"filename=(?:\"((?:[^\"\\]|\\.)*)\"|([^;\s]+))", re.IGNORECASE)
_WAIT_MS = 20_000


class MatrixMedia:
    """Fetches files; as `delivery.media.RemoteMedia`."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    @contextlib.asynccontextmanager
    async def fetch(self, server: ServerName, media_id: MediaId) -> AsyncIterator[RemoteFile]:
        """Open the file.

        Raises:
            NotFoundError: the server has no such file.
            UnreachableError: it does not answer, or not with a file.
            PeerRefusedError: it refuses.
        """
        path = path_of("/_matrix/federation/v1/media/download", media_id)
        try:
            async with self._client.stream(server, path, [("timeout_ms", str(_WAIT_MS))]) as reply:
                part = _part_of(reply.headers.get("content-type") or "")
                chunks = _Chunks(part, reply.stream())
                await chunks.read_headers()
                yield _file(part.headers or {}, chunks)
        except PeerRefusedError as error:
            if error.status == 404:
                raise NotFoundError("the server has no such file") from None
            raise


def _part_of(content_type: str) -> MediaPart:
    try:
        return MediaPart(boundary_of(content_type))
    except InvalidInputError:
        raise UnreachableError("the server answered with something that is not a file") from None


def _file(headers: Mapping[str, str], chunks: AsyncIterator[bytes]) -> RemoteFile:
    if "location" in headers:
        # Fetching an address a stranger names would let it make us ask anybody; nothing we know of answers so.
        raise UnreachableError("the server keeps this file elsewhere")
    return RemoteFile(headers.get("content-type"), filename_of(headers.get("content-disposition", "")), chunks)


def filename_of(disposition: str) -> str | None:
    """Return the file name a `Content-Disposition` header names."""
    extended = _EXTENDED.search(disposition)
    if extended is not None:
        return unquote(extended[1], errors="replace")
    plain = _FILENAME.search(disposition)
    if plain is None:
        return None
    return plain[2] if plain[1] is None else _ESCAPED.sub(r"\1", plain[1])


class _Chunks:
    """The bytes of the file; not a generator, so that one left unfinished needs no closing."""

    def __init__(self, part: MediaPart, source: AsyncIterator[bytes]) -> None:
        self._part = part
        self._source = source
        self._ready = b""

    async def read_headers(self) -> None:
        """Read until the headers of the file are known; raises UnreachableError."""
        while self._part.headers is None:
            self._ready += await self._more()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._ready:
            if self._part.finished:
                raise StopAsyncIteration
            self._ready = await self._more()
        ready, self._ready = self._ready, b""
        return ready

    async def _more(self) -> bytes:
        try:
            chunk = await anext(self._source, None)
            if chunk is None:
                self._part.close()
                return b""
            return self._part.receive(chunk)
        except InvalidInputError as error:
            raise UnreachableError(f"the server answered with a malformed file: {error}") from None
