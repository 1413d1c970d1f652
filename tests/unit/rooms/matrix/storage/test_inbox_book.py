"""How much may wait for its ancestors: of a room, of one server, and in all; counted in bytes."""

import base64
import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from relay.base.config import LimitsConfig
from relay.base.ids import RoomId, ServerName
from relay.base.limits import INBOX_ENTRY_BYTES, INBOX_FULL_RETRY_S, MIB, REFUSE_SHARE
from relay.core.matrix.building import hash_and_sign
from relay.core.matrix.events import Event
from relay.rooms.matrix.deciding.drafting import held_room
from relay.rooms.matrix.membership import join_commit
from relay.rooms.matrix.storage import inbox_book
from relay.rooms.matrix.storage.inbox_book import InboxFullError
from relay.rooms.matrix.storage.packing import pack
from relay.rooms.matrix.tables import COUNT_INBOX
from relay.store.ledger import Change, Index
from tests.fakes.boxes import Box, Town

OMA, OPA = ServerName("oma.example"), ServerName("opa.example")
SMALL = LimitsConfig(room_inbox_mib=1, server_inbox_mib=1, inbox_mib=2)


class Inbox:
    """A box with two rooms, and events of other servers that point nowhere."""

    def __init__(self, box: Box, rooms: list[RoomId]) -> None:
        self.box = box
        self.rooms = rooms
        self.made = 0

    def event(self, index: Index, room: RoomId, size: int) -> Event:
        self.made += 1
        raw = {
            "type": "m.room.message",
            "sender": "@x:oma.example",
            "room_id": room,
            "content": {"n": self.made, "filling": base64.b64encode(hashlib.shake_128(b"noise").digest(size)).decode()},
            "prev_events": ["$" + "n" * 43],
            "auth_events": [],
            "depth": self.made,
            "origin_server_ts": 1,
        }
        return hash_and_sign(raw, held_room(index, room).version, self.box.name, self.box.key)

    async def push(self, origin: ServerName, size: int = 40_000, room: int = 0, limits: LimitsConfig = SMALL) -> int:
        """Let an event of about `size` incompressible bytes wait; return what it takes."""

        def step(change: Change) -> int:
            event = self.event(change, self.rooms[room], size)
            held = held_room(change, self.rooms[room])
            inbox_book.add(change, held.number, origin, event, 1, limits)
            return len(pack(event.raw)) + INBOX_ENTRY_BYTES

        return await self.box.ledger.run(step)

    async def fill(self, origin: ServerName, most: int, room: int = 0) -> None:
        while (left := most - await self.held(origin)) > 4000:
            await self.push(origin, min(left - 2000, 40_000), room)

    async def push_for_ever(self, origin: ServerName, limits: LimitsConfig) -> None:
        while True:
            await self.push(origin, limits=limits)

    async def held(self, origin: ServerName | None = None) -> int:
        return await self.box.ledger.read(inbox_book.held_bytes, origin)

    async def waiting(self, room: int = 0) -> list[int]:
        found = await self.box.ledger.read(inbox_book.waiting, self.rooms[room], 10_000)
        return [entry.event.depth for entry in found]


@contextlib.asynccontextmanager
async def an_inbox() -> AsyncIterator[Inbox]:
    async with Town().box("a.example") as box:
        yield Inbox(box, [await box.create(box.user("anna")) for _ in range(3)])


