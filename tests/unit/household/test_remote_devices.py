from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.base.errors import RelayError
from relay.base.ids import DeviceId, ServerName
from relay.base.limits import MAX_REMOTE_DEVICES_PER_USER
from relay.household import cross_signing, device_lists, remote_devices
from relay.household.tables import TABLES
from relay.store.ledger import Change, Ledger
from tests.fakes.ledger import memory_ledger
from tests.unit.household.conftest import ALICE, CAROL, PHONE, TABLET
from tests.unit.household.signing import Signer

FAR = ServerName("far.test")
CAROLS = Signer(CAROL)


def listed(*names: str, stream_id: int = 5) -> dict[str, Any]:
    devices = [
        {"device_id": name, "keys": CAROLS.device(name), "device_display_name": name.lower()}  # type: ignore[arg-type]
        for name in names
    ]
    return {"stream_id": stream_id, "devices": devices, "master_key": CAROLS.key("master")}


def update(device: str, stream_id: int, *previous: int, **more: Any) -> dict[str, Any]:
    return {"user_id": CAROL, "device_id": device, "stream_id": stream_id, "prev_id": list(previous), **more}


def _meet(change: Change) -> None:
    change.intern(CAROL)


async def _known(ledger: Ledger) -> set[str]:
    answer = await ledger.read(remote_devices.query_cached, {CAROL: []}, ALICE)
    return set(answer["device_keys"].get(CAROL, {}))


async def test_a_whole_list_replaces_what_was_known(ledger: Ledger) -> None:
    await ledger.run(remote_devices.store_list, CAROL, listed("A", "B"))
    await ledger.run(remote_devices.store_list, CAROL, listed("B", "C"))
    assert await _known(ledger) == {"B", "C"}
    assert await ledger.read(remote_devices.is_current, CAROL)
    answer = await ledger.read(remote_devices.query_cached, {CAROL: [DeviceId("B")]}, ALICE)
    assert answer["device_keys"] == {CAROL: {"B": {**CAROLS.device("B"), "unsigned": {"device_display_name": "b"}}}}  # type: ignore[arg-type]
    assert answer["master_keys"] == {CAROL: CAROLS.key("master")}


async def test_updates_in_order_are_applied_and_told(ledger: Ledger) -> None:
    await ledger.run(remote_devices.store_list, CAROL, listed(PHONE))
    seen = ledger.position
    await ledger.run(remote_devices.apply_update, FAR, update(TABLET, 6, 5, keys=CAROLS.device(TABLET)))
    await ledger.run(remote_devices.apply_update, FAR, update(PHONE, 7, 6, deleted=True))
    assert await _known(ledger) == {TABLET}
    assert await ledger.read(remote_devices.is_current, CAROL)
    assert await ledger.read(device_lists.changed_since, seen, ledger.position) == {CAROL}


async def test_a_gap_makes_the_list_stale_until_it_is_asked_for(ledger: Ledger) -> None:
    await ledger.run(remote_devices.store_list, CAROL, listed(PHONE))
    await ledger.run(remote_devices.apply_update, FAR, update(TABLET, 9, 8, keys=CAROLS.device(TABLET)))
    assert not await ledger.read(remote_devices.is_current, CAROL)
    assert await _known(ledger) == {PHONE}
    await ledger.run(remote_devices.apply_update, FAR, update(TABLET, 10, 9))
    assert not await ledger.read(remote_devices.is_current, CAROL)
    await ledger.run(remote_devices.store_list, CAROL, listed(PHONE, TABLET, stream_id=10))
    assert await ledger.read(remote_devices.is_current, CAROL)
    await ledger.run(remote_devices.mark_stale, CAROL)
    assert not await ledger.read(remote_devices.is_current, CAROL)


async def test_a_server_that_starts_anew_to_tell_is_asked_for_the_whole_list(ledger: Ledger) -> None:
    await ledger.run(remote_devices.store_list, CAROL, listed(PHONE))
    await ledger.run(remote_devices.apply_update, FAR, update(TABLET, 9, keys=CAROLS.device(TABLET)))
    assert not await ledger.read(remote_devices.is_current, CAROL)


async def test_a_look_at_somebody_out_of_touch_ends_the_trust_in_the_list(ledger: Ledger) -> None:
    await ledger.run(remote_devices.store_list, CAROL, listed(PHONE))
    await ledger.run(remote_devices.store_answer, CAROL, {})
    assert not await ledger.read(remote_devices.is_current, CAROL)


async def test_an_update_about_somebody_never_asked_for_is_only_told(ledger: Ledger) -> None:
    await ledger.run(_meet)
    await ledger.run(remote_devices.apply_update, FAR, update(PHONE, 1, keys=CAROLS.device(PHONE)))
    await ledger.run(remote_devices.mark_stale, CAROL)
    assert await _known(ledger) == set()
    assert not await ledger.read(remote_devices.is_current, CAROL)
    assert await ledger.read(device_lists.changed_since, 0, ledger.position) == {CAROL}


