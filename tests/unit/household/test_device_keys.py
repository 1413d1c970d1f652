from typing import Any

import pytest
import trio

from relay.base.errors import InvalidParamError, TooLargeError
from relay.base.ids import DeviceId
from relay.base.limits import MAX_CLAIMED_KEY_IDS_PER_DEVICE, MAX_ONE_TIME_KEYS_PER_UPLOAD
from relay.household import device_keys, devices
from relay.household.tables import TABLES
from relay.store.ledger import Ledger
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import memory_ledger
from tests.unit.household.conftest import ALICE, BOB, PHONE, TABLET, move_in

CURVE = "signed_curve25519"


def identity(device: DeviceId = PHONE, key: str = "k") -> dict[str, Any]:
    return {
        "user_id": ALICE,
        "device_id": device,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
        "keys": {f"ed25519:{device}": key},
        "signatures": {ALICE: {f"ed25519:{device}": "s"}},
    }


def one_time(*names: str) -> dict[str, Any]:
    return {f"{CURVE}:{name}": {"key": f"of {name}"} for name in names}


async def _claim(ledger: Ledger, device: DeviceId = PHONE) -> dict[str, Any]:
    given = await ledger.run(device_keys.claim_local, {ALICE: {device: CURVE}})
    return given.get(ALICE, {}).get(device, {})


async def test_identity_keys_are_news_only_when_they_change(home: Ledger) -> None:
    assert await home.run(device_keys.upload, ALICE, PHONE, identity() | {"unsigned": {"x": 1}}, {}, {})
    assert not await home.run(device_keys.upload, ALICE, PHONE, identity(), {}, {})
    assert await home.run(device_keys.upload, ALICE, PHONE, identity(key="other"), {}, {})
    assert await home.read(device_keys.keys_of, ALICE) == {PHONE: identity(key="other")}
    assert await home.read(device_keys.keys_of, ALICE, [TABLET]) == {}


@pytest.mark.parametrize("change", [{"user_id": BOB}, {"device_id": "TABLET"}, {"keys": None}, {"algorithms": "all"}])
async def test_identity_keys_of_somebody_else_are_refused(home: Ledger, change: dict[str, Any]) -> None:
    with pytest.raises(InvalidParamError):
        await home.run(device_keys.upload, ALICE, PHONE, identity() | change, {}, {})


async def test_one_time_keys_come_out_in_the_order_of_their_uploads_and_once(home: Ledger) -> None:
    await home.run(device_keys.upload, ALICE, PHONE, None, one_time("z", "y"), {})
    await home.run(device_keys.upload, ALICE, PHONE, None, one_time("a"), {})
    assert await home.read(device_keys.counts, ALICE, PHONE) == {CURVE: 3}
    given = [await _claim(home) for _ in range(4)]
    assert given == [one_time("y"), one_time("z"), one_time("a"), {}]
    assert await home.read(device_keys.counts, ALICE, PHONE) == {CURVE: 0}


async def test_fifty_claims_at_once_never_get_the_same_key(home: Ledger) -> None:
    names = [f"K{number}" for number in range(40)]
    await home.run(device_keys.upload, ALICE, PHONE, None, one_time(*names), {})
    given: list[str] = []

    async def claim() -> None:
        given.extend(await _claim(home))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(claim)
    assert sorted(given) == sorted(one_time(*names))


async def test_a_claimed_key_stays_claimed_over_a_restart_a_power_cut_and_a_repeated_upload() -> None:
    files = MemoryFiles()
    try:
        async with memory_ledger(TABLES, files=files) as ledger:
            await ledger.run(move_in, (ALICE, PHONE))
            await ledger.run(device_keys.upload, ALICE, PHONE, None, one_time("a", "b"), {})
            assert await _claim(ledger) == one_time("a")
            cut = files.copy()
        for found in (files, cut):
            async with memory_ledger(TABLES, files=found) as ledger:
                await ledger.run(device_keys.upload, ALICE, PHONE, None, one_time("a", "b"), {})
                assert [await _claim(ledger), await _claim(ledger)] == [one_time("b"), {}]
        cut.unregister()
    finally:
        files.unregister()


