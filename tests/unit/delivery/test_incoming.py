import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from relay.base.errors import InvalidInputError
from relay.base.ids import DeviceId, RoomId, ServerName, UserId
from relay.base.limits import (
    MAX_CHANGE_TO_DEVICE,
    MAX_DEVICES_PER_USER,
    MAX_EVENT_BYTES,
    MAX_STRANGER_TO_DEVICE,
    MAX_TRANSACTION_EDUS,
    MAX_TRANSACTION_PDUS,
    TRANSACTION_MEMORY_S,
)
from relay.delivery.incoming import Incoming
from relay.household import device_lists, devices
from relay.rooms.matrix import receipts
from relay.rooms.matrix.storage import departures
from relay.store.ledger import Change
from tests.fakes.clock import FakeClock
from tests.fakes.federated import FederatedBox, FederatedTown
from tests.fakes.files import MemoryFiles


@contextlib.asynccontextmanager
async def two_boxes(files: MemoryFiles | None = None) -> AsyncIterator[tuple[FederatedBox, FederatedBox]]:
    async with trio.open_nursery() as nursery:
        town = FederatedTown(nursery)
        async with town.box("ada.example", files=files) as ada, town.box("bob.example") as bob:
            yield ada, bob
        nursery.cancel_scope.cancel()


async def shared_room(ada: FederatedBox, bob: FederatedBox) -> tuple[RoomId, UserId, UserId]:
    alice, bert = await ada.add_user("alice"), await bob.add_user("bert")
    room = await ada.create(alice)
    await bob.joining.join(bert, room, [ada.name], {})
    return room, alice, bert


async def message_of(bob: FederatedBox, room: RoomId, bert: UserId, body: str) -> dict[str, Any]:
    """Return a PDU of bob's that ada has not got: bob cannot reach anybody while it is made."""
    newest = await bob.ledger.read(departures.newest)
    await bob.say(room, bert, body)
    (made,) = await bob.ledger.read(lambda index: departures.since(index, ServerName("ada.example"), newest, 10))
    return dict(made.event.raw)


def to_device(n: int, device: str = "D1") -> dict[str, Any]:
    messages = {"@alice:ada.example": {device: {"n": n}}}
    content = {"sender": "@bert:bob.example", "type": "m.x", "message_id": f"m{n}", "messages": messages}
    return {"edu_type": "m.direct_to_device", "content": content}


async def test_events_and_messages_of_a_transaction_arrive() -> None:
    async with two_boxes() as (ada, bob):
        room, alice, bert = await shared_room(ada, bob)
        pdu = await message_of(bob, room, bert, "hello")
        reply = await ada.incoming.receive(bob.name, "t1", [pdu], [to_device(1)])
        assert list(reply["pdus"].values()) == [{}]
        assert await ada.bodies(room) == ["hello"]
        assert [message["content"] for message in await ada.inbox_of(alice)] == [{"n": 1}]


async def test_the_same_transaction_twice_is_processed_once_also_after_a_restart() -> None:
    files = MemoryFiles()
    async with two_boxes(files) as (ada, bob):
        room, alice, bert = await shared_room(ada, bob)
        transaction: Any = (bob.name, "t1", [await message_of(bob, room, bert, "hello")], [to_device(1)])
        first = await ada.incoming.receive(*transaction)
        assert await ada.incoming.receive(*transaction) == first
    async with two_boxes(files) as (ada, bob):
        # Other content under a known id is not looked at: the id is what counts.
        assert await ada.incoming.receive(bob.name, "t1", [], [to_device(2)]) == first
        assert len(await ada.inbox_of(alice)) == 1
        assert await ada.bodies(room) == ["hello"]
        other = await ada.incoming.receive(ada.name, "t1", [], [])
        assert other == {"pdus": {}}
    files.unregister()


async def test_an_identical_request_in_flight_waits_for_the_first() -> None:
    async with two_boxes() as (ada, bob):
        room, alice, bert = await shared_room(ada, bob)
        pdu = await message_of(bob, room, bert, "hello")
        replies: list[Any] = []

        async def receive() -> None:
            replies.append(await ada.incoming.receive(bob.name, "t1", [pdu], [to_device(1)]))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(receive)
        assert replies == [replies[0]] * 5
        assert len(await ada.inbox_of(alice)) == 1


async def test_one_message_in_two_transactions_is_delivered_once() -> None:
    async with two_boxes() as (ada, bob):
        _, alice, _ = await shared_room(ada, bob)
        await ada.incoming.receive(bob.name, "t1", [], [to_device(1)])
        await ada.incoming.receive(bob.name, "t2", [], [to_device(1), to_device(2)])
        assert [message["content"]["n"] for message in await ada.inbox_of(alice)] == [1, 2]


