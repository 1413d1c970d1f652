from typing import Any

import pytest

from relay.base.errors import InvalidInputError, TooLargeError
from relay.base.ids import DeviceId
from relay.base.limits import MAX_EVENT_BYTES, TO_DEVICE_SEEN_CHANGES
from relay.household import to_device
from relay.store.ledger import Change, Ledger
from tests.unit.household.conftest import ALICE, BOB, CAROL, PHONE, TABLET


async def _texts(ledger: Ledger, device: DeviceId = PHONE, after: int = 0, limit: int = 100) -> list[Any]:
    found = await ledger.read(to_device.pending, ALICE, device, after, ledger.position, limit)
    return [message["content"]["text"] for _, message in found]


async def test_a_message_waits_for_the_device_it_is_for(home: Ledger) -> None:
    assert await home.run(to_device.enqueue, ALICE, PHONE, CAROL, "m.room.encrypted", {"text": "secret"}) == 1
    ((position, message),) = await home.read(to_device.pending, ALICE, PHONE, 0, home.position, 10)
    assert (position, message) == (
        home.position,
        {"sender": CAROL, "type": "m.room.encrypted", "content": {"text": "secret"}},
    )
    assert await _texts(home, TABLET) == []
    assert await home.run(to_device.enqueue, ALICE, DeviceId("NONE"), CAROL, "m.test", {}) == 0
    assert await home.run(to_device.enqueue, CAROL, PHONE, ALICE, "m.test", {}) == 0


async def test_a_star_reaches_every_device_and_wakes_their_owner(home: Ledger) -> None:
    with home.watch(("user", ALICE)) as watch:
        assert await home.run(to_device.enqueue, ALICE, "*", BOB, "m.test", {"text": "all"}) == 2
        await watch.wait()
    assert await _texts(home, PHONE) == await _texts(home, TABLET) == ["all"]


async def test_messages_are_kept_in_order_until_the_app_came_back(home: Ledger) -> None:
    positions = []
    for text in "abcd":
        await home.run(to_device.enqueue, ALICE, PHONE, BOB, "m.test", {"text": text})
        positions.append(home.position)
    assert await _texts(home, limit=2) == ["a", "b"]
    assert await _texts(home, after=positions[1]) == ["c", "d"]
    assert await home.read(to_device.pending, ALICE, PHONE, 0, positions[0], 9) != []
    await home.run(to_device.drop_up_to, ALICE, PHONE, positions[1])
    assert await _texts(home) == ["c", "d"]
    await home.run(to_device.drop_up_to, ALICE, PHONE, positions[3])
    assert await _texts(home) == []


async def test_messages_of_one_change_stay_together(home: Ledger) -> None:
    def three(change: Change) -> None:
        for text in "abc":
            to_device.enqueue(change, ALICE, PHONE, BOB, "m.test", {"text": text})

    await home.run(three)
    await home.run(to_device.enqueue, ALICE, PHONE, BOB, "m.test", {"text": "d"})
    assert await _texts(home, limit=1) == ["a", "b", "c"]
    assert await _texts(home, limit=4) == ["a", "b", "c", "d"]


async def test_what_cannot_be_stored_is_left_out_and_named_to_the_own_apps(home: Ledger) -> None:
    cases: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"n": 2**70}, InvalidInputError),
        ({"": "x" * MAX_EVENT_BYTES}, TooLargeError),
    ]
    for content, error in cases:
        assert await home.run(to_device.enqueue, ALICE, PHONE, CAROL, "m.test", content) == 0
        with pytest.raises(error):
            to_device.check_content(content)


async def test_an_inbox_that_overflows_loses_the_oldest_of_whoever_sent_most(home: Ledger) -> None:
    for number in range(8):
        await home.run(to_device.enqueue, ALICE, PHONE, CAROL, "m.test", {"text": number})
        if number % 4 == 0:
            await home.run(to_device.enqueue, ALICE, PHONE, BOB, "m.test", {"text": f"bob {number}"})

    def shrink(change: Change, most: int) -> None:
        to_device.shrink(change, change.intern(ALICE), PHONE, most)

    await home.run(shrink, 10)
    assert len(await _texts(home)) == 10
    await home.run(shrink, 9)
    assert await _texts(home) == ["bob 0", "bob 4", 5, 6, 7]


async def test_the_same_message_id_of_a_sender_is_kept_once(home: Ledger) -> None:
    for sender, message_id in [(BOB, "m1"), (BOB, "m1"), (CAROL, "m1"), (BOB, "m2"), (BOB, None), (BOB, None)]:
        await home.run(to_device.enqueue, ALICE, PHONE, sender, "m.test", {"text": message_id}, message_id)
    assert await _texts(home) == ["m1", "m1", "m2", None, None]


async def test_message_ids_are_forgotten_in_time(home: Ledger) -> None:
    def long_ago(change: Change) -> None:
        change.position -= 2 * TO_DEVICE_SEEN_CHANGES + 1
        to_device.enqueue(change, ALICE, PHONE, BOB, "m.test", {}, "old")
        change.position += 2 * TO_DEVICE_SEEN_CHANGES + 1
        to_device.enqueue(change, ALICE, PHONE, BOB, "m.test", {}, "new")

    await home.run(long_ago)
    assert await home.read(lambda index: index.value("SELECT COUNT(*) FROM to_device_seen")) == 1
