"""Which files events speak of."""

from relay.rooms.matrix.storage import mentions
from tests.fakes.boxes import Town


async def test_files_of_a_server_are_found_wherever_they_stand_in_an_event() -> None:
    async with Town().box("box.test") as box:
        anna = box.user("anna")
        room = await box.create(anna)
        await box.say(room, anna, "no file")
        content = {"url": "mxc://box.test/one_-1", "info": {"thumbnail_url": "mxc://box.test/two"}}
        await box.writer.send(room, anna, "m.room.message", content | {"body": "not mxc://boxxtest/three"})
        await box.writer.send(room, anna, "m.room.avatar", {"url": "mxc://far.test/four"}, state_key="")

        wanted = mentions.pattern("box.test")
        found = await box.ledger.read(mentions.mentioned, wanted, 0)
        assert found is not None
        assert found[1] == {"one_-1", "two"}
        assert await box.ledger.read(mentions.mentioned, wanted, found[0]) is None
