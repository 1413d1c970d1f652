"""Who still has to get what."""

from relay.base.config import DeliveryConfig
from relay.base.ids import DeviceId, RoomId, ServerName, UserId
from relay.delivery.outbox import tables as outbox
from relay.delivery.pruning import delivered, marks
from relay.delivery.pruning.delivered import Delivered
from relay.delivery.pruning.marks import DAY_MS
from relay.household import devices, sessions
from relay.rooms.matrix.storage import departures, graph
from relay.rooms.matrix.storage.stored_event import first_place_after
from relay.rooms.matrix.tables import ADD_DEPARTURE, PUT_ROOM_SERVER
from relay.store.ledger import Change
from tests.fakes.family import SERVER, App, Family, open_family

CONFIG = DeliveryConfig(give_up_after_days=30)
NOW_MS = 1_800_000_000_000
FAR = ServerName("far.test")


async def look(family: Family, now_ms: int = NOW_MS) -> Delivered:
    return await family.ledger.read(delivered.look, CONFIG, SERVER, 30, now_ms)


async def see(app: App, at_ms: int = NOW_MS) -> None:
    await app.family.ledger.run(devices.touch, app.user, app.device, at_ms)


def owe(change: Change, room: RoomId, server: ServerName) -> int:
    held = graph.row(change, room)
    assert held is not None
    change.write(PUT_ROOM_SERVER, held.number, change.intern(server), 1, 0)
    change.write(ADD_DEPARTURE, held.tips[0], held.number, None)
    return held.tips[0]


def arrive(change: Change, server: ServerName, number: int, failing_since_ms: int | None) -> None:
    change.write(outbox.ADVANCE, change.intern(server), number, 1)
    if failing_since_ms is not None:
        change.write(outbox.FAIL, change.intern(server), number, failing_since_ms)


async def test_an_event_has_left_when_every_server_of_its_room_has_it() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        room = RoomId(await ann.create_room())
        number = await family.ledger.run(owe, room, FAR)

        async def has_left(now_ms: int = NOW_MS) -> bool:
            seen = await look(family, now_ms)
            return await family.ledger.read(seen.has_left, number, ann.user)

        assert not await has_left()
        await family.ledger.run(arrive, FAR, number - 1, NOW_MS)
        assert not await has_left()
        assert await has_left(NOW_MS + 31 * DAY_MS)
        await family.ledger.run(arrive, FAR, number, None)
        assert await has_left()


async def test_nobody_waits_for_their_own_event_back() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        room = RoomId(await ann.create_room())
        number = await family.ledger.run(owe, room, FAR)
        seen = await look(family)
        assert await family.ledger.read(departures.owed_to, number)
        assert await family.ledger.read(seen.has_left, number, "@x:far.test")


async def test_the_slowest_device_that_is_still_in_use_counts() -> None:
    async with open_family() as family:
        phone, desk = await family.app("ann"), await family.app("ann", "DESK")
        room = RoomId(await phone.create_room())
        first = await phone.sync()
        await phone.say(room, "one")
        await see(phone)
        await see(desk)
        assert (await look(family)).people == {phone.user: -1}

        second = await phone.sync(first["next_batch"])
        await phone.sync(second["next_batch"])
        assert (await look(family)).people == {phone.user: -1}
        desk_first = await desk.sync()
        await desk.sync(desk_first["next_batch"])
        slow, fast = (await look(family)).people[phone.user], family.ledger.position
        assert 0 < slow < fast
        assert (await family.ledger.read((await look(family)).synced_to, room)) == first_place_after(slow)

        await see(phone, NOW_MS + 40 * DAY_MS)
        later = await look(family, NOW_MS + 40 * DAY_MS)
        # The desk was not seen for forty days: only the phone counts.
        assert later.people[phone.user] <= slow
        await family.ledger.run(sessions.close_all, phone.user)
        assert (await look(family)).people == {}


async def test_a_device_that_never_synced_holds_what_came_since_it_was_seen() -> None:
    async with open_family() as family:
        phone = await family.app("ann")
        room = RoomId(await phone.create_room())
        await family.ledger.run(marks.note, NOW_MS - 10 * DAY_MS)
        marked = family.ledger.position
        await phone.say(room, "later")
        await see(phone, NOW_MS)
        assert (await look(family)).people == {phone.user: marked}


async def test_rooms_somebody_is_not_in_are_not_held_for_them() -> None:
    async with open_family() as family:
        ann, bob = await family.app("ann"), await family.app("bob")
        room = RoomId(await ann.create_room())
        await see(bob)
        seen = await look(family)
        assert seen.people == {UserId(bob.user): -1}
        assert await family.ledger.read(seen.synced_to, room) == 1 << 62
        assert DeviceId(bob.device) == "PHONE"