async def test_a_bad_event_gets_its_error_and_the_others_go_on() -> None:
    async with two_boxes() as (ada, bob):
        room, _, bert = await shared_room(ada, bob)
        good = await message_of(bob, room, bert, "hello")
        forged = {**good, "signatures": {"bob.example": {next(iter(good["signatures"]["bob.example"])): "A" * 86}}}
        foreign = {**good, "room_id": "!nowhere:bob.example"}
        reply = await ada.incoming.receive(bob.name, "t1", [forged, foreign, {}, "text", None, good], [5, None, {}])
        assert len([result for result in reply["pdus"].values() if result == {}]) <= 1
        assert await ada.bodies(room) == ["hello"]


@pytest.mark.parametrize(("pdus", "edus"), [({}, []), ([], "x"), (None, [])])
async def test_a_transaction_of_another_form_is_refused(pdus: Any, edus: Any) -> None:
    async with two_boxes() as (ada, bob):
        with pytest.raises(InvalidInputError):
            await ada.incoming.receive(bob.name, "t1", pdus, edus)


async def test_a_transaction_holds_so_much_and_not_more() -> None:
    async with two_boxes() as (ada, bob):
        _, alice, _ = await shared_room(ada, bob)
        full = [to_device(n) for n in range(MAX_TRANSACTION_EDUS)]
        assert len(full) > MAX_CHANGE_TO_DEVICE
        await ada.incoming.receive(bob.name, "t1", [{}] * MAX_TRANSACTION_PDUS, full)
        assert [message["content"]["n"] for message in await ada.inbox_of(alice)] == list(range(MAX_TRANSACTION_EDUS))
        with pytest.raises(InvalidInputError, match="at most 100 edus"):
            await ada.incoming.receive(bob.name, "t2", [], [*full, to_device(0)])
        with pytest.raises(InvalidInputError, match="at most 50 pdus"):
            await ada.incoming.receive(bob.name, "t2", [{}] * (MAX_TRANSACTION_PDUS + 1), [])


async def test_a_message_too_large_for_an_inbox_does_not_spoil_the_transaction() -> None:
    async with two_boxes() as (ada, bob):
        _, alice, _ = await shared_room(ada, bob)
        huge = to_device(1)
        huge["content"]["messages"]["@alice:ada.example"]["D1"] = {"blob": "x" * (MAX_EVENT_BYTES + 1)}
        assert await ada.incoming.receive(bob.name, "t1", [], [huge, to_device(2)]) == {"pdus": {}}
        assert [message["content"]["n"] for message in await ada.inbox_of(alice)] == [2]


async def test_an_update_of_devices_reaches_those_who_share_a_room() -> None:
    async with two_boxes() as (ada, bob):
        _, alice, bert = await shared_room(ada, bob)
        content = {"user_id": bert, "device_id": "B1", "stream_id": 5}
        updates = [
            {"edu_type": "m.device_list_update", "content": content},
            {"edu_type": "m.signing_key_update", "content": {"user_id": bert}},
        ]
        with ada.ledger.watch(("user", alice)) as watch:
            before = ada.ledger.position
            await ada.incoming.receive(bob.name, "t1", [], updates)
            with trio.fail_after(1):
                assert await watch.wait() == {("user", alice)}
        assert bert in await ada.ledger.read(device_lists.changed_since, before, ada.ledger.position)


async def test_nothing_is_kept_of_people_nobody_here_shares_a_room_with() -> None:
    async with two_boxes() as (ada, bob):
        await shared_room(ada, bob)
        before = await ada.ledger.read(lambda index: index.value("SELECT count(*) FROM names"))
        units = []
        for number in range(40):
            user = f"@nobody{number}:bob.example"
            content = {"user_id": user, "device_id": "B1", "stream_id": number}
            units.append({"edu_type": "m.device_list_update", "content": content})
            units.append({"edu_type": "m.signing_key_update", "content": {"user_id": user}})
        await ada.incoming.receive(bob.name, "t1", [], units)
        assert await ada.ledger.read(lambda index: index.value("SELECT count(*) FROM names")) == before


async def test_a_stranger_may_leave_a_few_messages_at_a_time() -> None:
    async with two_boxes() as (ada, bob):
        alice = await ada.add_user("alice")
        full = [to_device(n) for n in range(MAX_TRANSACTION_EDUS)]
        await ada.incoming.receive(bob.name, "t1", [], full)
        assert len(await ada.inbox_of(alice)) == MAX_STRANGER_TO_DEVICE


