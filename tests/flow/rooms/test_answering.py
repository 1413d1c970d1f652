"""What other servers may ask of a room here."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from relay.base.errors import ForbiddenError, InvalidInputError, NotFoundError, PeerRefusedError, RelayError
from relay.base.ids import EventId, RoomId, ServerName
from relay.base.limits import MAX_BACKFILL_PDUS, MAX_INVITE_STRIPPED_BYTES, MAX_JOIN_VIA, MAX_MISSING_EVENTS_PAGE
from relay.rooms.matrix.deciding import merging
from relay.rooms.matrix.exchange import fetching
from relay.rooms.matrix.membership import invites, join_answer
from relay.rooms.matrix.membership.hosting import IncompatibleRoomVersionError, UnableToAuthoriseJoinError
from relay.rooms.matrix.storage import graph, inbox_book
from tests.fakes.boxes import Box, Town

STRANGER = ServerName("stranger.example")
Ask = Callable[[Box, ServerName, RoomId, EventId], Awaitable[Any]]

QUESTIONS: dict[str, Ask] = {
    "state": lambda box, origin, room, event: box.answering.state(origin, room, event),
    "state_ids": lambda box, origin, room, event: box.answering.state_ids(origin, room, event),
    "event_auth": lambda box, origin, room, event: box.answering.event_auth(origin, room, event),
    "backfill": lambda box, origin, room, event: box.answering.backfill(origin, room, [event], 10),
    "missing_events": lambda box, origin, room, event: box.answering.missing_events(
        origin, room, earliest=[], latest=[event]
    ),
}
ASKED = pytest.mark.parametrize("question", QUESTIONS)


async def _pair(here: Box, there: Box) -> tuple[RoomId, EventId]:
    room = await here.create(here.user("anna"))
    await there.joining.join(there.user("bert"), room, [here.name])
    return room, await here.say(room, here.user("anna"), "hi")


@ASKED
async def test_only_servers_in_the_room_are_answered(question: str) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room, said = await _pair(here, there)
        ask = QUESTIONS[question]
        assert await ask(here, there.name, room, said)
        with pytest.raises(ForbiddenError):
            await ask(here, STRANGER, room, said)
        with pytest.raises(NotFoundError):
            await ask(here, there.name, RoomId("!none:a.example"), said)
        with pytest.raises(NotFoundError):
            await here.answering.event(STRANGER, said)
        assert (await here.answering.event(there.name, said))["content"]["body"] == "hi"


@ASKED
async def test_a_server_that_the_room_shuts_out_is_not_answered(question: str) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room, said = await _pair(here, there)
        listed = {"allow": ["a.example"]}
        await here.writer.send(room, here.user("anna"), "m.room.server_acl", listed, state_key="")
        with pytest.raises(ForbiddenError):
            await QUESTIONS[question](here, there.name, room, said)
        with pytest.raises(ForbiddenError):
            await here.hosting.make_join(there.name, room, there.user("carl"), ["12"])
        with pytest.raises(NotFoundError):
            await here.answering.event(there.name, said)


async def test_unknown_events_and_events_without_state_are_not_found() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room, _ = await _pair(here, there)
        nothing = EventId("$" + "n" * 43)
        for ask in (here.answering.state_ids, here.answering.state, here.answering.event_auth):
            with pytest.raises(NotFoundError):
                await ask(there.name, room, nothing)
        with pytest.raises(NotFoundError):
            await here.answering.event(there.name, nothing)
        # At the other box the room's beginning is only an outlier.
        with pytest.raises(NotFoundError):
            await there.answering.state_ids(here.name, room, EventId("$" + room[1:]))


async def test_state_and_its_ids_and_chain_agree() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room, said = await _pair(here, there)
        ids = await here.answering.state_ids(there.name, room, said)
        whole = await here.answering.state(there.name, room, said)
        assert len(ids["pdu_ids"]) == len(whole["pdus"]) == 5
        assert set(ids["pdu_ids"]) == set((await here.state(room)).values())
        assert set(ids["auth_chain_ids"]) <= set(ids["pdu_ids"])
        assert "$" + room[1:] in ids["auth_chain_ids"]


async def test_pages_are_bounded_and_walks_stop_at_the_depth_asked_for() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room, _ = await _pair(here, there)
        for number in range(MAX_BACKFILL_PDUS + 20):
            await here.say(room, here.user("anna"), f"{number}")
        (tip,) = await here.tips(room)
        assert len(await here.answering.backfill(there.name, room, [tip], 10_000)) == MAX_BACKFILL_PDUS
        missing = await here.answering.missing_events(there.name, room, earliest=[], latest=[tip], limit=10_000)
        assert len(missing) == MAX_MISSING_EVENTS_PAGE
        assert [event["depth"] for event in missing] == sorted(event["depth"] for event in missing)
        deepest = missing[-1]["depth"]
        few = await here.answering.missing_events(
            there.name, room, earliest=[], latest=[tip], limit=20, min_depth=deepest - 1
        )
        assert [event["depth"] for event in few] == [deepest - 1, deepest]
        assert await here.answering.backfill(there.name, room, [tip], -5) == []


async def test_joins_that_cannot_be_are_refused_with_the_specified_errors() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        bert = there.user("bert")
        room = await here.create(here.user("anna"))
        with pytest.raises(IncompatibleRoomVersionError) as refusal:
            await here.hosting.make_join(there.name, room, bert, ["1", "10"])
        assert refusal.value.matrix_fields == {"room_version": "12"}
        with pytest.raises(ForbiddenError):
            await here.hosting.make_join(STRANGER, room, bert, ["12"])
        rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": "!x:y"}]}
        await here.writer.send(room, here.user("anna"), "m.room.join_rules", rule, state_key="")
        with pytest.raises(UnableToAuthoriseJoinError):
            await here.hosting.make_join(there.name, room, bert, ["12"])
        with pytest.raises(PeerRefusedError) as answer:
            await there.joining.join(bert, room, [here.name])
        assert (answer.value.status, answer.value.errcode) == (400, "M_UNABLE_TO_AUTHORISE_JOIN")


@pytest.mark.parametrize(
    "bend",
    [
        lambda raw: {**raw, "content": {"membership": "leave"}},
        lambda raw: {**raw, "sender": "@other:b.example"},
        lambda raw: {**raw, "signatures": {}},
        lambda raw: {**raw, "depth": raw["depth"] + 1},
    ],
)
async def test_a_bent_join_is_refused_and_nobody_is_in(bend: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await here.create(here.user("anna"))
        honest = here.hosting.send_join

        async def bent(origin: ServerName, room_id: RoomId, event_id: EventId, pdu: Any) -> dict[str, Any]:
            return await honest(origin, room_id, event_id, bend(pdu))

        here.hosting.send_join = bent  # type: ignore[assignment]
        with pytest.raises(RelayError):
            await there.joining.join(there.user("bert"), room, [here.name])
        assert await here.membership(room, there.user("bert")) is None


async def test_an_invite_with_too_much_to_show_is_refused() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        anna, bert = here.user("anna"), there.user("bert")
        room = await here.create(anna, rule="invite")
        await here.writer.send(room, anna, "m.room.topic", {"topic": "x" * MAX_INVITE_STRIPPED_BYTES}, state_key="")
        with pytest.raises(PeerRefusedError) as refusal:
            await here.inviting.invite(anna, room, bert)
        assert refusal.value.status == 400


async def test_no_more_than_a_few_servers_are_asked_for_one_join() -> None:
    town = Town()
    async with town.box("a.example") as here:
        via = [ServerName(f"s{number}.example") for number in range(MAX_JOIN_VIA + 5)]
        with pytest.raises(RelayError):
            await here.joining.join(here.user("anna"), "!room:gone.example", via)
        assert town.calls == ["make_join"] * MAX_JOIN_VIA


async def test_a_room_that_is_too_large_is_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await here.create(here.user("anna"))
        monkeypatch.setattr(join_answer, "MAX_STATE_EVENTS", 2)
        with pytest.raises(InvalidInputError):
            await there.joining.join(there.user("bert"), room, [here.name])
        assert await there.ledger.read(graph.room, room) is None


async def test_a_state_that_is_too_large_is_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room, said = await _pair(here, there)
        held = await there.ledger.read(graph.row, room)
        assert held is not None
        monkeypatch.setattr(fetching, "MAX_STATE_EVENTS", 2)
        with pytest.raises(RelayError, match="more than 2 events"):
            await fetching.Fetcher(there.ledger, there.peers, there.keys).state_before(here.name, held, said)


async def test_all_questions_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        anna, bert = here.user("anna"), there.user("bert")
        monkeypatch.setattr(invites, "MAX_INVITES", 2)
        for _ in range(2):
            await here.inviting.invite(anna, await here.create(anna, rule="invite"), bert)
        with pytest.raises(PeerRefusedError) as refusal:
            await here.inviting.invite(anna, await here.create(anna, rule="invite"), bert)
        assert refusal.value.status == 429


async def test_a_merge_that_takes_too_much_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room, _ = await _pair(here, there)
        await here.push()
        await there.set_membership(room, there.user("carl"), there.user("carl"), "join")
        await here.writer.send(room, here.user("anna"), "m.room.name", {"name": "x"}, state_key="")
        monkeypatch.setattr(merging, "MAX_MERGE_EVENTS", 1)
        await there.push()
        for _ in range(5):
            await here.settle()
        assert await here.ledger.read(inbox_book.rooms) == []
        assert await here.membership(room, there.user("carl")) is None
        await here.say(room, here.user("anna"), "still works")


async def test_what_was_lost_of_somebody_s_last_words_is_fetched_after_they_left() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room, _ = await _pair(here, there)
        await town.settle()
        await there.say(room, there.user("bert"), "lost on its way")
        await there.leaving.leave(there.user("bert"), room)
        await there.push(only=lambda event: event.type == "m.room.member")
        await here.settle()
        assert "lost on its way" in await here.bodies(room)
        assert await here.membership(room, there.user("bert")) == "leave"
