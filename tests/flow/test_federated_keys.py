"""Keys of people elsewhere, asked for by an app here: over two whole federation doors."""

import trio

from relay.base.ids import DeviceId, ServerName, UserId
from relay.delivery import device_fan_out
from relay.delivery.in_touch import in_touch_since
from relay.household import cross_signing, device_keys, remote_devices
from relay.household.key_queries import KeyQueries
from relay.store.ledger import Change
from tests.fakes.federated import FederatedBox
from tests.flow.test_federation import new_town, share_room
from tests.unit.household.signing import Signer

PHONE = DeviceId("D1")


def queries_of(box: FederatedBox) -> KeyQueries:
    return KeyQueries(box.ledger, box.people, box.name, in_touch_since)


async def publish(box: FederatedBox, signer: Signer) -> None:
    def step(change: Change) -> None:
        device_keys.upload(change, signer.user, PHONE, signer.device(PHONE), {}, {})
        device_fan_out.note(change, signer.user, PHONE)
        cross_signing.upload_keys(change, signer.user, signer.keys())
        device_fan_out.note(change, signer.user, None)

    await box.ledger.run(step)


async def found(queries: KeyQueries, asking: UserId, user: UserId) -> tuple[object, object]:
    """Return the phone's and the master key of `user` as `asking` is told them."""
    answer = await queries.query(asking, {user: []}, 10)
    assert answer["failures"] == {}
    phone = answer["device_keys"].get(user, {}).get(PHONE)
    shown = None if phone is None else {name: part for name, part in phone.items() if name != "unsigned"}
    return shown, answer["master_keys"].get(user)


async def test_keys_are_asked_for_once_and_then_kept_current_by_updates() -> None:
    async with new_town() as town, town.box("ada.example") as ada, town.box("bob.example") as bob:
        _, (alice, bert) = await share_room(ada, bob)
        old, new, queries = Signer(bert), Signer(bert, "new"), queries_of(ada)
        await publish(bob, old)
        assert await found(queries, alice, bert) == (old.device(PHONE), old.key("master"))
        await publish(bob, new)
        with ada.ledger.watch(("user", alice)) as watch:
            while await found(queries, alice, bert) != (new.device(PHONE), new.key("master")):
                await watch.wait()
        await town.cut_off("bob.example")
        answer = await queries.query(alice, {bert: []}, 10)
        assert answer["master_keys"] == {bert: new.key("master")}


async def test_what_changed_while_apart_is_known_after_meeting_again() -> None:
    async with new_town() as town, town.box("ada.example") as ada, town.box("bob.example") as bob:
        room, (alice, bert) = await share_room(ada, bob)
        old, new, queries = Signer(bert), Signer(bert, "new"), queries_of(ada)
        await publish(bob, old)
        assert await found(queries, alice, bert) == (old.device(PHONE), old.key("master"))
        await bob.leaving.leave(bert, room)
        while await ada.membership(room, bert) != "leave":
            await trio.sleep(0.01)
        await publish(bob, new)
        await bob.joining.join(bert, room, [ServerName("ada.example")], {})
        while await ada.membership(room, bert) != "join":
            await trio.sleep(0.01)
        while await found(queries, alice, bert) != (new.device(PHONE), new.key("master")):
            await trio.sleep(0.01)
        assert await ada.ledger.read(remote_devices.is_current, bert)


async def test_somebody_verified_elsewhere_is_shown_so_to_the_one_who_did() -> None:
    async with new_town() as town, town.box("ada.example") as ada, town.box("bob.example") as bob:
        _, (alice, bert) = await share_room(ada, bob)
        alices, berts, queries = Signer(alice), Signer(bert), queries_of(ada)
        await publish(ada, alices)
        await publish(bob, berts)
        await found(queries, alice, bert)
        signed = {bert: {berts.public("master"): alices.sign(berts.key("master"), "user_signing")}}
        outcome = await ada.ledger.run(cross_signing.add_signatures, alice, signed)
        assert (outcome.failures, outcome.others) == ({}, [bert])
        answer = await queries.query(alice, {bert: []}, 10)
        assert alice in answer["master_keys"][bert]["signatures"]
        told = await bob.people.query_keys(ada.name, {alice: []})
        assert told["master_keys"] == {alice: alices.key("master")}
        assert not told.get("user_signing_keys")