async def test_old_transactions_are_forgotten() -> None:
    async with two_boxes() as (ada, bob):
        _, alice, _ = await shared_room(ada, bob)
        clock = FakeClock(tick_ms=0)
        incoming = Incoming(ada.ledger, ada.receiver, ada.typing, ada.name, clock, ada.admission)
        await incoming.receive(bob.name, "t1", [], [to_device(0)])
        clock.now_ms += TRANSACTION_MEMORY_S * 1000 + 1
        await incoming.receive(bob.name, "t2", [], [to_device(9)])
        await incoming.receive(bob.name, "t1", [], [to_device(1)])
        await incoming.receive(bob.name, "t2", [], [to_device(2)])
        assert [message["content"]["n"] for message in await ada.inbox_of(alice)] == [0, 9, 1]


async def test_what_peers_say_all_day_long_costs_no_commit() -> None:
    async with two_boxes() as (ada, bob):
        room, alice, bert = await shared_room(ada, bob)
        event_id = await ada.say(room, alice, "read me")
        durable = ada.ledger.durable_position
        for number in range(3):
            units = [typing(bert, room), receipt(bert, room, event_id), {"edu_type": "m.presence", "content": {}}]
            assert await ada.incoming.receive(bob.name, f"t{number}", [], units) == {"pdus": {}}
        assert ada.ledger.durable_position == durable
        assert await ada.ledger.read(receipts.receipts_since, room, 0, alice) == {
            event_id: {"m.read": {bert: {"ts": 5}}}
        }


async def test_messages_for_all_devices_of_somebody_with_as_many_as_one_may_have_arrive_everywhere() -> None:
    async with two_boxes() as (ada, bob):
        _, alice, _ = await shared_room(ada, bob)
        names = [DeviceId(f"X{number}") for number in range(MAX_DEVICES_PER_USER - 1)]

        def buy(change: Change) -> None:
            for name in names:
                devices.ensure(change, alice, name, None, 1)

        await ada.ledger.run(buy)
        units = [to_device(number, "*") for number in range(20)]
        assert await ada.incoming.receive(bob.name, "t1", [], units) == {"pdus": {}}
        for name in (names[0], names[-1]):
            assert len(await ada.inbox_of(alice, name)) == 20


async def test_a_message_for_nobody_here_changes_nothing() -> None:
    async with two_boxes() as (ada, bob):
        _, alice, _ = await shared_room(ada, bob)

        def messages(change: Change) -> None:
            assert change.value("SELECT count(*) FROM to_device") == 0

        await ada.incoming.receive(bob.name, "t1", [], [to_device(1, "unknown")])
        await ada.ledger.run(messages)
        await ada.incoming.receive(bob.name, "t2", [], [to_device(2, "*")])
        assert len(await ada.inbox_of(alice)) == 1


def typing(user: str, room: str, *, on: bool = True) -> dict[str, Any]:
    return {"edu_type": "m.typing", "content": {"room_id": room, "user_id": user, "typing": on}}


def receipt(user: str, room: str, event_id: str) -> dict[str, Any]:
    return {
        "edu_type": "m.receipt",
        "content": {room: {"m.read": {user: {"event_ids": [event_id], "data": {"ts": 5}}}}},
    }


async def test_who_types_and_how_far_they_read_is_shown_for_members_only() -> None:
    async with two_boxes() as (ada, bob):
        room, alice, bert = await shared_room(ada, bob)
        event_id = await ada.say(room, alice, "read me")
        stranger = "@nobody:bob.example"
        units = [
            typing(bert, room),
            typing(stranger, room),
            receipt(bert, room, event_id),
            receipt(stranger, room, event_id),
        ]
        await ada.incoming.receive(bob.name, "t1", [], units)
        assert ada.typing.users(room) == [bert]
        content = await ada.ledger.read(receipts.receipts_since, room, 0, alice)
        assert content == {event_id: {"m.read": {bert: {"ts": 5}}}}
        await ada.incoming.receive(bob.name, "t2", [], [typing(bert, room, on=False)])
        assert ada.typing.users(room) == []


async def test_a_server_that_is_shut_out_is_not_heard() -> None:
    async with two_boxes() as (ada, bob):
        room, alice, bert = await shared_room(ada, bob)
        pdu = await message_of(bob, room, bert, "let me in")
        event_id = await ada.say(room, alice, "bye")
        acl = {"allow": ["*"], "deny": ["bob.*"]}
        await ada.writer.send(room, alice, "m.room.server_acl", acl, state_key="")
        units = [typing(bert, room), receipt(bert, room, event_id)]
        reply = await ada.incoming.receive(bob.name, "t1", [pdu], units)
        assert all("error" in result for result in reply["pdus"].values())
        assert len(reply["pdus"]) == 1
        assert ada.typing.users(room) == []
        assert await ada.ledger.read(receipts.receipts_since, room, 0, alice) == {}
