"""When files were asked for."""

from relay.base.ids import MediaId, ServerName
from relay.delivery.file_use import DAY_MS, FileUse
from tests.fakes.family import Family, open_family

FAR = ServerName("far.test")


async def rows(family: Family) -> list[tuple[str, int]]:
    return await family.ledger.read(lambda index: index.rows("SELECT media_id, day FROM media_seen"))


async def test_the_first_look_of_a_day_is_noted() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        family.far.files[FAR, "abc"] = ("image/png", None, b"y" * 50)
        path = "/_matrix/client/v1/media/download/far.test/abc"
        await ann.ask("GET", path)
        clock = family.parts.clock
        use = FileUse(family.ledger, clock)
        await use.note(FAR, MediaId("abc"))
        (noted,) = await rows(family)
        before = family.ledger.position
        for _ in range(3):
            await use.note(FAR, MediaId("abc"))
        assert family.ledger.position == before
        clock.now_ms += DAY_MS  # type: ignore[attr-defined]
        await use.note(FAR, MediaId("abc"))
        assert await rows(family) == [("abc", noted[1] + 1)]


async def test_what_is_not_here_is_not_noted() -> None:
    async with open_family() as family:
        await FileUse(family.ledger, family.parts.clock).note(FAR, MediaId("none"))
        assert await rows(family) == []
