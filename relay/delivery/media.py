"""Files that people send: received, kept sealed, and handed out again in ranges; other servers' files fetched once.

Client-server API, "Content repository". Bytes are never whole in memory; a file counts only from the change on that
holds its key.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

import trio

from relay.base.clock import Clock, was_set
from relay.base.errors import (
    ConflictError,
    Fault,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    RelayError,
    TooLargeError,
)
from relay.base.ids import MediaId, ServerName, UserId
from relay.base.limits import MAX_MEDIA_BYTES, MAX_PENDING_UPLOADS_PER_USER, UPLOAD_WAIT_S
from relay.delivery import file_use
from relay.delivery.bounds.admission import Admission, FileQuotaError, LimitReachedError
from relay.delivery.bounds.levels import Level
from relay.delivery.clock_trust import ClockTrust
from relay.delivery.file_use import FileUse
from relay.store.ledger import Change, Index, Ledger
from relay.store.media_files import MediaFiles, SealedFile
from relay.store.tables import Operation, Tables

PENDING_MS = 24 * 3600 * 1000
"""How long a media id made by `create` waits for its bytes."""
FULL_STEP = "raise store.media_quota_mib, or use a larger card"

MEDIA_KEPT = ("media-kept",)
"""The topic that rings whenever some file is complete."""

_RESERVE = Operation(620, "INSERT INTO media (server, media_id, uploader, at_ms) VALUES (?, ?, ?, ?)")
_KEEP = Operation(
    621,
    "INSERT INTO media (server, media_id, uploader, at_ms, file_id, key, size_bytes, sha256, content_type, filename)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (server, media_id) DO UPDATE SET file_id = excluded.file_id,"
    " key = excluded.key, size_bytes = excluded.size_bytes, sha256 = excluded.sha256,"
    " content_type = excluded.content_type, filename = excluded.filename",
)
_FORGET = Operation(622, "DELETE FROM media WHERE server = ? AND media_id = ?")
_EXPIRE = Operation(623, "DELETE FROM media WHERE file_id IS NULL AND at_ms < ?", lazy=True, patient=True)
_OPAQUE = "application/octet-stream"
# A file used some time on a day counts as used until the end of it.
_LEAST_USED = (
    "SELECT server, media_id, file_id FROM media LEFT JOIN media_seen USING (server, media_id)"
    " WHERE server <> ? AND file_id IS NOT NULL"
    " ORDER BY max(at_ms, coalesce((day + 1) * 86400000, 0)), server, media_id LIMIT 1"
)
_IDLE = (
    "SELECT media_id, file_id, size_bytes, content_type, at_ms FROM media LEFT JOIN media_seen USING (server, media_id)"
    " WHERE server = ? AND file_id IS NOT NULL AND max(at_ms, coalesce((day + 1) * 86400000, 0)) < ?"
    " ORDER BY media_id"
)

TABLES = Tables(
    name="media",
    ddl=(
        "CREATE TABLE IF NOT EXISTS media (server INTEGER NOT NULL, media_id TEXT NOT NULL, uploader INTEGER,"
        " at_ms INTEGER NOT NULL, file_id TEXT, key BLOB, size_bytes INTEGER NOT NULL DEFAULT 0, sha256 BLOB,"
        " content_type TEXT, filename TEXT, PRIMARY KEY (server, media_id)) WITHOUT ROWID",
        # Holds all that adding up one person's files reads: some 10 bytes a file.
        "CREATE INDEX IF NOT EXISTS media_by_uploader ON media (uploader, size_bytes) WHERE uploader IS NOT NULL",
        *file_use.DDL,
    ),
    operations=(_RESERVE, _KEEP, _FORGET, _EXPIRE, *file_use.OPERATIONS),
)


class NotYetUploadedError(RelayError):
    """The media id exists and its bytes have not come yet (`M_NOT_YET_UPLOADED`)."""

    code = "media.not_yet_uploaded"
    fault = Fault.USER
    retryable = True


class RemoteTooLargeError(TooLargeError):
    """Another server's file is larger than what is kept here (status 502, `M_TOO_LARGE`)."""

    code = "media.remote_too_large"


