"""Our files, for other servers.

Source: Matrix S2S v1.19, "Content Repository".
"""

import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Self
from urllib.parse import quote

from relay.base.errors import InvalidInputError, NotFoundError
from relay.base.ids import MediaId
from relay.delivery.media import Media, StoredMedia
from relay.federation.matrix.asking import Asking
from relay.federation.matrix.multipart import epilogue, prologue
from relay.transport.message import Response

_MEDIA_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
_MOST_WAIT_S = 60.0
_DEFAULT_WAIT_S = 20.0
# What an app said about its file goes into a header: nothing that could begin another one.
_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(?:;[ -~]*)?")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
# Types a browser shows and never runs; everything else is offered for saving.
_SHOWN = re.compile(
    r"(?:image/(?:jpeg|gif|png|apng|webp|avif)|video/(?:mp4|webm|ogg|quicktime)|audio/[a-z0-9.+-]+|text/plain)\b"
)


class Files:
    """Hands out files of this box, streamed."""

    def __init__(self, media: Media) -> None:
        self._media = media

    async def download(self, asking: Asking) -> Response:
        """GET v1/media/download: two parts, the second one the file."""
        media_id = asking.param("mediaId")
        if not _MEDIA_ID.fullmatch(media_id):
            raise NotFoundError("there is no such file")
        stored = await self._media.find_local(MediaId(media_id), _wait_s(asking))
        boundary = secrets.token_hex(16)
        kind = stored.content_type if _TYPE.fullmatch(stored.content_type) else "application/octet-stream"
        before, after = prologue(boundary, kind, _disposition(stored)), epilogue(boundary)
        return Response(
            200,
            [("Content-Type", f"multipart/mixed; boundary={boundary}")],
            _Framed(before, self._media.read(stored.file), after),
            len(before) + stored.file.size_bytes + len(after),
        )

    async def thumbnail(self, _asking: Asking) -> Response:
        """GET v1/media/thumbnail: no thumbnails are made here yet.

        Raises:
            NotFoundError: always.
        """
        raise NotFoundError("this server has no thumbnails")


class _Framed:
    """The file between what stands before and after it; closing it closes the file."""

    def __init__(self, before: bytes, content: AsyncIterator[bytes], after: bytes) -> None:
        self._before = before
        self._content = content
        self._after = after

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._before:
            before, self._before = self._before, b""
            return before
        piece = await anext(self._content, None)
        if piece is not None:
            return piece
        if not self._after:
            raise StopAsyncIteration
        after, self._after = self._after, b""
        return after

    async def aclose(self) -> None:
        """Let go of the file."""
        if isinstance(self._content, AsyncGenerator):
            await self._content.aclose()


def _wait_s(asking: Asking) -> float:
    text = asking.request.argument("timeout_ms")
    if text is None:
        return _DEFAULT_WAIT_S
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InvalidInputError("timeout_ms is not a number")
    return min(int(text) / 1000, _MOST_WAIT_S)


def _disposition(stored: StoredMedia) -> str:
    kind = "inline" if _SHOWN.match(stored.content_type) else "attachment"
    if stored.filename is None:
        return kind
    if _PLAIN_NAME.fullmatch(stored.filename):
        return f"{kind}; filename={stored.filename}"
    return f"{kind}; filename*=utf-8''{quote(stored.filename, safe='')}"
