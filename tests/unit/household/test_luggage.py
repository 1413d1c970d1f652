"""Everything a person has, packed page by page and unpacked in another household."""

from collections import Counter
from typing import Any

import pytest

from relay.base.errors import InvalidInputError, InvalidParamError, RelayError
from relay.base.ids import RoomId, UserId
from relay.household import account_data, cross_signing, key_backup, luggage, profile, push_rules
from relay.household.luggage import Record
from relay.household.tables import TABLES
from relay.store.ledger import Change, Ledger
from tests.fakes.ledger import memory_ledger
from tests.unit.household.conftest import ALICE, PHONE, move_in
from tests.unit.household.signing import Signer
from tests.unit.household.test_key_backup import ALGORITHM, key

NEW = UserId("@alice:new.test")
ROOM, OTHER = RoomId("!a:box.test"), RoomId("!b:box.test")
DEFAULT_KEY = "m.secret_storage.default_key"
MANY = 150


async def lived(ledger: Ledger) -> None:
    await ledger.run(lambda change: change.intern(ROOM))
    await ledger.run(lambda change: change.intern(""))
    await ledger.run(move_in, (ALICE, PHONE))
    await ledger.run(profile.put, ALICE, "displayname", "Alice ✿")
    await ledger.run(profile.put, ALICE, "org.example.colour", "green")
    await ledger.run(account_data.put, ALICE, None, "m.direct", {"@bob:far.test": [ROOM]})
    await ledger.run(account_data.put, ALICE, None, "m.ignored_user_list", {"ignored_users": {"@spam:far.test": {}}})
    await ledger.run(account_data.put, ALICE, None, DEFAULT_KEY, {"key": "K1"})
    await ledger.run(account_data.put, ALICE, None, "m.secret_storage.key.K1", {"algorithm": "x"})
    await ledger.run(account_data.put, ALICE, None, "m.megolm_backup.v1", {"encrypted": {"K1": {}}})
    await ledger.run(account_data.put, ALICE, None, "m.cross_signing.master", {"encrypted": {"K1": {}}})
    await ledger.run(account_data.set_tag, ALICE, ROOM, "m.favourite", {"order": 0.5})
    await ledger.run(push_rules.put_rule, ALICE, "room", {"rule_id": ROOM, "actions": []})
    await ledger.run(push_rules.edit_rule, ALICE, "override", ".m.rule.master", {"enabled": True})
    await ledger.run(cross_signing.upload_keys, ALICE, Signer(ALICE).keys())
    await ledger.run(key_backup.create, ALICE, ALGORITHM, {"public": 1})
    await ledger.run(key_backup.put_keys, ALICE, "1", {ROOM: {"old": key()}})
    await ledger.run(key_backup.create, ALICE, ALGORITHM, {"public": 2})
    await ledger.run(
        key_backup.put_keys, ALICE, "2", {ROOM: {f"s{n}": key() for n in range(MANY)}, OTHER: {"t": key()}}
    )


async def packed(ledger: Ledger, user: UserId = ALICE) -> list[list[Record]]:
    pages = []
    place: luggage.Place | None = luggage.FIRST
    while place is not None:
        records, place = await ledger.read(luggage.page, user, place)
        pages.append(records)
    return pages


async def unpacked(ledger: Ledger, pages: list[list[Record]], *, secrets: bool = True) -> Counter[str]:
    def step(change: Change, records: list[Record]) -> Counter[str]:
        return sum((luggage.unpack(change, NEW, record, secrets=secrets) for record in records), Counter[str]())

    return sum([await ledger.run(step, records) for records in pages], Counter[str]())


async def test_what_was_packed_is_there_afterwards_and_a_second_time_changes_nothing() -> None:
    async with memory_ledger(TABLES) as old, memory_ledger(TABLES) as new:
        await lived(old)
        pages = await packed(old)
        await new.run(move_in, (NEW, PHONE))
        counts = await unpacked(new, pages)
        assert counts == Counter(rules=1, profile=2, data=6, backups=2, backup_keys=MANY + 2, left=2)
        assert await new.read(profile.get, NEW) == await old.read(profile.get, ALICE)
        assert await new.read(account_data.tags, NEW, ROOM) == {"m.favourite": {"order": 0.5}}
        for kind in ("m.direct", "m.ignored_user_list", DEFAULT_KEY, "m.megolm_backup.v1"):
            assert await new.read(account_data.get, NEW, None, kind) == await old.read(
                account_data.get, ALICE, None, kind
            )
        assert await new.read(account_data.get, NEW, None, "m.cross_signing.master") is None
        assert await new.read(push_rules.own_edits, NEW) == await old.read(push_rules.own_edits, ALICE)
        for version in ("1", "2"):
            assert await new.read(key_backup.keys, NEW, version) == await old.read(key_backup.keys, ALICE, version)
        position = new.position
        again = await unpacked(new, pages)
        assert new.position == position
        assert set(again) <= {"kept", "left"}