class CannotOverwriteError(ConflictError):
    """The media id already has its bytes (`M_CANNOT_OVERWRITE_MEDIA`)."""

    code = "media.cannot_overwrite"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as another server sends it: its own words about type and name, and its bytes as they come."""

    content_type: str | None
    filename: str | None
    chunks: AsyncIterator[bytes]


class RemoteMedia(Protocol):
    """Fetches a file from the server that has it (server-server API, "Content repository")."""

    def fetch(self, server: ServerName, media_id: MediaId) -> AbstractAsyncContextManager[RemoteFile]:
        """Open the file.

        Raises:
            NotFoundError: the server has no such file.
            UnreachableError: it does not answer.
            PeerRefusedError: it refuses.
        """
        ...


@dataclass(frozen=True, slots=True)
class StoredMedia:
    """A file here, and what its uploader said about it."""

    file: SealedFile
    content_type: str
    filename: str | None


class Media:
    """All files of this box, its own and those it fetched."""

    def __init__(
        self,
        ledger: Ledger,
        files: MediaFiles,
        remote: RemoteMedia,
        clock: Clock,
        server: ServerName,
        *,
        quota_bytes: int,
        user_quota_bytes: int,
        admission: Admission,
    ) -> None:
        self._ledger = ledger
        self._files = files
        self._remote = remote
        self._clock = clock
        self._server = server
        self._quota_bytes = quota_bytes
        self._user_quota_bytes = user_quota_bytes
        self._admission = admission
        self._use = FileUse(ledger, clock)
        self._trust = ClockTrust()
        self._fetching: dict[tuple[ServerName, MediaId], trio.Event] = {}

    async def create(self, user: UserId) -> tuple[MediaId, int]:
        """Return a media id whose bytes come later, and the time in ms at which it is given up.

        Raises:
            RateLimitedError: the user has too many of those.
        """
        now_ms = self._clock.wall_ms()
        media_id = _new_id()
        given_up_ms = now_ms - PENDING_MS if self._trust.holds(None, now_ms) else 0
        await self._ledger.run(_reserve, self._server, media_id, user, now_ms, given_up_ms=given_up_ms)
        return media_id, now_ms + PENDING_MS

    async def upload(
        self,
        user: UserId,
        chunks: AsyncIterator[bytes],
        content_type: str,
        filename: str | None,
        media_id: MediaId | None = None,
    ) -> MediaId:
        """Keep what `chunks` brings, under `media_id` if `create` made one; it is on flash when this returns.

        Raises:
            TooLargeError: it is more than `MAX_MEDIA_BYTES`.
            ForbiddenError: the media id is another user's.
            NotFoundError: `create` made no such media id, or it was given up.
            CannotOverwriteError: it has its bytes already.
            FileQuotaError: the user has as many files as one may have.
            SlowDownError, LimitReachedError: the box has, or nearly; other servers' files made room first.
        """
        if media_id is not None:
            await self._ledger.read(_check_reserved, self._server, media_id, user)
        file = await self._receive(chunks, await self._admit(user))
        kept = media_id or _new_id()

        def keep(change: Change, now_ms: int) -> None:
            if media_id is not None:
                _check_reserved(change, self._server, media_id, user)
            _put(change, (self._server, kept), user, now_ms, StoredMedia(file, content_type, filename))

        await self._keep(keep, file)
        return kept

    async def find(self, server: ServerName, media_id: MediaId, wait_s: float = UPLOAD_WAIT_S) -> StoredMedia:
        """Return a file of any server, fetched first if it is not here; `wait_s` bounds waiting for its upload.

        Raises:
            NotFoundError: there is no such file.
            NotYetUploadedError: its bytes did not come within `wait_s`.
            RemoteTooLargeError: it is more than `MAX_MEDIA_BYTES`.
            UnreachableError, PeerRefusedError: as `RemoteMedia.fetch`.
        """
        if server == self._server:
            return await self._find_local(media_id, wait_s)
        while True:
            try:
                found = await self._ledger.read(_find, server, media_id)
            except NotFoundError:
                found = None
            if found is not None:
                await self._use.note(server, media_id)
                return found
            under_way = self._fetching.get((server, media_id))
            if under_way is None:
                return await self._fetch(server, media_id)
            await under_way.wait()

    async def find_local(self, media_id: MediaId, wait_s: float = UPLOAD_WAIT_S) -> StoredMedia:
        """Return a file of this server, for another server; as `find`."""
        return await self._find_local(media_id, wait_s)

    def read(self, file: SealedFile, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Return bytes `start` up to `end` (exclusive) of `file` in pieces."""
        return self._files.read(file, start, end)

    async def delete(self, file_id: str) -> None:
        """Delete a file whose row is gone."""
        await self._files.delete(file_id)

    async def _find_local(self, media_id: MediaId, wait_s: float) -> StoredMedia:
        with self._ledger.watch(("media", media_id)) as watch, trio.move_on_after(wait_s):
            while True:
                found = await self._ledger.read(_find, self._server, media_id)
                if found is not None:
                    await self._use.note(self._server, media_id)
                    return found
                await watch.wait()
        raise NotYetUploadedError("this file has not been uploaded yet")

    async def _fetch(self, server: ServerName, media_id: MediaId) -> StoredMedia:
        done = self._fetching[server, media_id] = trio.Event()
        try:
            await self._make_room()
            async with self._remote.fetch(server, media_id) as remote:
                try:
                    file = await self._receive(remote.chunks, MAX_MEDIA_BYTES)
                except TooLargeError as error:
                    raise RemoteTooLargeError(str(error)) from None
                media = StoredMedia(file, remote.content_type or "application/octet-stream", remote.filename)
            await self._keep(lambda change, now_ms: _put(change, (server, media_id), None, now_ms, media), file)
        finally:
            del self._fetching[server, media_id]
            done.set()
        return media

    async def _admit(self, user: UserId) -> int:
        """Return how large a file of `user` may be now."""
        own_bytes = await self._ledger.read(held_bytes, user)
        while self.level().pressure >= 1.0 and await self._forget_one():
            pass
        own = Level("files of one person", own_bytes, self._user_quota_bytes)
        self._admission.take_file(user, own, self.level())
        return self._user_quota_bytes - own_bytes

    def level(self) -> Level:
        """Return how full the quota of the whole box is."""
        return Level("files", self._files.used_bytes, self._quota_bytes, FULL_STEP)

    async def _receive(self, chunks: AsyncIterator[bytes], most_bytes: int) -> SealedFile:
        async with self._files.receive(MAX_MEDIA_BYTES) as writer:
            size_bytes = 0
            async for chunk in chunks:
                size_bytes += len(chunk)
                if size_bytes > MAX_MEDIA_BYTES:
                    raise TooLargeError(f"a file may have {MAX_MEDIA_BYTES} bytes")
                if size_bytes > most_bytes:
                    raise FileQuotaError("this file is larger than what is left for yours")
                await writer.write(chunk)
            return await writer.keep()

    async def _make_room(self) -> None:
        """Let go of other servers' files, oldest first, until a large one fits: they can be had again."""
        while self._files.used_bytes + MAX_MEDIA_BYTES > self._quota_bytes and await self._forget_one():
            pass
        if not self._admission.growing_is_welcome and not await self._forget_one():
            raise LimitReachedError("this box has no room for another server's file")

    async def _forget_one(self) -> bool:
        file_id = await self._ledger.run(_forget_oldest, self._server)
        if file_id is not None:
            await self._files.delete(file_id)
        return file_id is not None

    async def _keep(self, step: Callable[[Change, int], None], file: SealedFile) -> None:
        try:
            await self._ledger.run(step, self._clock.wall_ms())
        except RelayError:
            await self._files.delete(file.file_id)
            raise


