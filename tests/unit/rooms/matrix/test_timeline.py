import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.errors import InvalidInputError
from relay.base.ids import EventId, RoomId
from relay.rooms.matrix import timeline
from relay.rooms.matrix.storage.stored_event import StoredEvent
from relay.rooms.matrix.timeline import parse_token, token
from tests.fakes.boxes import Box, Town


def _bodies(events: list[StoredEvent]) -> list[str]:
    return [one.event.content["body"] for one in events if one.event.type == "m.room.message"]


async def _chatty(box: Box, count: int) -> RoomId:
    room = await box.create(box.user("anna"))
    for number in range(count):
        await box.say(room, box.user("anna"), f"m{number}")
    return room


@given(order=st.integers(-(2**60), 2**60))
def test_a_token_leads_back_to_its_order(order: int) -> None:
    assert parse_token(token(order)) == order


@pytest.mark.parametrize("text", ["", "t", "s1", "t1.5", "t--1", "t" + "9" * 30, "tx", "t\u0661"])
def test_tokens_of_others_are_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_token(text)


@pytest.mark.parametrize("backwards", [True, False])
async def test_paging_shows_every_event_once(backwards: bool) -> None:
    async with Town().box("a.example") as box:
        room = await _chatty(box, 17)
        seen: list[StoredEvent] = []
        order: int | None = None
        while True:
            page = await box.ledger.read(timeline.page, room, order, None, backwards=backwards, limit=4)
            seen += page.events
            if page.end is None:
                break
            order = parse_token(page.end)
        if backwards:
            seen.reverse()
        assert _bodies(seen) == [f"m{number}" for number in range(17)]
        assert len({one.event_id for one in seen}) == len(seen) == 17 + 4


async def test_the_tokens_of_a_page_stand_between_events() -> None:
    async with Town().box("a.example") as box:
        room = await _chatty(box, 6)
        page = await box.ledger.read(timeline.page, room, None, None, backwards=True, limit=2)
        assert page.end is not None
        again = await box.ledger.read(timeline.page, room, parse_token(page.end), None, backwards=False, limit=10)
        assert _bodies(again.events) == ["m4", "m5"]
        back = await box.ledger.read(timeline.page, room, parse_token(page.start), None, backwards=True, limit=2)
        assert _bodies(back.events) == _bodies(page.events)
        bounded = await box.ledger.read(
            timeline.page, room, parse_token(page.end), parse_token(page.end) + 1, backwards=False, limit=10
        )
        assert _bodies(bounded.events) == ["m4"]


async def test_a_sync_position_is_a_place_in_every_room() -> None:
    async with Town().box("a.example") as box:
        room = await _chatty(box, 3)
        position = box.ledger.position
        await box.say(room, box.user("anna"), "new")
        news = await box.ledger.read(timeline.since, room, position, box.ledger.position, 10)
        assert _bodies(news.events) == ["new"]
        assert not news.limited
        before = await box.ledger.read(timeline.page, room, parse_token(news.prev_batch), None, backwards=True, limit=1)
        assert _bodies(before.events) == ["m2"]
        assert await box.ledger.read(timeline.rooms_changed_since, position) == {room}
        assert await box.ledger.read(timeline.rooms_changed_since, box.ledger.position) == set()
        nothing = await box.ledger.read(timeline.since, room, box.ledger.position, box.ledger.position, 10)
        assert nothing.events == []
        old = await box.ledger.read(timeline.latest, room, position, 2)
        assert _bodies(old.events) == ["m1", "m2"]
        assert old.limited


async def test_around_an_event_stand_its_neighbours() -> None:
    async with Town().box("a.example") as box:
        room = await _chatty(box, 5)
        middle = await box.say(room, box.user("anna"), "middle")
        await box.say(room, box.user("anna"), "after")
        stored, before, after = await box.ledger.read(timeline.around, middle, 4)
        assert stored is not None
        assert _bodies(before.events) == ["m4", "m3"]
        assert _bodies(after.events) == ["after"]
        assert (await box.ledger.read(timeline.around, EventId("$" + "n" * 43), 4))[0] is None
        assert stored.order is not None
        assert _bodies(list(await box.ledger.read(timeline.events_after, room, stored.order, 9))) == ["after"]


async def test_a_state_event_shows_what_it_replaced() -> None:
    async with Town().box("a.example") as box:
        room, anna = await _chatty(box, 0), box.user("anna")
        first = await box.writer.send(room, anna, "m.room.name", {"name": "one"}, state_key="")
        second = await box.writer.send(room, anna, "m.room.name", {"name": "two"}, state_key="")
        stored = await box.ledger.read(timeline.event, second)
        assert stored is not None
        unsigned = stored.client(now_ms=stored.event.origin_server_ts + 5)["unsigned"]
        assert unsigned == {
            "age": 5,
            "prev_content": {"name": "one"},
            "prev_sender": anna,
            "replaces_state": first,
        }
