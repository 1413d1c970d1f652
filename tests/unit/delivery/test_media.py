"""Files kept and let go, without the door."""

import contextlib
from collections.abc import AsyncIterator

import pytest
import trio

from relay.base.errors import NotFoundError, RelayError, UnreachableError
from relay.base.ids import MediaId, ServerName, UserId
from relay.base.limits import MAX_MEDIA_BYTES
from relay.delivery.media import TABLES, CannotOverwriteError, Media, RemoteFile, known_file_ids
from relay.store.ledger import Ledger
from relay.store.media_files import MediaFiles
from relay.transport.message import Pieces
from tests.fakes.bounds import admission
from tests.fakes.clock import FakeClock
from tests.fakes.family import FarMedia
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import FOLDER, InlineWorkers, memory_ledger

HERE, FAR, ANN = ServerName("box.test"), ServerName("far.test"), UserId("@ann:box.test")


class Shelf:
    def __init__(self, ledger: Ledger, files: MediaFiles, far: FarMedia, media: Media) -> None:
        self.ledger, self.files, self.far, self.media = ledger, files, far, media


@contextlib.asynccontextmanager
async def shelf(quota_bytes: int = 10 * MAX_MEDIA_BYTES) -> AsyncIterator[Shelf]:
    kept = MemoryFiles()
    async with memory_ledger(TABLES, files=kept) as ledger:
        files = MediaFiles(FOLDER / "media", quota_bytes=quota_bytes, files=kept, workers=InlineWorkers())
        far = FarMedia()
        yield Shelf(
            ledger,
            files,
            far,
            Media(
                ledger,
                files,
                far,
                FakeClock(),
                HERE,
                quota_bytes=quota_bytes,
                user_quota_bytes=quota_bytes,
                admission=admission(),
            ),
        )
    kept.unregister()


async def test_files_of_other_servers_make_room_for_newer_ones_and_can_be_had_again() -> None:
    async with shelf(MAX_MEDIA_BYTES + 2500) as there:
        own = await there.media.upload(ANN, Pieces(b"o" * 100), "text/plain", None)
        for name in ("a", "b", "c", "d"):
            there.far.files[FAR, name] = (None, None, name.encode() * 1000)
            await there.media.find(FAR, MediaId(name))
        assert there.far.asked == 4
        await there.media.find(FAR, MediaId("d"))
        assert there.far.asked == 4
        await there.media.find(FAR, MediaId("a"))
        assert there.far.asked == 5
        assert (await there.media.find(HERE, own)).content_type == "text/plain"


async def test_of_two_who_upload_the_same_announced_file_one_wins_and_nothing_else_stays() -> None:
    async with shelf() as there:
        media_id, _ = await there.media.create(ANN)
        refused: list[RelayError] = []

        async def upload(data: bytes) -> None:
            try:
                await there.media.upload(ANN, Pieces(data), "text/plain", None, media_id)
            except CannotOverwriteError as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(upload, b"1" * 5000)
            nursery.start_soon(upload, b"2" * 5000)
        assert len(refused) == 1
        assert len(await there.ledger.read(known_file_ids)) == 1
        assert there.files.used_bytes < 8000


async def test_a_fetch_that_breaks_off_leaves_nothing_and_can_be_tried_again() -> None:
    class Breaking(FarMedia):
        @contextlib.asynccontextmanager
        async def fetch(self, server: ServerName, media_id: MediaId) -> AsyncIterator[RemoteFile]:
            async def broken() -> AsyncIterator[bytes]:
                yield b"half"
                raise UnreachableError("the line went dead")

            yield RemoteFile(None, None, broken())

    async with shelf() as there:
        broken = Media(
            there.ledger,
            there.files,
            Breaking(),
            FakeClock(),
            HERE,
            quota_bytes=10 * MAX_MEDIA_BYTES,
            user_quota_bytes=10 * MAX_MEDIA_BYTES,
            admission=admission(),
        )
        for _ in range(2):
            with pytest.raises(UnreachableError):
                await broken.find(FAR, MediaId("a"))
        assert there.files.used_bytes == 0
        assert await there.ledger.read(known_file_ids) == []


async def test_a_file_nobody_announced_is_not_found() -> None:
    async with shelf() as there:
        with pytest.raises(NotFoundError):
            await there.media.find(HERE, MediaId("none"))
