"""In, out, asked, shut out: memberships across two boxes."""

from typing import Any

import pytest

from relay.base.errors import ForbiddenError, InvalidInputError, NotFoundError, PeerRefusedError, UnreachableError
from relay.base.ids import EventId, RoomAlias, RoomId, ServerName
from relay.base.limits import INVITE_LIFE_S, MAX_INVITES_PER_ORIGIN
from relay.core.matrix.building import sign_raw
from relay.core.matrix.room_versions import room_version
from relay.rooms.matrix import aliases, timeline, visibility
from relay.rooms.matrix.deciding.drafting import Draft, held_room, lay_out
from relay.rooms.matrix.membership import invites
from relay.rooms.matrix.membership.join_commit import abandon_unfinished
from relay.rooms.matrix.storage import departures, graph, members
from relay.store.ledger import Index
from tests.fakes.boxes import Box, Town
from tests.fakes.files import MemoryFiles

VERSIONS = pytest.mark.parametrize("version", ["10", "12"])


async def _joined(here: Box, there: Box, version: str = "12", **options: str) -> RoomId:
    room = await here.create(here.user("anna"), version, **options)
    await there.joining.join(there.user("bert"), room, [here.name])
    await here.push()
    return room


@VERSIONS
async def test_leaving_and_coming_back_after_the_room_moved_on(version: str) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await _joined(here, there, version)
        anna, bert = here.user("anna"), there.user("bert")
        await there.say(room, bert, "bye")
        await there.leaving.leave(bert, room)
        await there.push()
        assert await here.membership(room, bert) == "leave"
        assert await here.ledger.read(members.joined_servers, room) == {here.name}
        await here.writer.send(room, anna, "m.room.name", {"name": "moved on"}, state_key="")
        await here.say(room, anna, "unheard")
        await here.push()
        assert await there.bodies(room) == ["bye"]
        await there.joining.join(bert, room, [here.name])
        assert await there.state(room) == await here.state(room)
        await here.say(room, anna, "welcome back")
        await here.push()
        assert await there.bodies(room) == ["bye", "welcome back"]
        page = await there.ledger.read(timeline.page, room, None, None, backwards=True, limit=50)
        assert page.gap is not None
        assert await there.backfiller.fill(room, page.gap.event_id, 50) > 0
        assert await there.bodies(room) == ["bye", "unheard", "welcome back"]


async def test_leaving_twice_is_no_error_and_a_room_that_was_left_can_be_forgotten() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await _joined(here, there)
        bert = there.user("bert")
        assert not await there.ledger.run(members.forget, bert, room)
        await there.leaving.leave(bert, room)
        await there.leaving.leave(bert, room)
        assert room in await there.ledger.read(members.rooms_of, bert)
        assert await there.ledger.run(members.forget, bert, room)
        assert await there.ledger.read(members.rooms_of, bert) == {}
        with pytest.raises(NotFoundError):
            await there.leaving.leave(there.user("dora"), room)


@VERSIONS
async def test_a_kick_and_a_ban_reach_the_server_that_they_take_out(version: str) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await _joined(here, there, version)
        anna, bert = here.user("anna"), there.user("bert")
        await here.set_membership(room, anna, bert, "leave")
        await here.push()
        assert await there.membership(room, bert) == "leave"
        await there.joining.join(bert, room, [here.name])
        await here.set_membership(room, anna, bert, "ban")
        await here.push()
        assert await there.membership(room, bert) == "ban"
        with pytest.raises(PeerRefusedError):
            await there.joining.join(bert, room, [here.name])
        assert await there.ledger.read(departures.since, here.name, 0, 50) == []


async def test_a_kick_by_the_other_side_takes_effect_here() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await _joined(here, there)
        anna, bert, carl = here.user("anna"), there.user("bert"), here.user("carl")
        await here.joining.join(carl, room)
        await here.writer.send(room, anna, "m.room.power_levels", {"users": {bert: 60}}, state_key="")
        await here.push()
        await there.set_membership(room, bert, carl, "leave")
        await there.push()
        assert await here.membership(room, carl) == "leave"
        with pytest.raises(ForbiddenError):
            await here.say(room, carl, "still here?")


@VERSIONS
async def test_an_invite_is_a_question_that_can_be_refused(version: str) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        anna, bert = here.user("anna"), there.user("bert")
        room = await here.create(anna, version, rule="invite")
        await here.writer.send(room, anna, "m.room.name", {"name": "question"}, state_key="")
        await here.inviting.invite(anna, room, bert)
        invite = await there.ledger.read(invites.get, bert, room)
        assert invite is not None
        shown = {event["type"]: event["content"] for event in invite.shown()}
        assert shown["m.room.name"] == {"name": "question"}
        assert invite.shown()[-1]["content"]["membership"] == "invite"
        assert (await there.ledger.read(members.rooms_of, bert))[room].membership == "invite"
        assert await there.ledger.read(graph.room, room) is None
        assert "state" not in town.calls
        await there.leaving.leave(bert, room)
        assert await here.membership(room, bert) == "leave"
        assert await there.membership(room, bert) is None
        assert await there.ledger.read(invites.get, bert, room) is None


