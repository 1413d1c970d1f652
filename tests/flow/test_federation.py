"""Boxes with their whole federation doors, talking over memory streams."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from relay.base.config import DeliveryConfig
from relay.base.errors import NotFoundError, PeerRefusedError, UnreachableError
from relay.base.ids import DeviceId, MediaId, RoomId, ServerName, UserId, parse_room_alias
from relay.delivery import device_fan_out, to_device
from relay.delivery.outbox import queue as outbox_queue
from relay.household import device_keys, profile, remote_devices
from relay.rooms.matrix import aliases
from relay.store.ledger import Change
from tests.fakes.federated import FederatedBox, FederatedTown
from tests.fakes.files import MemoryFiles


@contextlib.asynccontextmanager
async def new_town(*, http2: bool = False) -> AsyncIterator[FederatedTown]:
    async with trio.open_nursery() as nursery:
        with trio.fail_after(20):
            yield FederatedTown(nursery, http2=http2)
        nursery.cancel_scope.cancel()


async def share_room(ada: FederatedBox, *others: FederatedBox, version: str = "12") -> tuple[RoomId, list[UserId]]:
    alice = await ada.add_user("alice")
    room = await ada.create(alice, version)
    users = [alice]
    for other in others:
        users.append(await other.add_user("bert"))
        await other.joining.join(users[-1], room, [ada.name], {})
    return room, users


@pytest.mark.parametrize(("version", "http2"), [("10", False), ("11", True), ("12", False)])
async def test_invite_join_and_a_message_each_way(version: str, http2: bool) -> None:
    async with new_town(http2=http2) as town, town.box("ada.example") as ada, town.box("bob.example") as bob:
        alice, bert = await ada.add_user("alice"), await bob.add_user("bert")
        room = await ada.create(alice, version)
        await ada.inviting.invite(alice, room, bert)
        assert await bob.membership(room, bert) == "invite"
        assert await bob.joining.join(bert, room, [ada.name], {}) == room
        await ada.say(room, alice, "hello")
        await bob.wait_for(room, "hello")
        await bob.say(room, bert, "and you")
        await ada.wait_for(room, "and you")


async def test_a_join_at_one_server_is_passed_on_to_the_others() -> None:
    async with (
        new_town() as town,
        town.box("ada.example") as ada,
        town.box("bob.example") as bob,
        town.box("cia.example") as cia,
    ):
        room, (_, bert, carl) = await share_room(ada, bob, cia)
        with bob.ledger.watch(("room", room)) as watch:
            while await bob.membership(room, carl) != "join":
                await watch.wait()
        await cia.say(room, carl, "hello all")
        await ada.wait_for(room, "hello all")
        await bob.wait_for(room, "hello all")
        await bob.say(room, bert, "hello carl")
        await cia.wait_for(room, "hello carl")


async def test_what_was_said_while_a_box_was_off_comes_at_once_when_it_is_home_again() -> None:
    files = MemoryFiles()
    patient = DeliveryConfig(retry_first_s=0.3, retry_most_s=3600)
    async with new_town() as town, town.box("ada.example", config=patient) as ada:
        async with town.box("bob.example", files=files) as bob:
            room, (alice, bert) = await share_room(ada, bob)
        for number in range(120):
            await ada.say(room, alice, f"n{number}")
        await ada.ledger.run(to_device.route, alice, "m.key", {bert: {DeviceId("D1"): {"k": 1}}}, message_id="x")
        with trio.move_on_after(0.1):
            await trio.sleep_forever()
        async with town.box("bob.example", files=files, greet=True) as bob:
            with trio.fail_after(4):
                await bob.wait_for(room, "n119")
            assert await bob.bodies(room) == [f"n{number}" for number in range(120)]
            assert [message["content"] for message in await bob.inbox_of(bert)] == [{"k": 1}]
    files.unregister()


async def test_a_box_that_restarts_sends_what_it_could_not() -> None:
    files = MemoryFiles()
    async with new_town() as town, town.box("bob.example") as bob:
        async with town.box("ada.example", files=files) as ada:
            room, (alice, _) = await share_room(ada, bob)
            await town.cut_off("bob.example")
            await ada.say(room, alice, "one")
            await ada.say(room, alice, "two")
            await trio.sleep(0.1)
        assert await bob.bodies(room) == []
        town.network.cut.discard("bob.example")
        async with town.box("ada.example", files=files, greet=True) as ada:
            await bob.wait_for(room, "two")
            await ada.say(room, alice, "three")
            await bob.wait_for(room, "three")
        assert await bob.bodies(room) == ["one", "two", "three"]
    files.unregister()


async def test_leaving_kicking_and_refusing_reach_the_other_side() -> None:
    async with new_town() as town, town.box("ada.example") as ada, town.box("bob.example") as bob:
        room, (alice, bert) = await share_room(ada, bob)
        await bob.leaving.leave(bert, room)
        with ada.ledger.watch(("room", room)) as watch:
            while await ada.membership(room, bert) != "leave":
                await watch.wait()
        await bob.joining.join(bert, room, [ada.name], {})
        kick: dict[str, Any] = {"membership": "leave", "reason": "bye"}
        await ada.writer.send(room, alice, "m.room.member", kick, state_key=bert)
        with bob.ledger.watch(("room", room)) as watch:
            while await bob.membership(room, bert) != "leave":
                await watch.wait()
        await ada.inviting.invite(alice, room, bert)
        await bob.leaving.leave(bert, room)
        assert await ada.membership(room, bert) == "leave"


async def test_a_taken_back_invite_is_gone_at_the_other_side() -> None:
    async with new_town() as town, town.box("ada.example") as ada, town.box("bob.example") as bob:
        alice, bert = await ada.add_user("alice"), await bob.add_user("bert")
        room = await ada.create(alice)
        await ada.inviting.invite(alice, room, bert)
        await ada.writer.send(room, alice, "m.room.member", {"membership": "leave"}, state_key=bert)
        with bob.ledger.watch(("user", bert)) as watch:
            while await bob.membership(room, bert) == "invite":
                await watch.wait()


def keys_of(user: UserId, device: str, public: str) -> dict[str, Any]:
    return {
        "user_id": user,
        "device_id": device,
        "algorithms": ["m.megolm.v1.aes-sha2"],
        "keys": {f"ed25519:{device}": public},
        "signatures": {},
    }


async def publish(box: FederatedBox, user: UserId, public: str, one_time: str) -> None:
    def step(change: Change) -> None:
        device = DeviceId("D1")
        one_time_keys = {f"signed_curve25519:{one_time}": {"key": one_time}}
        device_keys.upload(change, user, device, keys_of(user, "D1", public), one_time_keys, {})
        device_fan_out.note(change, user, device)

    await box.ledger.run(step)


async def test_keys_are_found_claimed_once_and_kept_current() -> None:
    async with new_town() as town, town.box("ada.example") as ada, town.box("bob.example") as bob:
        _, (alice, bert) = await share_room(ada, bob)
        await publish(bob, bert, "first", "K1")
        found = await ada.people.query_keys(bob.name, {bert: []})
        assert found["device_keys"][bert]["D1"]["keys"] == {"ed25519:D1": "first"}
        claimed = await ada.people.claim_keys(bob.name, {bert: {"D1": "signed_curve25519"}})
        assert claimed == {"one_time_keys": {bert: {"D1": {"signed_curve25519:K1": {"key": "K1"}}}}}
        assert await ada.people.claim_keys(bob.name, {bert: {"D1": "signed_curve25519"}}) == {"one_time_keys": {}}
        devices = await ada.people.user_devices(bob.name, bert)
        assert [device["device_id"] for device in devices["devices"]] == ["D1"]
        await ada.ledger.run(remote_devices.store_list, bert, devices)
        with ada.ledger.watch(("user", alice)) as watch:
            await publish(bob, bert, "second", "K2")
            await watch.wait()
        shown = await ada.ledger.read(lambda index: remote_devices.query_cached(index, {bert: []}, alice))
        assert shown["device_keys"][bert]["D1"]["keys"] == {"ed25519:D1": "second"}
        assert await ada.ledger.read(remote_devices.is_current, bert)


async def test_updates_collapsed_while_a_box_was_off_make_it_ask_for_the_whole_list() -> None:
    files = MemoryFiles()
    async with new_town() as town, town.box("bob.example") as bob:
        async with town.box("ada.example", files=files) as ada:
            _, (_, bert) = await share_room(ada, bob)
            await publish(bob, bert, "first", "K1")
            await ada.ledger.run(remote_devices.store_list, bert, await ada.people.user_devices(bob.name, bert))
        await publish(bob, bert, "second", "K2")
        await trio.sleep(0.1)  # the first attempt is under way and fails; what comes now waits behind it
        for number in range(3, 7):
            await publish(bob, bert, f"key{number}", f"K{number}")
        waiting = await bob.ledger.read(outbox_queue.next_batch, ServerName("ada.example"), 0)
        assert len(waiting.edus) <= 2
        async with town.box("ada.example", files=files, greet=True) as ada:
            while await ada.ledger.read(remote_devices.is_current, bert):
                await trio.sleep(0.02)
    files.unregister()


async def test_messages_to_devices_arrive_once() -> None:
    async with new_town() as town, town.box("ada.example") as ada, town.box("bob.example") as bob:
        _, (alice, bert) = await share_room(ada, bob)
        with bob.ledger.watch(("user", bert)) as watch:
            for number in range(5):
                messages = {bert: {DeviceId("D1"): {"n": number}}, alice: {DeviceId("D1"): {"own": number}}}
                await ada.ledger.run(to_device.route, alice, "m.x", messages, message_id=f"m{number}")
            while len(await bob.inbox_of(bert)) < 5:
                await watch.wait()
        assert [message["content"]["n"] for message in await bob.inbox_of(bert)] == list(range(5))
        assert [message["content"]["own"] for message in await ada.inbox_of(alice)] == list(range(5))


async def test_profiles_and_aliases_are_told() -> None:
    async with new_town() as town, town.box("ada.example") as ada, town.box("bob.example") as bob:
        room, (alice, bert) = await share_room(ada, bob)
        alias = parse_room_alias("#home:ada.example")
        await ada.ledger.run(profile.put, alice, "displayname", "Alice")
        await ada.ledger.run(aliases.create, alias, room, alice)
        assert await bob.people.query_profile(ada.name, alice) == {"displayname": "Alice"}
        assert await bob.people.query_profile(ada.name, alice, "displayname") == {"displayname": "Alice"}
        assert await bob.peers.query_directory(ada.name, alias) == (room, [ada.name, bob.name])
        for question in (
            bob.people.query_profile(ada.name, ada.user("nobody")),
            bob.people.query_profile(ada.name, alice, "avatar_url"),
            bob.people.query_profile(ada.name, bert),
            bob.people.user_devices(ada.name, ada.user("nobody")),
            bob.peers.query_directory(ada.name, parse_room_alias("#none:ada.example")),
            bob.peers.query_directory(ada.name, parse_room_alias("#home:bob.example")),
        ):
            with pytest.raises(PeerRefusedError) as caught:
                await question
            assert caught.value.errcode in ("M_NOT_FOUND", "M_INVALID_PARAM")


async def test_the_history_of_a_room_can_be_read_by_those_in_it() -> None:
    async with (
        new_town() as town,
        town.box("ada.example") as ada,
        town.box("bob.example") as bob,
        town.box("eve.example") as eve,
    ):
        room, (alice, _) = await share_room(ada, bob)
        first = await ada.say(room, alice, "one")
        last = await ada.say(room, alice, "two")
        assert (await bob.peers.event(ada.name, last))["content"]["body"] == "two"
        bodies = [pdu["content"].get("body") for pdu in await bob.peers.backfill(ada.name, room, [last], 2)]
        assert bodies == ["two", "one"]
        between = await bob.peers.missing_events(ada.name, room, earliest=[first], latest=[last], limit=10)
        assert between == []
        pdus, chain = await bob.peers.state_ids(ada.name, room, last)
        full, full_chain = await bob.peers.state(ada.name, room, last)
        assert (len(pdus), len(chain)) == (len(full), len(full_chain))
        assert await bob.peers.event_auth(ada.name, room, last)
        for question in (
            eve.peers.event(ada.name, last),
            eve.peers.backfill(ada.name, room, [last], 2),
            eve.peers.state_ids(ada.name, room, last),
            eve.peers.event_auth(ada.name, room, last),
        ):
            with pytest.raises(PeerRefusedError) as caught:
                await question
            assert caught.value.errcode in ("M_NOT_FOUND", "M_FORBIDDEN")


async def test_a_server_heard_of_again_gets_what_waits_for_it() -> None:
    patient = DeliveryConfig(retry_first_s=0.3, retry_most_s=3600)
    async with (
        new_town() as town,
        town.box("ada.example", config=patient) as ada,
        town.box("bob.example") as bob,
    ):
        room, (alice, _) = await share_room(ada, bob)
        await town.cut_off("bob.example")
        await ada.say(room, alice, "are you there")
        await trio.sleep(0.1)
        town.network.cut.discard("bob.example")
        await bob.people.query_profile(ada.name, alice)
        await bob.wait_for(room, "are you there")


async def upload(box: FederatedBox, user: UserId, *pieces: bytes, name: str | None = None) -> MediaId:
    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return await box.media.upload(user, chunks(), "image/png", name)


@pytest.mark.parametrize("name", [None, "cat.png", 'a "quoted" näme.png'])
async def test_a_file_is_fetched_from_the_server_that_has_it(name: str | None) -> None:
    async with new_town() as town, town.box("ada.example") as ada, town.box("bob.example") as bob:
        alice = await ada.add_user("alice")
        pieces = [bytes([number]) * 70_000 for number in range(5)]
        media_id = await upload(ada, alice, *pieces, name=name)
        found = await bob.media.find(ada.name, media_id)
        assert (found.content_type, found.filename) == ("image/png", name)
        assert b"".join([piece async for piece in bob.media.read(found.file)]) == b"".join(pieces)


async def test_a_file_that_is_not_there_is_not_found() -> None:
    async with new_town() as town, town.box("ada.example") as ada, town.box("bob.example") as bob:
        alice = await ada.add_user("alice")
        await upload(ada, alice)
        with pytest.raises(NotFoundError):
            await bob.media.find(ada.name, MediaId("nothing"))
        with pytest.raises(NotFoundError):
            await bob.media.find(ada.name, MediaId("../../etc"))
        with pytest.raises(PeerRefusedError) as caught:
            await bob.client.get(ada.name, "/_matrix/federation/v1/media/thumbnail/x?width=1&height=1")
        assert (caught.value.status, caught.value.errcode) == (404, "M_NOT_FOUND")
        waiting, _ = await ada.media.create(alice)
        with pytest.raises(UnreachableError):
            async with bob.client.stream(
                ada.name, f"/_matrix/federation/v1/media/download/{waiting}", [("timeout_ms", "20")]
            ):
                pass


async def test_an_empty_file_is_a_file() -> None:
    async with new_town() as town, town.box("ada.example") as ada, town.box("bob.example") as bob:
        media_id = await upload(ada, await ada.add_user("alice"))
        found = await bob.media.find(ada.name, media_id)
        assert found.file.size_bytes == 0


async def test_a_power_cut_while_things_are_under_way_loses_and_doubles_nothing() -> None:
    files = MemoryFiles()
    said: list[str] = []
    async with new_town() as town, town.box("bob.example") as bob:
        async with town.box("ada.example", files=files) as ada:
            room, (alice, bert) = await share_room(ada, bob)
        for cut in range(6):
            async with town.box("ada.example", files=files, greet=True) as ada:
                for number in range(4):
                    said.append(f"{cut}.{number}")
                    await ada.say(room, alice, said[-1])
                    messages = {bert: {DeviceId("D1"): {"n": said[-1]}}}
                    await ada.ledger.run(to_device.route, alice, "m.x", messages, message_id=said[-1])
                for _ in range(cut * 5):
                    await trio.lowlevel.checkpoint()
                # What is on flash in this instant is all that is left.
                left = files.copy()
            files.unregister()
            files = left
        async with town.box("ada.example", files=files, greet=True) as ada:
            await bob.wait_for(room, said[-1])
            while len(await bob.inbox_of(bert)) < len(said):
                await trio.sleep(0.01)
        assert await bob.bodies(room) == said
        assert [message["content"]["n"] for message in await bob.inbox_of(bert)] == said
    files.unregister()
