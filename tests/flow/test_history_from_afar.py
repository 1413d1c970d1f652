"""Paging back beyond what this box has: the other server is asked, and nothing is skipped or shown twice."""

from typing import cast
from urllib.parse import quote

import pytest
import trio

from relay.base.ids import DeviceId, RoomId
from relay.base.limits import BACKFILL_WAIT_S
from relay.client_api.history import History
from relay.household.sessions import Session
from relay.rooms.matrix.exchange.backfill import Backfiller
from relay.transport.message import Request
from tests.fakes.bounds import admission
from tests.fakes.boxes import Box, Town


async def page_all(box: Box, room: RoomId, limit: int) -> list[str]:
    history = History(box.ledger, box.backfiller, box.town.clock, admission())
    session = Session(box.user("bob"), DeviceId("D"))
    bodies: list[str] = []
    token = ""
    for _ in range(60):
        request = Request("GET", f"/x?dir=b&limit={limit}{token}")
        request.params = {"roomId": room}
        page = await history.messages(session, request)
        assert isinstance(page, dict)
        bodies += [event["content"]["body"] for event in page["chunk"] if event["type"] == "m.room.message"]
        if "end" not in page:
            return bodies
        token = f"&from={quote(page['end'])}"
    raise AssertionError("the beginning was never reached")


@pytest.mark.parametrize("limit", [1, 3, 4, 10, 100])
async def test_the_past_of_a_room_that_was_joined_late_is_fetched(limit: int) -> None:
    town = Town()
    async with town.box("near") as near, town.box("far") as far:
        room = await far.create(far.user("ann"))
        for number in range(12):
            await far.say(room, far.user("ann"), str(number))
        await near.joining.join(near.user("bob"), room, [far.name])
        await near.say(room, near.user("bob"), "here I am")
        assert await page_all(near, room, limit) == ["here I am", *map(str, reversed(range(12)))]


async def test_where_nobody_answers_the_page_is_what_is_here() -> None:
    town = Town()
    async with town.box("near") as near, town.box("far") as far:
        room = await far.create(far.user("ann"))
        await far.say(room, far.user("ann"), "lost")
        await near.joining.join(near.user("bob"), room, [far.name])
        await near.say(room, near.user("bob"), "alone")
        town.asleep.add(far.name)
        assert await page_all(near, room, 10) == ["alone"]


async def test_a_server_that_is_slow_holds_nobody_longer_than_the_limit(autojump_clock: trio.testing.MockClock) -> None:
    class Slow:
        async def fill(self, *_args: object) -> int:
            await trio.sleep_forever()
            raise AssertionError

    town = Town()
    async with town.box("near") as near, town.box("far") as far:
        room = await far.create(far.user("ann"))
        await near.joining.join(near.user("bob"), room, [far.name])
        near.backfiller = cast("Backfiller", Slow())
        started = trio.current_time()
        assert await page_all(near, room, 100) == []
        assert trio.current_time() - started <= 2 * BACKFILL_WAIT_S