async def test_refusing_works_while_the_inviting_server_sleeps() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        anna, bert = here.user("anna"), there.user("bert")
        room = await here.create(anna, rule="invite")
        await here.inviting.invite(anna, room, bert)
        town.asleep.add(here.name)
        with pytest.raises(UnreachableError):
            await there.joining.join(bert, room)
        await there.leaving.leave(bert, room)
        assert await there.ledger.read(invites.get, bert, room) is None


async def test_an_invite_can_be_taken_back_by_its_sender() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        anna, bert = here.user("anna"), there.user("bert")
        room = await here.create(anna, rule="invite")
        await here.inviting.invite(anna, room, bert)
        await here.set_membership(room, anna, bert, "leave")
        await here.push()
        assert await there.ledger.read(invites.get, bert, room) is None


async def test_strangers_ask_a_bounded_number_of_questions_and_unanswered_ones_expire() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        anna, bert = here.user("anna"), there.user("bert")
        for _ in range(MAX_INVITES_PER_ORIGIN):
            await here.inviting.invite(anna, await here.create(anna, rule="invite"), bert)
        one_more = await here.create(anna, rule="invite")
        with pytest.raises(PeerRefusedError) as refusal:
            await here.inviting.invite(anna, one_more, bert)
        assert refusal.value.status == 429
        assert await here.membership(one_more, bert) is None
        town.clock.now_ms += INVITE_LIFE_S * 1000 + 1000
        # Only where room is needed: the clock may have been wrong.
        assert len(await there.ledger.read(members.rooms_of, bert)) == MAX_INVITES_PER_ORIGIN
        await here.inviting.invite(anna, one_more, bert)
        waiting = await there.ledger.read(members.rooms_of, bert)
        assert [room for room, held in waiting.items() if held.membership == "invite"] == [one_more]


async def test_who_is_unwelcome_is_refused_and_an_invite_of_somebody_else_is_not_signed() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        anna, bert = here.user("anna"), there.user("bert")
        room = await here.create(anna, rule="invite")
        there.unwelcome.add(anna)
        with pytest.raises(PeerRefusedError) as refusal:
            await here.inviting.invite(anna, room, bert)
        assert refusal.value.status == 403
        message = await here.say(room, anna, "not an invite")
        stored = await here.ledger.read(graph.event, message)
        assert stored is not None
        with pytest.raises(InvalidInputError):
            await there.hosting.receive_invite(
                here.name, room, message, version="12", pdu=dict(stored.event.raw), stripped=[]
            )


async def test_an_invited_server_that_answers_with_something_else_is_not_believed() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        anna, bert = here.user("anna"), there.user("bert")
        room = await here.create(anna, rule="invite")
        here.peers.bend["invite"] = lambda raw: {**raw, "content": {"membership": "join"}, "depth": 1}
        with pytest.raises(InvalidInputError):
            await here.inviting.invite(anna, room, bert)
        assert await here.membership(room, bert) is None


async def test_an_alias_leads_to_the_room_from_elsewhere() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        anna, bert = here.user("anna"), there.user("bert")
        room = await here.create(anna)
        alias = RoomAlias("#home:a.example")
        await here.ledger.run(aliases.create, alias, room, anna)
        assert await there.joining.join(bert, alias) == room
        with pytest.raises(PeerRefusedError):
            await there.joining.join(bert, "#nothing:a.example")


@pytest.mark.parametrize(
    "fault",
    [
        lambda answer: {**answer, "state": []},
        lambda answer: {**answer, "state": "everything"},
        lambda answer: {**answer, "auth_chain": None},
        lambda answer: {**answer, "event": {**answer["event"], "depth": 1}},
        lambda answer: {
            **answer,
            "state": [event for event in answer["state"] if event["type"] != "m.room.create"],
        },
        lambda answer: {
            **answer,
            "state": [{**event, "content": {"join_rule": "invite"}} for event in answer["state"]],
        },
    ],
)
async def test_a_resident_whose_answer_does_not_hold_together_leaves_no_trace(fault: object) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await here.create(here.user("anna"))
        there.peers.bend["send_join"] = fault  # type: ignore[assignment]
        with pytest.raises(InvalidInputError):
            await there.joining.join(there.user("bert"), room, [here.name])
        assert await there.ledger.read(graph.room, room) is None
        assert await there.ledger.read(members.rooms_of, there.user("bert")) == {}
        there.peers.bend.clear()
        await there.joining.join(there.user("bert"), room, [here.name])
        assert await there.state(room) == await here.state(room)