async def test_an_update_about_somebody_never_met_takes_no_room(ledger: Ledger) -> None:
    before = ledger.position
    await ledger.run(remote_devices.apply_update, FAR, update(PHONE, 1))
    await ledger.run(remote_devices.apply_signing_key_update, FAR, {"user_id": CAROL, "master_key": {}})
    assert ledger.position == before


@pytest.mark.parametrize(
    "odd", [{"device_id": 5}, {"stream_id": "6"}, {"stream_id": 2**63}, {"prev_id": 5}, {"prev_id": ["5"]}]
)
async def test_a_malformed_update_makes_the_list_stale(ledger: Ledger, odd: dict[str, Any]) -> None:
    await ledger.run(remote_devices.store_list, CAROL, listed(PHONE))
    await ledger.run(remote_devices.apply_update, FAR, update(PHONE, 6, 5) | odd)
    assert not await ledger.read(remote_devices.is_current, CAROL)
    assert await _known(ledger) == {PHONE}


async def test_keys_with_odd_numbers_are_left_out(ledger: Ledger) -> None:
    odd = {**CAROLS.device(PHONE), "n": 2**70}
    await ledger.run(remote_devices.store_answer, CAROL, {"device_keys": {CAROL: {PHONE: odd}}})
    content = {"user_id": CAROL, "master_key": {**CAROLS.key("master"), "n": 2**70}}
    await ledger.run(remote_devices.apply_signing_key_update, FAR, content)
    assert await _known(ledger) == set()
    assert await ledger.read(cross_signing.keys_of, CAROL, None) == {}


async def test_new_signing_keys_are_stored_and_told(ledger: Ledger) -> None:
    await ledger.run(_meet)
    content = {"user_id": CAROL, "master_key": CAROLS.key("master"), "self_signing_key": CAROLS.key("self_signing")}
    await ledger.run(remote_devices.apply_signing_key_update, FAR, content)
    assert set(await ledger.read(cross_signing.keys_of, CAROL, None)) == {"master", "self_signing"}
    assert await ledger.read(device_lists.changed_since, 0, ledger.position) == {CAROL}


async def test_nobody_speaks_for_users_of_another_server(ledger: Ledger) -> None:
    other = ServerName("other.test")
    with pytest.raises(RelayError):
        await ledger.run(remote_devices.apply_update, other, update(PHONE, 1))
    with pytest.raises(RelayError):
        await ledger.run(remote_devices.apply_signing_key_update, other, {"user_id": CAROL})


async def test_keys_that_name_somebody_else_are_not_believed(ledger: Ledger) -> None:
    await ledger.run(remote_devices.store_list, CAROL, listed())
    stolen = {**CAROLS.device(PHONE), "user_id": ALICE}
    await ledger.run(remote_devices.apply_update, FAR, update(PHONE, 6, 5, keys=stolen))
    await ledger.run(remote_devices.store_answer, CAROL, {"device_keys": {CAROL: {PHONE: stolen}}})
    assert await _known(ledger) == set()


async def test_a_peer_cannot_give_devices_without_number(ledger: Ledger) -> None:
    names = [f"D{number}" for number in range(MAX_REMOTE_DEVICES_PER_USER + 1)]
    keys = {name: {"user_id": CAROL, "device_id": name, "keys": {}} for name in names}
    await ledger.run(remote_devices.store_answer, CAROL, {"device_keys": {CAROL: keys}})
    assert len(await _known(ledger)) == MAX_REMOTE_DEVICES_PER_USER
    await ledger.run(
        remote_devices.store_list,
        CAROL,
        {"stream_id": 1, "devices": [{"device_id": name, "keys": keys[name]} for name in names]},
    )
    more = keys["D0"] | {"device_id": "one more"}
    await ledger.run(remote_devices.apply_update, FAR, update("one more", 2, 1, keys=more))
    assert len(await _known(ledger)) == MAX_REMOTE_DEVICES_PER_USER


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    ["user_id", "device_id", "stream_id", "prev_id", "keys", "deleted", "devices", "master_key", "device_keys"]
)


@settings(max_examples=60, deadline=None)
@example(content={"stream_id": 2**63, "device_id": "A"})
@given(content=st.dictionaries(FIELDS, JSON, max_size=6))
async def test_hostile_input_is_refused_clearly_or_changes_nothing_much(content: dict[str, Any]) -> None:
    async with memory_ledger(TABLES) as ledger:
        await ledger.run(remote_devices.store_list, CAROL, listed(PHONE))
        for shape in (content, {**update(PHONE, 6, 5), **content, "user_id": CAROL}):
            for step in (remote_devices.apply_update, remote_devices.apply_signing_key_update):
                try:
                    await ledger.run(step, FAR, shape)
                except RelayError as error:
                    assert error.fault.value == "peer"
        await ledger.run(remote_devices.store_list, CAROL, content)
        await ledger.run(remote_devices.store_answer, CAROL, content)
        await ledger.read(remote_devices.query_cached, {CAROL: []}, ALICE)
