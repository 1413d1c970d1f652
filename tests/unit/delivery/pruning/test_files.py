"""Files that nothing refers to go; everything else stays."""

from typing import Any

import pytest
import trio

from relay.base.config import RetentionConfig
from relay.base.ids import ServerName
from relay.delivery import media
from relay.delivery.pruning.files import FilePruner, Freed
from relay.delivery.pruning.marks import DAY_MS
from tests.fakes.family import SERVER, App, Family, at, open_family

OPAQUE = "application/octet-stream"


async def upload(app: App, kind: str = "image/png", size_bytes: int = 100) -> str:
    answer = await app.ask("POST", "/_matrix/media/v3/upload", raw=b"x" * size_bytes, headers={"content-type": kind})
    return str(answer.parsed()["content_uri"])


async def show(app: App, room: str, uri: str) -> str:
    content = {"msgtype": "m.image", "body": "picture", "url": uri}
    app.family.said += 1
    path = at(room, f"/send/m.room.message/file{app.family.said}")
    return str((await app.put(path, content))["event_id"])


async def fetched(app: App, uri: str) -> bool:
    return (await app.ask("GET", f"/_matrix/client/v1/media/download/{uri.removeprefix('mxc://')}")).status == 200


async def prune(family: Family, later_days: int, **settings: Any) -> Freed:
    pruner = FilePruner(family.ledger, family.media_files, RetentionConfig(**settings), SERVER)
    now_ms = family.parts.clock.wall_ms() + later_days * DAY_MS
    return await pruner.prune(trio.lowlevel.checkpoint, now_ms)


async def test_what_was_never_sent_goes_after_a_week() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        room = await ann.create_room()
        shown, forgotten = await upload(ann), await upload(ann)
        await show(ann, room, shown)
        assert await prune(family, 6) == Freed()
        assert await prune(family, 8) == Freed(1, 100)
        assert await fetched(ann, shown)
        assert not await fetched(ann, forgotten)
        assert family.media_files.used_bytes < 300


async def test_pictures_of_people_and_rooms_and_stickers_stay() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        room = await ann.create_room()
        face, door, sticker = await upload(ann), await upload(ann), await upload(ann)
        await ann.put(f"/profile/{ann.user}/avatar_url", {"avatar_url": face})
        await ann.put(at(room, "/state/m.room.avatar"), {"url": door})
        await ann.put(f"/user/{ann.user}/account_data/im.stickers", {"images": {"x": {"url": sticker}}})
        assert await prune(family, 30) == Freed()
        assert all([await fetched(ann, uri) for uri in (face, door, sticker)])


async def test_a_redacted_picture_goes() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        room = await ann.create_room()
        event_id = await show(ann, room, await upload(ann))
        assert await prune(family, 30) == Freed()
        await ann.put(at(room, f"/redact/{event_id}/r1"), {})
        assert await prune(family, 30) == Freed(1, 100)


@pytest.mark.parametrize(
    ("days", "settings", "goes"),
    [
        (3_000, {}, False),
        (20, {"days": 30}, False),
        (40, {"days": 30}, True),
    ],
)
async def test_what_may_be_encrypted_goes_only_where_every_message_does(
    days: int, settings: dict[str, int], goes: bool
) -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        await ann.create_room()
        await upload(ann, OPAQUE)
        assert (await prune(family, days, **settings)).files == goes


async def test_a_room_that_keeps_everything_longer_keeps_encrypted_files_longer() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        room = await ann.create_room()
        await ann.put(at(room, "/state/m.room.retention"), {"max_lifetime": 100 * DAY_MS})
        await upload(ann, OPAQUE)
        assert await prune(family, 40, days=30) == Freed()
        assert (await prune(family, 101, days=30)).files == 1


async def test_what_somebody_looks_at_is_not_idle() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        uri = await upload(ann)
        family.parts.clock.now_ms += 8 * DAY_MS  # type: ignore[attr-defined]
        assert await fetched(ann, uri)
        assert await prune(family, 5) == Freed()
        assert (await prune(family, 9)).files == 1


async def test_status_counts_them() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        await upload(ann)
        far = ServerName("far.test")
        family.far.files[far, "abc"] = ("image/png", None, b"y" * 50)
        assert await fetched(ann, "mxc://far.test/abc")
        assert await family.ledger.read(media.stock, SERVER) == media.Stock(1, 100, 1, 50)