async def test_a_join_that_a_power_cut_interrupts_is_invisible_and_can_be_made_again() -> None:
    town, files = Town(), MemoryFiles()
    async with town.box("a.example") as here:
        room = await here.create(here.user("anna"))
        async with town.box("b.example", files) as there:
            from relay.rooms.matrix.membership import join_commit

            number = await there.ledger.run(join_commit.begin, room, room_version("12"))

            def half(change: object) -> None:
                from relay.rooms.matrix.storage.commit import put_event
                from relay.rooms.matrix.storage.stored_event import Flags

                put_event(change, number, half_event, Flags.OUTLIER)  # type: ignore[arg-type]

            stored = await here.ledger.read(graph.event, EventId("$" + room[1:]))
            assert stored is not None
            half_event = stored.event
            await there.ledger.run(half)
        async with town.box("b.example", files) as there:
            await abandon_unfinished(there.ledger)
            assert await there.ledger.read(graph.event, EventId("$" + room[1:]), version="12") is None
            await there.joining.join(there.user("bert"), room, [here.name])
            assert await there.state(room) == await here.state(room)
    files.unregister()


async def test_a_server_gets_no_events_from_before_it_joined_or_after_it_left() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await here.create(here.user("anna"))
        await here.say(room, here.user("anna"), "before")
        await there.joining.join(there.user("bert"), room, [here.name])
        assert await here.ledger.read(departures.since, there.name, 0, 50) == []
        during = await here.say(room, here.user("anna"), "during")
        await there.leaving.leave(there.user("bert"), room)
        await there.push()
        # Leaving beside a message forks the room: its states are merged by the room's own task.
        assert await here.settle() == 0
        await here.say(room, here.user("anna"), "after")
        waiting = await here.ledger.read(departures.since, there.name, 0, 50)
        assert during not in [departure.event.event_id for departure in waiting]
        assert await here.ledger.read(departures.since, ServerName("never.example"), 0, 50) == []


@pytest.mark.parametrize(("word", "seen"), [("shared", ["early", "late"]), ("joined", ["late"]), ("invited", ["late"])])
async def test_history_visibility_decides_what_a_later_member_and_its_server_see(word: str, seen: list[str]) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await here.create(here.user("anna"), visibility=word)
        await here.say(room, here.user("anna"), "early")
        await there.joining.join(there.user("bert"), room, [here.name])
        await here.joining.join(here.user("carl"), room)
        last = await here.say(room, here.user("anna"), "late")
        page = await here.ledger.read(timeline.page, room, None, None, backwards=False, limit=50)
        visible = await here.ledger.read(visibility.for_user, here.user("carl"), room, page.events)
        assert [one.event.content["body"] for one in visible if one.event.type == "m.room.message"] == seen
        stranger = await here.ledger.read(visibility.for_user, here.user("dora"), room, page.events)
        assert [one for one in stranger if one.event.type == "m.room.message"] == []
        raws = await here.answering.backfill(there.name, room, [last], 50)
        bodies = [raw["content"].get("body") for raw in raws if raw["type"] == "m.room.message"]
        assert [body for body in reversed(bodies) if body is not None] == seen


async def test_what_is_said_while_a_join_is_under_way_is_not_lost() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await here.create(here.user("anna"))
        for number in range(30):
            await here.say(room, here.user("anna"), f"long ago {number}")
        aside = await here.ledger.read(graph.extremities, room)

        async def meanwhile() -> None:
            await here.say(room, here.user("anna"), "meanwhile")
            await here.push()

        there.peers.before_answer["send_join"] = meanwhile
        await there.joining.join(there.user("bert"), room, [here.name])
        assert await there.settle() == 0
        assert await there.bodies(room) == ["meanwhile"]
        assert len(aside) == 1


async def test_an_event_beside_our_join_does_not_pull_in_the_past() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await here.create(here.user("anna"))
        for number in range(60):
            await here.say(room, here.user("anna"), f"long ago {number}")
        await here.joining.join(here.user("carl"), room)
        # Carl speaks without having heard of bert's join.
        beside = await here.ledger.run(_laid_out_beside, here, room)
        await there.joining.join(there.user("bert"), room, [here.name])
        await here.receive(here.name, [beside])
        await here.settle()
        await there.receive(here.name, [beside])
        assert await there.settle() == 0
        assert await there.bodies(room) == ["beside"]
        assert town.calls.count("missing_events") == 1
        await here.say(room, here.user("anna"), "after")
        await here.push()
        assert await there.settle() == 0
        assert await there.bodies(room) == ["beside", "after"]
        assert await there.state(room) == await here.state(room)


def _laid_out_beside(index: Index, box: Box, room: RoomId) -> dict[str, Any]:
    content = {"body": "beside", "msgtype": "m.text"}
    wanted = Draft(sender=box.user("carl"), type="m.room.message", content=content, now_ms=box.town.clock.wall_ms())
    held = held_room(index, room)
    return sign_raw(lay_out(index, held, wanted), held.version, box.name, box.key)
