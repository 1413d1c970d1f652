from typing import Any

import pytest

from relay.base.config import LimitsConfig
from relay.base.errors import InvalidInputError, TooLargeError
from relay.base.ids import DeviceId, UserId
from relay.base.limits import KIB, MAX_EVENT_BYTES, MIB, TO_DEVICE_ENTRY_BYTES, TO_DEVICE_SEEN_CHANGES
from relay.household import devices, to_device
from relay.household.stored_json import pack
from relay.store.ledger import Change, Ledger
from tests.unit.household.conftest import ALICE, BOB, CAROL, PHONE, TABLET

SMALL = LimitsConfig(device_inbox_mib=1)


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


async def _held(ledger: Ledger) -> dict[DeviceId, tuple[int, int]]:
    return {one.device: (one.held_bytes, one.dropped) for one in await ledger.read(to_device.fullest, 10)}


async def _send(ledger: Ledger, sender: UserId, text: str, size: int, device: DeviceId = PHONE) -> None:
    content = {"text": text, "filling": "x" * size}
    await ledger.run(to_device.enqueue, ALICE, device, sender, "m.test", content, limits=SMALL)


async def test_an_inbox_is_full_at_its_limit_in_bytes_and_loses_the_oldest_of_the_server_that_sent_most(
    home: Ledger,
) -> None:
    await _send(home, BOB, "bob", 25_000)
    for number in range(16):
        await _send(home, CAROL, str(number), 60_000)
    (held,) = (await _held(home)).values()
    left = MIB - held[0]
    assert held[1] == 0
    assert 0 < left < 64 * KIB
    frame = len(pack({"text": "fits", "filling": ""})) + TO_DEVICE_ENTRY_BYTES + 3
    await _send(home, CAROL, "fits", left - frame)
    size_bytes, dropped = (await _held(home))[PHONE]
    assert (MIB - 8 <= size_bytes <= MIB, dropped) == (True, 0)
    assert len(await _texts(home)) == 18
    await _send(home, BOB, "over", 1000)
    bytes_left, dropped = (await _held(home))[PHONE]
    assert dropped == 2
    assert bytes_left <= MIB
    assert await _texts(home) == ["bob", *map(str, range(2, 16)), "fits", "over"]


async def test_all_inboxes_together_are_bounded_and_the_device_away_longest_pays(home: Ledger) -> None:
    both = LimitsConfig(device_inbox_mib=1, devices_inbox_mib=1)
    await home.run(devices.touch, ALICE, TABLET, 1)
    await home.run(devices.touch, ALICE, PHONE, 2_000_000)
    for number in range(10):
        for device in (TABLET, PHONE):
            content = {"text": number, "filling": "x" * 60_000}
            await home.run(to_device.enqueue, ALICE, device, CAROL, "m.test", content, limits=both)
    held = await _held(home)
    assert held[PHONE][1] == 0
    assert held[TABLET][1] > 0
    assert await home.read(to_device.held_bytes) <= MIB
    assert await _texts(home) == list(range(10))
    assert (await _texts(home, TABLET))[-1] == 9


async def test_what_an_app_took_or_a_device_leaves_behind_no_longer_counts(home: Ledger) -> None:
    await _send(home, BOB, "one", 1000)
    await _send(home, BOB, "two", 1000)
    await _send(home, BOB, "other", 1000, TABLET)
    held = (await _held(home))[PHONE][0]
    position = (await home.read(to_device.pending, ALICE, PHONE, 0, home.position, 1))[0][0]
    await home.run(to_device.drop_up_to, ALICE, PHONE, position)
    assert (await _held(home))[PHONE][0] == held / 2
    await home.run(devices.delete, ALICE, [TABLET])
    assert TABLET not in await _held(home)
    await home.run(to_device.drop_up_to, ALICE, PHONE, home.position)
    assert await home.read(to_device.held_bytes) == 0


async def test_counts_that_are_not_right_are_made_right(home: Ledger) -> None:
    await _send(home, BOB, "one", 1000)
    assert not await home.read(to_device.is_miscounted)
    right = await _held(home)

    def spoil(change: Change) -> None:
        change.write(to_device.OPERATIONS[6], change.find(ALICE), PHONE, -500, 0)

    await home.run(spoil)
    assert await home.read(to_device.is_miscounted)
    await home.run(to_device.recount)
    assert await _held(home) == right


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