def known_file_ids(index: Index) -> list[str]:
    """Return the ids of all files that have a row; the others on disk are remains of uploads cut short."""
    return [row[0] for row in index.rows("SELECT file_id FROM media WHERE file_id IS NOT NULL")]


def held_bytes(index: Index, user: UserId) -> int:
    """Return what the files of one person take."""
    return int(
        index.value(
            "SELECT coalesce(sum(size_bytes), 0) FROM media WHERE uploader = ? AND uploader IS NOT NULL",
            index.find(user),
        )
    )


def all_bytes(index: Index) -> int:
    """Return what all files take, those of other servers included; reads every row."""
    return int(index.value("SELECT coalesce(sum(size_bytes), 0) FROM media"))


def _new_id() -> MediaId:
    return MediaId(secrets.token_urlsafe(18))


def _reserve(
    change: Change, server: ServerName, media_id: MediaId, user: UserId, now_ms: int, *, given_up_ms: int
) -> None:
    change.write(_EXPIRE, given_up_ms)
    uploader = change.intern(user)
    waiting = change.value("SELECT count(*) FROM media WHERE file_id IS NULL AND uploader = ?", uploader)
    if waiting >= MAX_PENDING_UPLOADS_PER_USER:
        raise RateLimitedError("upload what was announced first", retry_after_s=60)
    change.write(_RESERVE, change.intern(server), media_id, uploader, now_ms)


