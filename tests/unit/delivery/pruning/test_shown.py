"""What status shows of the past."""

from relay.base.ids import RoomId
from relay.delivery.pruning.shown import shown
from relay.rooms.matrix.storage import pruning
from tests.fakes.family import SERVER, open_family


async def test_what_went_and_what_files_there_are_is_counted() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        room = RoomId(await ann.create_room())
        for number in range(5):
            await ann.say(room, f"{number}")
        await ann.ask("POST", "/_matrix/media/v3/upload", raw=b"x" * 100, headers={"content-type": "image/png"})
        gone = await family.ledger.run(pruning.prune, room, 1 << 62, lambda _index, _stored: True, SERVER)

        found = await family.ledger.read(shown, SERVER)

        assert found["let_go"] == {"rooms": 1, "events": gone.events}
        assert found["file_stock"] == {"own": 1, "own_bytes": 100, "others": 0, "others_bytes": 0}
