from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.base.errors import InvalidParamError, MissingParamError, NotFoundError, TooLargeError
from relay.base.ids import RoomId
from relay.base.limits import MAX_BACKUP_AUTH_DATA_BYTES, MAX_BACKUP_KEY_BYTES
from relay.household import key_backup
from relay.household.faults import WrongBackupVersionError
from relay.household.tables import TABLES
from relay.store.ledger import Ledger
from tests.fakes.ledger import memory_ledger
from tests.unit.household.conftest import ALICE, BOB

ROOM, OTHER = RoomId("!a:box.test"), RoomId("!b:box.test")
ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"


def key(verified: bool = False, first: int = 0, forwarded: int = 0, text: str = "x") -> dict[str, Any]:
    return {
        "is_verified": verified,
        "first_message_index": first,
        "forwarded_count": forwarded,
        "session_data": {"ciphertext": text},
    }


@pytest.fixture
async def backup(ledger: Ledger) -> Ledger:
    assert await ledger.run(key_backup.create, ALICE, ALGORITHM, {"public_key": "p"}) == "1"
    return ledger


async def test_the_newest_backup_is_the_current_one(backup: Ledger) -> None:
    with pytest.raises(NotFoundError):
        await backup.read(key_backup.current, BOB)
    assert await backup.run(key_backup.create, ALICE, ALGORITHM, {"public_key": "q"}) == "2"
    assert (await backup.read(key_backup.current, ALICE)).auth_data == {"public_key": "q"}
    assert (await backup.read(key_backup.get, ALICE, "1")).auth_data == {"public_key": "p"}
    await backup.run(key_backup.delete, ALICE, "2")
    assert (await backup.read(key_backup.current, ALICE)).version == "1"
    assert await backup.run(key_backup.create, ALICE, ALGORITHM, {}) == "3"


async def test_deleting_twice_succeeds_and_deleting_nothing_does_not(backup: Ledger) -> None:
    await backup.run(key_backup.put_keys, ALICE, "1", {ROOM: {"s": key()}})
    await backup.run(key_backup.delete, ALICE, "1")
    await backup.run(key_backup.delete, ALICE, "1")
    assert await backup.read(lambda index: index.value("SELECT COUNT(*) FROM backup_keys")) == 0
    for call in (key_backup.get, key_backup.keys):
        with pytest.raises(NotFoundError):
            await backup.read(call, ALICE, "1")
    for version in ("2", "x", "", "-1"):
        with pytest.raises(NotFoundError):
            await backup.run(key_backup.delete, ALICE, version)


async def test_auth_data_changes_and_the_algorithm_does_not(backup: Ledger) -> None:
    await backup.run(key_backup.update, ALICE, "1", ALGORITHM, {"new": 1})
    assert (await backup.read(key_backup.current, ALICE)).auth_data == {"new": 1}
    with pytest.raises(InvalidParamError):
        await backup.run(key_backup.update, ALICE, "1", "other", {})
    with pytest.raises(NotFoundError):
        await backup.run(key_backup.update, ALICE, "2", ALGORITHM, {})
    with pytest.raises(TooLargeError):
        await backup.run(key_backup.update, ALICE, "1", ALGORITHM, {"": "x" * MAX_BACKUP_AUTH_DATA_BYTES})


async def test_keys_are_read_whole_by_room_and_one_by_one(backup: Ledger) -> None:
    stored = {ROOM: {"s": key(), "t": key(text="t")}, OTHER: {"u": key()}}
    after = await backup.run(key_backup.put_keys, ALICE, "1", stored)
    assert (after.count, after.etag) == (3, "1")
    assert await backup.read(key_backup.keys, ALICE, "1") == stored
    assert await backup.read(key_backup.keys, ALICE, "1", ROOM) == {ROOM: stored[ROOM]}
    assert await backup.read(key_backup.keys, ALICE, "1", ROOM, "t") == {ROOM: {"t": key(text="t")}}
    assert await backup.read(key_backup.keys, ALICE, "1", RoomId("!c:box.test")) == {}