def _check_reserved(index: Index, server: ServerName, media_id: MediaId, user: UserId) -> None:
    row = index.row(
        "SELECT file_id, uploader FROM media WHERE server = ? AND media_id = ?", index.find(server), media_id
    )
    if row is None:
        raise NotFoundError("there is no such media id")
    if row[1] != index.find(user):
        raise ForbiddenError("this media id is another user's")
    if row[0] is not None:
        raise CannotOverwriteError("this media id has its bytes already")


def _put(
    change: Change, place: tuple[ServerName, MediaId], uploader: UserId | None, now_ms: int, media: StoredMedia
) -> None:
    change.write(
        _KEEP,
        change.intern(place[0]),
        place[1],
        None if uploader is None else change.intern(uploader),
        now_ms,
        media.file.file_id,
        media.file.key,
        media.file.size_bytes,
        media.file.sha256,
        media.content_type,
        media.filename,
    )
    change.wake(("media", place[1]), MEDIA_KEPT)


def _find(index: Index, server: ServerName, media_id: MediaId) -> StoredMedia | None:
    row = index.row(
        "SELECT file_id, key, size_bytes, sha256, content_type, filename FROM media WHERE server = ? AND media_id = ?",
        index.find(server),
        media_id,
    )
    if row is None:
        raise NotFoundError("there is no such file")
    return None if row[0] is None else StoredMedia(SealedFile(*row[:4]), row[4], row[5])


def _forget_oldest(change: Change, own: ServerName) -> str | None:
    row = change.row(_LEAST_USED, change.intern(own))
    if row is None:
        return None
    _forget(change, row[0], row[1])
    file_id: str = row[2]
    return file_id


def _forget(change: Change, server: int, media_id: MediaId) -> None:
    change.write(_FORGET, server, media_id)
    file_use.forget(change, server, media_id)


@dataclass(frozen=True, slots=True)
class Idle:
    """A file of ours that nobody asked for lately."""

    media_id: MediaId
    file_id: str
    size_bytes: int
    opaque: bool
    """Whether it may be encrypted: then no event says so in words that can be read."""


def idle(index: Index, own: ServerName, before_ms: int, known_from_ms: int) -> list[Idle]:
    """Return the files of this server that were neither sent nor asked for since `before_ms`.

    One that came while the clock was not set counts as one of the first day that is known, `known_from_ms`.
    """
    rows = index.rows(_IDLE, index.find(own), before_ms)
    return [
        Idle(MediaId(media_id), file_id, size_bytes, kind in (None, _OPAQUE))
        for media_id, file_id, size_bytes, kind, at_ms in rows
        if was_set(at_ms) or known_from_ms < before_ms
    ]


def drop_idle(change: Change, own: ServerName, gone: Iterable[Idle]) -> None:
    """Forget files of this server; the caller deletes them once that is durable."""
    number = change.intern(own)
    for file in gone:
        _forget(change, number, file.media_id)


@dataclass(frozen=True, slots=True)
class Stock:
    """How many files there are, and what they take, ours and others'."""

    own: int
    own_bytes: int
    others: int
    others_bytes: int


def stock(index: Index, own: ServerName) -> Stock:
    """Return what all files take; reads every row."""
    row = index.row(
        "SELECT count(*) FILTER (WHERE server = ?1), coalesce(sum(size_bytes) FILTER (WHERE server = ?1), 0),"
        " count(*) FILTER (WHERE server <> ?1), coalesce(sum(size_bytes) FILTER (WHERE server <> ?1), 0)"
        " FROM media WHERE file_id IS NOT NULL",
        index.find(own) or 0,
    )
    return Stock(*row) if row is not None else Stock(0, 0, 0, 0)
