"""Files: uploading, downloading with ranges, and what browsers must not do with them.

Client-server API, "Content repository". Only the authenticated downloads are offered; the old ones are frozen.
"""

import re
from urllib.parse import quote

from relay.base.errors import InvalidInputError, NotFoundError
from relay.base.ids import MediaId, ServerName, parse_server_name
from relay.base.limits import MAX_MEDIA_BYTES, UPLOAD_WAIT_S
from relay.client_api.door import Door, Reply, grows
from relay.client_api.fields import int_argument
from relay.delivery.media import Media, StoredMedia
from relay.household.sessions import Session
from relay.transport.message import Request, Response
from relay.transport.ranges import UnsatisfiableRangeError, parse_range, render_content_range

_MEDIA_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}(\s*;[\x20-\x7e]{0,200})?")
DEFAULT_TYPE = "application/octet-stream"
# "Serving inline content": what a browser cannot be made to run.
_INLINE = frozenset(
    {
        *("text/css", "text/plain", "text/csv", "application/json", "application/ld+json"),
        *("image/jpeg", "image/gif", "image/png", "image/apng", "image/webp", "image/avif"),
        *("video/mp4", "video/webm", "video/ogg", "video/quicktime"),
        *("audio/mp4", "audio/webm", "audio/aac", "audio/mpeg", "audio/ogg", "audio/wave", "audio/wav"),
        *("audio/x-wav", "audio/x-pn-wav", "audio/flac", "audio/x-flac"),
    }
)
_SMALL_IMAGES = frozenset({"image/jpeg", "image/png", "image/webp"})
_MOVING_IMAGES = frozenset({"image/gif", "image/apng"})
_SAFETY = (
    (
        "Content-Security-Policy",
        "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; "
        "style-src 'unsafe-inline'; object-src 'self';",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "cross-origin"),
    ("Cache-Control", "private, max-age=86400, immutable"),
    ("Accept-Ranges", "bytes"),
)


class CannotThumbnailError(InvalidInputError):
    """This file has no smaller form (status 400, `M_UNKNOWN`)."""

    code = "media.cannot_thumbnail"


class MediaDoor:
    """The endpoints."""

    def __init__(self, media: Media, server: ServerName) -> None:
        self._media = media
        self._server = server

    async def upload(self, session: Session, request: Request) -> Reply:
        """`POST /media/v3/upload`."""
        media_id = await self._upload(session, request, None)
        return {"content_uri": f"mxc://{self._server}/{media_id}"}

    async def upload_created(self, session: Session, request: Request) -> Reply:
        """`PUT /media/v3/upload/{serverName}/{mediaId}`: the bytes of what `create` announced."""
        server, media_id = _place(request)
        if server != self._server:
            raise NotFoundError("this media id is another server's")
        await self._upload(session, request, media_id)
        return None

    async def create(self, session: Session, _request: Request) -> Reply:
        """`POST /media/v1/create`."""
        media_id, unused_expires_at = await self._media.create(session.user)
        return {"content_uri": f"mxc://{self._server}/{media_id}", "unused_expires_at": unused_expires_at}

    async def _upload(self, session: Session, request: Request, media_id: MediaId | None) -> MediaId:
        content_type = _safe_type(request.headers.get("Content-Type"))
        filename = request.argument("filename") or None
        chunks = request.stream(MAX_MEDIA_BYTES)
        return await self._media.upload(session.user, chunks, content_type, filename, media_id)

    async def config(self, _session: Session, _request: Request) -> Reply:
        """`GET /v1/media/config`."""
        return {"m.upload.size": MAX_MEDIA_BYTES}

    async def download(self, _session: Session, request: Request) -> Reply:
        """`GET /v1/media/download/{serverName}/{mediaId}`, with `/{fileName}` too."""
        stored = await self._find(request)
        return self._serve(request, stored, request.params.get("fileName") or stored.filename)

    async def thumbnail(self, _session: Session, request: Request) -> Reply:
        """`GET /v1/media/thumbnail/{serverName}/{mediaId}`.

        Images are not scaled here: the picture itself is larger than what is asked for, which a thumbnail may be.
        """
        for side in ("width", "height"):
            if not int_argument(request, side, default=0):
                raise InvalidInputError(f"{side} is missing")
        stored = await self._find(request)
        kind = _bare(stored.content_type)
        moving = kind in _MOVING_IMAGES and request.argument("animated") == "true"
        if kind not in _SMALL_IMAGES and not moving:
            raise CannotThumbnailError("there is no thumbnail of this file")
        return self._serve(request, stored, None)

    async def _find(self, request: Request) -> StoredMedia:
        server, media_id = _place(request)
        wait_ms = int_argument(request, "timeout_ms", default=int(UPLOAD_WAIT_S * 1000), most=120_000)
        return await self._media.find(server, media_id, wait_ms / 1000)

    def _serve(self, request: Request, stored: StoredMedia, filename: str | None) -> Response:
        size_bytes = stored.file.size_bytes
        # Other servers' words about their files are anybody's.
        content_type = _safe_type(stored.content_type)
        headers = [
            ("Content-Type", content_type),
            ("Content-Disposition", _disposition(content_type, filename)),
            *_SAFETY,
        ]
        try:
            part = parse_range(request.headers.get("Range"), size_bytes)
        except UnsatisfiableRangeError:
            return Response(416, [("Content-Range", f"bytes */{size_bytes}")])
        if part is None:
            return Response(200, headers, self._media.read(stored.file), size_bytes)
        start, end = part
        headers.append(("Content-Range", render_content_range(start, end, size_bytes)))
        return Response(206, headers, self._media.read(stored.file, start, end), end - start)