async def test_the_etag_moves_only_when_keys_change(backup: Ledger) -> None:
    await backup.run(key_backup.put_keys, ALICE, "1", {ROOM: {"s": key(first=5)}})
    same = await backup.run(key_backup.put_keys, ALICE, "1", {ROOM: {"s": key(first=5)}})
    assert (same.etag, same.count) == ("1", 1)
    better = await backup.run(key_backup.put_keys, ALICE, "1", {ROOM: {"s": key(first=4)}})
    assert (better.etag, better.count) == ("2", 1)
    assert (await backup.run(key_backup.delete_keys, ALICE, "1", OTHER)).etag == "2"
    assert await backup.read(key_backup.current, ALICE) == better


@pytest.mark.parametrize(("room", "session", "left"), [(None, None, 0), (ROOM, None, 1), (ROOM, "s", 2)])
async def test_keys_are_deleted_whole_by_room_and_one_by_one(
    backup: Ledger, room: RoomId | None, session: str | None, left: int
) -> None:
    await backup.run(key_backup.put_keys, ALICE, "1", {ROOM: {"s": key(), "t": key()}, OTHER: {"u": key()}})
    after = await backup.run(key_backup.delete_keys, ALICE, "1", room, session)
    assert (after.count, after.etag) == (left, "2")
    assert sum(map(len, (await backup.read(key_backup.keys, ALICE, "1")).values())) == left
    with pytest.raises(NotFoundError):
        await backup.run(key_backup.delete_keys, ALICE, "9", room, session)


async def test_keys_go_into_the_newest_backup_only(backup: Ledger) -> None:
    await backup.run(key_backup.create, ALICE, ALGORITHM, {})
    with pytest.raises(WrongBackupVersionError) as raised:
        await backup.run(key_backup.put_keys, ALICE, "1", {})
    assert raised.value.matrix_fields == {"current_version": "2"}
    with pytest.raises(NotFoundError):
        await backup.run(key_backup.put_keys, BOB, "1", {})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"first_message_index": None}, MissingParamError),
        ({"session_data": None}, MissingParamError),
        ({"first_message_index": "1"}, InvalidParamError),
        ({"first_message_index": -1}, InvalidParamError),
        ({"forwarded_count": True}, InvalidParamError),
        ({"forwarded_count": 2**60}, InvalidParamError),
        ({"is_verified": 1}, InvalidParamError),
        ({"session_data": "x"}, InvalidParamError),
        ({"session_data": {"": "x" * MAX_BACKUP_KEY_BYTES}}, TooLargeError),
    ],
)
async def test_malformed_keys_are_refused(backup: Ledger, change: dict[str, Any], expected: type[Exception]) -> None:
    with pytest.raises(expected):
        await backup.run(key_backup.put_keys, ALICE, "1", {ROOM: {"good": key(), "s": {**key(), **change}}})
    assert (await backup.read(key_backup.current, ALICE)).count == 0


async def test_a_closed_account_leaves_no_backup(backup: Ledger) -> None:
    await backup.run(key_backup.create, ALICE, ALGORITHM, {})
    await backup.run(key_backup.erase, ALICE)
    with pytest.raises(NotFoundError):
        await backup.read(key_backup.current, ALICE)


QUALITY = st.tuples(st.booleans(), st.integers(0, 2), st.integers(0, 2))


@settings(max_examples=25, deadline=None)
@given(offered=st.lists(QUALITY, min_size=1, max_size=6))
async def test_the_best_key_offered_is_the_one_that_is_kept(offered: list[tuple[bool, int, int]]) -> None:
    async with memory_ledger(TABLES) as ledger:
        await ledger.run(key_backup.create, ALICE, ALGORITHM, {})
        for verified, first, forwarded in offered:
            await ledger.run(key_backup.put_keys, ALICE, "1", {ROOM: {"s": key(verified, first, forwarded)}})
        kept = (await ledger.read(key_backup.keys, ALICE, "1"))[ROOM]["s"]
    best = min(offered, key=lambda quality: (not quality[0], quality[1], quality[2]))
    assert (kept["is_verified"], kept["first_message_index"], kept["forwarded_count"]) == best
