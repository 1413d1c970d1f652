"""Small things that outlive their use."""

import trio

from relay.base.ids import RoomId, ServerName, UserId
from relay.delivery import sending
from relay.delivery.pruning.delivered import Delivered
from relay.delivery.pruning.leftovers import Leftovers
from relay.household import remote_devices
from relay.rooms.matrix.storage import graph
from relay.rooms.matrix.tables import ADD_DEPARTURE, PUT_ROOM_SERVER
from relay.store.ledger import Change
from tests.fakes.family import App, Family, at, open_family
from tests.fakes.graph_check import flaws

FAR = ServerName("far.test")
NOW_MS = 1_800_000_000_000


def owe_everything(change: Change, room: RoomId) -> tuple[int, int]:
    held = graph.row(change, room)
    assert held is not None
    number = change.intern(FAR)
    change.write(PUT_ROOM_SERVER, held.number, number, 1, 0)
    for (event,) in change.rows("SELECT number FROM events WHERE room = ?", held.number):
        change.write(ADD_DEPARTURE, event, held.number, None)
    return number, held.tips[0]


async def rows_of(family: Family, table: str) -> int:
    return int(await family.ledger.read(lambda index: index.value(f"SELECT count(*) FROM {table}")))


async def test_departures_that_arrived_are_forgotten() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        room = RoomId(await ann.create_room())
        for number in range(80):
            await ann.say(room, f"{number}")
        far, newest = await family.ledger.run(owe_everything, room)
        many = await rows_of(family, "departures")
        tidy = Leftovers(family.ledger).tidy

        assert await tidy(Delivered(0, 0, {far: 0}, {}), trio.lowlevel.checkpoint, NOW_MS) == 0
        await tidy(Delivered(0, 0, {far: newest - 40}, {}), trio.lowlevel.checkpoint, NOW_MS)
        assert await rows_of(family, "departures") == 40
        await tidy(Delivered(0, 0, {far: newest}, {}), trio.lowlevel.checkpoint, NOW_MS)
        assert await rows_of(family, "departures") == 0
        assert many > 80
        assert await family.ledger.read(flaws) == []


async def come_and_go(ann: App, room: str) -> None:
    for number in range(40):
        guest = await ann.family.app(f"guest{number}")
        await guest.join(room)
        await guest.post(at(room, "/leave"))


async def test_the_membership_log_is_cut_where_everybody_has_it_and_an_old_token_is_told_everything() -> None:
    async with open_family() as family:
        ann, bob = await family.app("ann"), await family.app("bob")
        room = await ann.create_room(preset="public_chat")
        await bob.join(room)
        old = (await ann.sync())["next_batch"]
        await come_and_go(ann, room)
        lines = await rows_of(family, "membership_log")
        tidy = Leftovers(family.ledger).tidy

        await tidy(Delivered(0, 0, {}, {}), trio.lowlevel.checkpoint, NOW_MS)
        assert await rows_of(family, "membership_log") == lines
        everything = Delivered(0, 0, {}, {ann.user: family.ledger.position, bob.user: family.ledger.position})
        await tidy(everything, trio.lowlevel.checkpoint, NOW_MS)
        assert await rows_of(family, "membership_log") < 32

        assert bob.user in (await ann.sync(old))["device_lists"]["changed"]


async def test_expired_transaction_ids_go() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        room = await ann.create_room()
        for number in range(5):
            await ann.say(room, f"{number}")
        tidy, nobody = Leftovers(family.ledger).tidy, Delivered(0, 0, {}, {})
        await tidy(nobody, trio.lowlevel.checkpoint, family.parts.clock.wall_ms())
        assert await rows_of(family, "client_transaction") == 5
        await tidy(nobody, trio.lowlevel.checkpoint, family.parts.clock.wall_ms() + sending.KEPT_MS + 1_000)
        assert await rows_of(family, "client_transaction") == 0


async def test_devices_of_people_nobody_meets_any_more_are_forgotten() -> None:
    async with open_family() as family:
        stranger = UserId("@fay:far.test")
        listed = {"stream_id": 1, "devices": [{"device_id": "A", "keys": {"user_id": stranger, "device_id": "A"}}]}
        await family.ledger.run(remote_devices.store_list, stranger, listed)
        tidy, nobody = Leftovers(family.ledger).tidy, Delivered(0, 0, {}, {})
        await tidy(nobody, trio.lowlevel.checkpoint, NOW_MS)
        assert await rows_of(family, "remote_devices") == 1
        await family.ledger.run(remote_devices.mark_stale, stranger)
        await tidy(nobody, trio.lowlevel.checkpoint, NOW_MS)
        assert await rows_of(family, "remote_devices") == 0
        assert await rows_of(family, "remote_device_lists") == 0