async def test_the_names_of_claimed_keys_are_not_kept_for_ever(home: Ledger) -> None:
    for batch in range(4):
        names = [f"{batch}-{number}" for number in range(MAX_ONE_TIME_KEYS_PER_UPLOAD)]
        await home.run(device_keys.upload, ALICE, PHONE, None, one_time(*names), {})
        for _ in names:
            await home.run(device_keys.claim_local, {ALICE: {PHONE: CURVE}})
    await home.run(device_keys.upload, ALICE, PHONE, None, one_time("last"), {})
    kept = await home.read(lambda index: index.value("SELECT COUNT(*) FROM one_time_keys WHERE claimed > 0"))
    assert kept in (MAX_CLAIMED_KEY_IDS_PER_DEVICE, MAX_CLAIMED_KEY_IDS_PER_DEVICE + 1)


async def test_a_key_id_names_one_key_only(home: Ledger) -> None:
    await home.run(device_keys.upload, ALICE, PHONE, None, one_time("a"), {})
    with pytest.raises(InvalidParamError):
        await home.run(device_keys.upload, ALICE, PHONE, None, {f"{CURVE}:a": {"key": "another"}}, {})


@pytest.mark.parametrize("keys", [{"nocolon": {}}, {":id": {}}, {"alg:": {}}, {"alg:id": 5}, {"alg:id": None}])
async def test_malformed_one_time_keys_are_refused(home: Ledger, keys: dict[str, Any]) -> None:
    with pytest.raises(InvalidParamError):
        await home.run(device_keys.upload, ALICE, PHONE, None, keys, {})
    with pytest.raises(InvalidParamError):
        await home.run(device_keys.upload, ALICE, PHONE, None, {}, keys)


async def test_too_many_keys_at_once_are_refused(home: Ledger) -> None:
    names = [str(number) for number in range(MAX_ONE_TIME_KEYS_PER_UPLOAD)]
    with pytest.raises(TooLargeError):
        await home.run(device_keys.upload, ALICE, PHONE, None, one_time(*names), one_time("fallback"))


async def test_the_fallback_key_is_given_when_the_others_are_used_up(home: Ledger) -> None:
    fallback = {f"{CURVE}:F": {"key": "f", "fallback": True}}
    await home.run(device_keys.upload, ALICE, PHONE, None, one_time("a"), fallback)
    assert await home.read(device_keys.unused_fallback_types, ALICE, PHONE) == [CURVE]
    assert await _claim(home) == one_time("a")
    assert await home.read(device_keys.unused_fallback_types, ALICE, PHONE) == [CURVE]
    assert [await _claim(home), await _claim(home)] == [fallback, fallback]
    assert await home.read(device_keys.unused_fallback_types, ALICE, PHONE) == []
    await home.run(device_keys.upload, ALICE, PHONE, None, {}, fallback)
    assert await home.read(device_keys.unused_fallback_types, ALICE, PHONE) == []
    await home.run(device_keys.upload, ALICE, PHONE, None, {}, {f"{CURVE}:G": {"key": "g"}})
    assert await home.read(device_keys.unused_fallback_types, ALICE, PHONE) == [CURVE]


async def test_another_identity_takes_the_old_one_time_keys_along(home: Ledger) -> None:
    await home.run(device_keys.upload, ALICE, PHONE, identity(), one_time("old"), {f"{CURVE}:F": {"key": "f"}})
    await home.run(device_keys.upload, ALICE, PHONE, identity(key="new"), one_time("new"), {})
    assert [await _claim(home), await _claim(home)] == [one_time("new"), {}]


async def test_a_deleted_device_leaves_no_key_behind(home: Ledger) -> None:
    await home.run(device_keys.upload, ALICE, PHONE, identity(), one_time("a"), {f"{CURVE}:F": {"key": "f"}})
    assert await home.run(devices.delete, ALICE, [PHONE, TABLET]) == [PHONE]
    assert await home.read(device_keys.keys_of, ALICE) == {}
    assert await _claim(home) == {}
    assert await home.run(device_keys.claim_local, {BOB: {PHONE: CURVE}}) == {}