async def test_one_server_fills_its_own_part_to_the_byte_and_is_refused_with_nothing_lost() -> None:
    async with an_inbox() as inbox:
        most = int(MIB * REFUSE_SHARE)
        await inbox.fill(OMA, most // 2)
        await inbox.fill(OMA, most, room=1)
        frame = await inbox.push(OMA, 500, 1) - 500
        left = most - await inbox.held(OMA) - frame
        before = await inbox.waiting(), await inbox.waiting(1)
        with pytest.raises(InboxFullError) as refusal:
            await inbox.push(OMA, left + 200)
        assert refusal.value.retry_after_s == INBOX_FULL_RETRY_S
        assert (await inbox.waiting(), await inbox.waiting(1)) == before
        await inbox.push(OMA, left - 200)
        await inbox.push(OPA, 2000)


async def test_in_a_full_room_the_server_that_fills_it_makes_room_for_another() -> None:
    limits = LimitsConfig(room_inbox_mib=1, server_inbox_mib=8, inbox_mib=8)
    async with an_inbox() as inbox:
        await inbox.push(OPA, limits=limits)
        with pytest.raises(InboxFullError):
            await inbox.push_for_ever(OMA, limits)
        before = await inbox.waiting()
        await inbox.push(OPA, limits=limits)
        assert await inbox.waiting() == [before[0], *before[3:], inbox.made]
        assert await inbox.held() <= MIB * REFUSE_SHARE
        (room,) = await inbox.box.ledger.read(inbox_book.fullest_rooms, 5)
        assert (room.name, room.dropped) == (inbox.rooms[0], 2)
        servers = await inbox.box.ledger.read(inbox_book.fullest_servers, 5)
        assert [(held.name, held.dropped) for held in servers] == [(OMA, 2), (OPA, 0)]


async def test_all_rooms_together_have_a_limit_too() -> None:
    async with an_inbox() as inbox:
        await inbox.fill(OMA, int(0.9 * MIB))
        await inbox.fill(OPA, int(0.8 * MIB), room=1)
        limits = LimitsConfig(room_inbox_mib=1, server_inbox_mib=1, inbox_mib=1)
        dropped = await inbox.held()
        await inbox.push(OPA, 10, room=2, limits=limits)
        dropped -= await inbox.held()
        assert await inbox.held() <= MIB * REFUSE_SHARE
        assert dropped > 0.6 * MIB
        assert await inbox.waiting(2) == [inbox.made]


async def test_what_leaves_an_inbox_no_longer_counts() -> None:
    async with an_inbox() as inbox:
        one, two = await inbox.push(OMA, 100), await inbox.push(OPA, 200, 1)
        assert await inbox.held() == one + two
        entry = (await inbox.box.ledger.read(inbox_book.waiting, inbox.rooms[0], 1))[0]
        for _ in range(2):
            await inbox.box.ledger.run(inbox_book.remove, entry.number)
        assert (await inbox.held(), await inbox.held(OMA)) == (two, 0)

        def empty(change: Change) -> None:
            inbox_book.remove_all(change, held_room(change, inbox.rooms[1]).number)

        await inbox.box.ledger.run(empty)
        assert await inbox.held() == 0
        assert await inbox.box.ledger.read(inbox_book.fullest_rooms, 5) == []


async def test_an_abandoned_join_takes_its_inbox_and_its_count_along() -> None:
    async with an_inbox() as inbox:
        room = RoomId("!elsewhere:oma.example")

        def join_and_wait(change: Change) -> int:
            version = held_room(change, inbox.rooms[0]).version
            number = join_commit.begin(change, room, version)
            inbox_book.add(change, number, OMA, inbox.event(change, inbox.rooms[0], 10), 1, SMALL)
            return number

        await inbox.box.ledger.run(join_and_wait)
        assert await inbox.held() > 0
        await join_commit.abandon_unfinished(inbox.box.ledger)
        assert await inbox.held() == 0


async def test_counts_that_are_not_right_are_made_right() -> None:
    async with an_inbox() as inbox:
        ledger = inbox.box.ledger
        held = await inbox.push(OMA, 100) + await inbox.push(OPA, 200)
        assert not await ledger.read(inbox_book.is_miscounted)

        def spoil(change: Change) -> None:
            change.write(COUNT_INBOX, 0, 0, -50, 0)

        await ledger.run(spoil)
        assert await ledger.read(inbox_book.is_miscounted)
        await ledger.run(inbox_book.recount)
        assert await inbox.held() == held
        rows: list[Any] = await ledger.read(inbox_book.fullest_servers, 5)
        assert [row.name for row in rows] == [OPA, OMA]
