from typing import Any

import pytest

from relay.base.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from relay.base.ids import EventId, RoomAlias, RoomId
from relay.core.matrix.room_versions import UnsupportedRoomVersionError
from relay.rooms.matrix import aliases
from relay.rooms.matrix.deciding.writer import RoomPlan
from relay.rooms.matrix.storage import departures, graph, members, state
from relay.store.ledger import Change
from tests.fakes.boxes import Town


@pytest.mark.parametrize("version", ["10", "11", "12"])
async def test_a_new_room_is_there_with_everything_in_its_plan(version: str) -> None:
    async with Town().box("a.example") as box:
        anna = box.user("anna")
        plan = RoomPlan(
            version=version,
            creation={"type": "m.space", "m.federate": False},
            member={"displayname": "Anna"},
            alias=RoomAlias("#home:a.example"),
            published=True,
        )
        room = await box.writer.create(anna, plan)
        info = await box.ledger.read(graph.room, room)
        assert info is not None
        assert (info.version.id, info.creator, info.encrypted) == (version, anna, False)
        assert (":" in room) is (version != "12")
        assert await box.ledger.read(aliases.resolve, RoomAlias("#home:a.example")) == room
        assert await box.ledger.read(aliases.of_room, room) == ["#home:a.example"]
        assert await box.ledger.read(aliases.published) == [room]
        member = await box.ledger.read(state.current_event, room, "m.room.member", anna)
        assert member is not None
        assert member.content == {"displayname": "Anna", "membership": "join"}
        with pytest.raises(ConflictError):
            await box.writer.create(anna, plan)
        assert await box.ledger.read(graph.rooms) == [room]


async def test_an_unknown_version_makes_no_room() -> None:
    async with Town().box("a.example") as box:
        with pytest.raises(UnsupportedRoomVersionError):
            await box.writer.create(box.user("anna"), RoomPlan(version="99"))


async def test_a_state_event_that_says_what_is_said_already_makes_no_new_event() -> None:
    async with Town().box("a.example") as box:
        room, anna = await box.create(box.user("anna")), box.user("anna")
        first = await box.writer.send(room, anna, "m.room.name", {"name": "x"}, state_key="")
        assert await box.writer.send(room, anna, "m.room.name", {"name": "x"}, state_key="") == first
        assert await box.writer.send(room, anna, "m.room.name", {"name": "y"}, state_key="") != first


async def test_what_is_written_along_and_the_event_are_one_change() -> None:
    async with Town().box("a.example") as box:
        room, anna = await box.create(box.user("anna")), box.user("anna")
        tips = await box.tips(room)

        def refuse(_change: Change, _event_id: EventId) -> None:
            raise ConflictError("no")

        with pytest.raises(ConflictError):
            await box.writer.send(room, anna, "m.room.message", {"body": "x"}, extra=refuse)
        assert await box.tips(room) == tips


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ({"number": 1.5}, InvalidInputError),
        ({"number": 2**60}, InvalidInputError),
        ({"body": "x" * 70_000}, InvalidInputError),
    ],
)
async def test_what_cannot_be_an_event_is_refused(content: dict[str, Any], error: type[Exception]) -> None:
    async with Town().box("a.example") as box:
        room = await box.create(box.user("anna"))
        with pytest.raises(error):
            await box.writer.send(room, box.user("anna"), "m.room.message", content)
        await box.say(room, box.user("anna"), "still works")


async def test_strangers_and_unknown_rooms_are_refused() -> None:
    async with Town().box("a.example") as box:
        room = await box.create(box.user("anna"))
        with pytest.raises(ForbiddenError):
            await box.say(room, box.user("bert"), "x")
        with pytest.raises(NotFoundError):
            await box.say(RoomId("!none:a.example"), box.user("anna"), "x")


async def test_redacting_other_peoples_events_needs_the_power_level_also_on_the_same_server() -> None:
    async with Town().box("a.example") as box:
        room, anna, bert = await box.create(box.user("anna")), box.user("anna"), box.user("bert")
        await box.joining.join(bert, room)
        said, own = await box.say(room, anna, "anna's"), await box.say(room, bert, "bert's")
        with pytest.raises(ForbiddenError):
            await box.writer.send(room, bert, "m.room.redaction", {}, redacts=said)
        await box.writer.send(room, bert, "m.room.redaction", {}, redacts=own)
        with pytest.raises(NotFoundError):
            await box.writer.send(room, bert, "m.room.redaction", {}, redacts=EventId("$" + "n" * 43))
        assert await box.bodies(room) == ["anna's", "None"]


async def test_who_is_where_is_told_in_every_form() -> None:
    async with Town().box("a.example") as box:
        anna, bert, carl = box.user("anna"), box.user("bert"), box.user("carl")
        room = await box.create(anna)
        position = box.ledger.position
        await box.joining.join(bert, room)
        await box.inviting.invite(anna, room, carl)
        read = box.ledger.read
        assert await read(members.counts, room) == (2, 1)
        assert await read(members.members, room, "join") == [(anna, "join"), (bert, "join")]
        assert await read(members.heroes, room, anna) == [bert, carl]
        assert await read(members.share_room, anna, bert)
        assert not await read(members.share_room, anna, carl)
        assert await read(members.users_sharing_room, bert) == {anna, bert}
        assert await read(members.joined_rooms, bert) == [room]
        changes = await read(members.membership_changes_since, position)
        assert [(one.user, one.previous, one.membership) for one in changes] == [
            (bert, "", "join"),
            (carl, "", "invite"),
        ]
        assert set(await read(members.rooms_changed_since, carl, position)) == {room}
        assert await read(members.rooms_changed_since, carl, box.ledger.position) == {}
        await box.leaving.leave(carl, room)
        assert await read(members.membership, room, carl) == "leave"


async def test_nothing_leaves_while_nobody_elsewhere_is_in_the_room() -> None:
    async with Town().box("a.example") as box:
        room = await box.create(box.user("anna"))
        await box.say(room, box.user("anna"), "alone")
        assert await box.ledger.read(departures.newest) == 0