async def test_pages_stay_small_and_an_unknown_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(luggage, "MAX_LUGGAGE_PAGE_BYTES", 200)
    async with memory_ledger(TABLES) as old, memory_ledger(TABLES) as new:
        await lived(old)
        pages = await packed(old)
        assert len(pages) > 30
        await new.run(move_in, (NEW, PHONE))
        assert (await unpacked(new, pages))["backup_keys"] == MANY + 2
        with pytest.raises(InvalidInputError, match="no such place"):
            await old.read(luggage.page, ALICE, ["data", "x"])


async def test_what_the_person_has_set_on_the_new_box_stays() -> None:
    async with memory_ledger(TABLES) as old, memory_ledger(TABLES) as new:
        await lived(old)
        await new.run(move_in, (NEW, PHONE))
        await new.run(profile.put, NEW, "displayname", "Al")
        await new.run(account_data.put, NEW, None, "m.direct", {"@bob:far.test": [OTHER], "@cy:far.test": [OTHER]})
        await new.run(account_data.set_tag, NEW, ROOM, "u.mine", {})
        await new.run(push_rules.edit_rule, NEW, "override", ".m.rule.master", {"enabled": False})
        counts = await unpacked(new, await packed(old))
        assert counts["kept"] == 3
        assert (await new.read(profile.get, NEW))["displayname"] == "Al"
        assert await new.read(account_data.get, NEW, None, "m.direct") == {
            "@bob:far.test": [OTHER, ROOM],
            "@cy:far.test": [OTHER],
        }
        assert set(await new.read(account_data.tags, NEW, ROOM)) == {"u.mine"}


async def test_secrets_move_together_or_not_at_all() -> None:
    async with memory_ledger(TABLES) as old, memory_ledger(TABLES) as new:
        await lived(old)
        pages = await packed(old)
        backups = [record[1] for page in pages for record in page if record[0] == "backup"]
        await new.run(move_in, (NEW, PHONE))
        assert await new.read(luggage.fits, NEW, "K1", backups)
        await new.run(account_data.put, NEW, None, DEFAULT_KEY, {"key": "K1"})
        assert await new.read(luggage.fits, NEW, "K1", backups)
        assert not await new.read(luggage.fits, NEW, "K2", backups)
        await new.run(key_backup.create, NEW, ALGORITHM, {"public": "another"})
        assert not await new.read(luggage.fits, NEW, "K1", backups)
        counts = await unpacked(new, pages, secrets=False)
        assert counts["backup_keys"] == counts["backups"] == 0
        assert counts["left"] == 2 + 3 + 2 + (MANY + 2)
        assert (await new.read(key_backup.current, NEW)).auth_data == {"public": "another"}


async def test_an_import_that_was_cut_short_is_completed_by_the_next() -> None:
    async with memory_ledger(TABLES) as old, memory_ledger(TABLES) as new:
        await lived(old)
        pages = await packed(old)
        await new.run(move_in, (NEW, PHONE))
        await unpacked(new, pages[: len(pages) // 2])
        await unpacked(new, pages)
        for version in ("1", "2"):
            assert await new.read(key_backup.keys, NEW, version) == await old.read(key_backup.keys, ALICE, version)


@pytest.mark.parametrize(
    "record",
    [
        ["surprise"],
        ["data", 5, "x", {}],
        ["data", "no room", "x", {}],
        ["rules", {"own": {"odd": []}, "default": {}}],
        ["rules", {"own": {"room": [{}]}, "default": {}}],
        ["rules", {"own": {}, "default": {"x": 5}}],
        ["backup", b"another", ALGORITHM, {}],
        ["profile", {"Bad Name": 1}],
    ],
)
async def test_a_record_that_no_box_packs_is_refused(record: Any) -> None:
    async with memory_ledger(TABLES) as new:
        await new.run(move_in, (NEW, PHONE))
        with pytest.raises(RelayError):
            await unpacked(new, [[record]])


async def test_a_key_that_is_none_is_refused() -> None:
    async with memory_ledger(TABLES) as new:
        await new.run(move_in, (NEW, PHONE))
        name = luggage.identity(ALGORITHM, {})
        await unpacked(new, [[["backup", name, ALGORITHM, {}]]])
        with pytest.raises(InvalidParamError):
            await unpacked(new, [[["keys", name, [[ROOM, 5, {}]]]]])
        assert (await unpacked(new, [[["keys", b"of another", [[ROOM, "s", {}]]]]]))["kept"] == 1