def register(door: Door, media: MediaDoor) -> None:
    """Hang the endpoints."""
    door.private("POST", "/_matrix/media/v3/upload", media.upload, grows=grows)
    door.private("PUT", "/_matrix/media/v3/upload/{serverName}/{mediaId}", media.upload_created, grows=grows)
    door.private("POST", "/_matrix/media/v1/create", media.create, grows=grows)
    door.private("GET", "/_matrix/media/v3/config", media.config)
    door.private("GET", "/_matrix/client/v1/media/config", media.config)
    place = "{serverName}/{mediaId}"
    door.private("GET", f"/_matrix/client/v1/media/download/{place}", media.download)
    door.private("GET", f"/_matrix/client/v1/media/download/{place}/{{fileName}}", media.download)
    door.private("GET", f"/_matrix/client/v1/media/thumbnail/{place}", media.thumbnail)
    for frozen in (f"download/{place}", f"download/{place}/{{fileName}}", f"thumbnail/{place}"):
        door.public("GET", f"/_matrix/media/v3/{frozen}", _frozen)


async def _frozen(_request: Request) -> Reply:
    raise NotFoundError("files are given to those who log in only")


def _place(request: Request) -> tuple[ServerName, MediaId]:
    server, media_id = parse_server_name(request.params["serverName"]), request.params["mediaId"]
    if not _MEDIA_ID.fullmatch(media_id):
        raise NotFoundError("this is not a media id")
    return server, MediaId(media_id)


def _safe_type(said: str | None) -> str:
    return said if said and _TYPE.fullmatch(said) else DEFAULT_TYPE


def _bare(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _disposition(content_type: str, filename: str | None) -> str:
    """Return the `Content-Disposition` of RFC 6266; a name outside ASCII goes into `filename*`."""
    kind = "inline" if _bare(content_type) in _INLINE else "attachment"
    if not filename:
        return kind
    if filename.isascii() and filename.isprintable() and '"' not in filename and "\\" not in filename:
        return f'{kind}; filename="{filename}"'
    return f"{kind}; filename*=utf-8''{quote(filename.encode('utf-8', 'replace'), safe='')}"
