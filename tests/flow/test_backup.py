"""From a house to a backup and back: what is in it, what builds on what, and what is refused."""

import json
import os
import secrets
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from relay.admin.requests import CreateBackup
from relay.app.backup import Backups
from relay.app.house import MEDIA_FOLDER, Flash, House, open_house
from relay.app.restoring import IndexRestorer, Restorer
from relay.base.config import Config, load
from relay.base.errors import (
    ConfigError,
    ConflictError,
    DamagedError,
    InvalidInputError,
    RelayError,
    StateLockedError,
    UnreachableError,
    WrongKeyError,
)
from relay.base.ids import UserId
from relay.cli.commands import run_command
from relay.delivery import media
from relay.household import accounts, device_keys, to_device
from relay.store import keyring
from relay.store.files import OsFile, OsFiles
from relay.store.keyring import KeyFile
from relay.store.ledger import Index
from relay.store.media_files import MediaFiles, SealedFile
from tests.fakes.ledger import SEGMENT_BYTES
from tests.fakes.moving import ANNA, PHONE, SECRET, back_up, keep_file, records_of, small_flash, small_house, write_mail

pytestmark = pytest.mark.slow


def restore(target: Path, *backups: bytes, changes: dict[str, str] | None = None) -> Config:
    return restore_records(target, [record for sealed in backups for record in records_of(sealed)], changes)


def restore_records(target: Path, records: list[list[Any]], changes: dict[str, str] | None = None) -> Config:
    with Restorer(target, changes or {}, flash=small_flash()).building() as restorer:
        for record in records:
            restorer.take(record)
        return restorer.finish()


def put_index_back(folder: Path, sealed: bytes) -> None:
    with IndexRestorer(folder, KeyFile(folder / "root.key")).building() as restorer:
        with pytest.raises(StateLockedError), IndexRestorer(folder, KeyFile(folder / "root.key")).building():
            pass
        for record in records_of(sealed):
            restorer.take(record)
        restorer.finish()


def dump(index: Index) -> dict[str, Any]:
    names = [row[0] for row in index.rows("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    changing = ("applied", "one_time_keys", "to_device_seen")
    return {name: index.rows(f"SELECT * FROM {name}") for name in names if name not in changing}


def inbox(index: Index) -> int:
    return len(to_device.pending(index, ANNA, PHONE, 0, 1 << 60, 10_000))


async def read_file(folder: Path, file: SealedFile) -> bytes:
    files = MediaFiles(folder / MEDIA_FOLDER, quota_bytes=1 << 30)
    return b"".join([piece async for piece in files.read(file)])


def test_a_restored_house_is_the_house_and_numbers_what_comes_far_beyond(tmp_path: Path) -> None:
    async def before() -> tuple[bytes, dict[str, Any], SealedFile, tuple[str, int, int]]:
        async with small_house(tmp_path / "old") as house:
            await house.ledger.run(write_mail, 0, 200)
            file = await keep_file(house, b"picture" * 50_000)
            sealed, result = await back_up(house)
            assert result["media_files"] == 1
            assert result["bytes"] == len(sealed)
            contents = await house.ledger.read(dump)
            # Shown after the backup: the restored house must never mean something else by it.
            await house.ledger.run(write_mail, 500, 1)
            return sealed, contents, file, (house.key.key_id, house.ledger.position, house.ledger.boot)

    async def after() -> None:
        async with small_house(tmp_path / "new") as house:
            assert await house.ledger.read(dump) == contents
            assert house.key.key_id == key_id
            assert house.ledger.boot > boot + (1 << 15)
            assert house.ledger.position > position + (1 << 31)
            assert await read_file(house.folder, file) == b"picture" * 50_000
            assert await house.ledger.read(device_keys.counts, ANNA, PHONE) == {"signed_curve25519": 1}
            given = await house.ledger.run(device_keys.claim_local, {ANNA: {PHONE: "signed_curve25519"}})
            assert given[ANNA][PHONE] == {"signed_curve25519:fallback": {"key": "f"}}
            # A message that another server sends a second time is still known.
            bob = UserId("@bob:far.example")
            assert await house.ledger.run(to_device.enqueue, ANNA, PHONE, bob, "m.test", {"n": 1}, "message-1") == 0
            assert await house.ledger.run(to_device.enqueue, ANNA, PHONE, bob, "m.test", {"n": 2}, "message-2") == 1

    sealed, contents, file, (key_id, position, boot) = trio.run(before)
    config = restore(tmp_path / "new", sealed)
    assert config.server.name == "box.example"
    assert (tmp_path / "new" / "tls" / "cert.pem").read_text() == "a certificate"
    assert (tmp_path / "new" / "root.key").read_bytes() != (tmp_path / "old" / "root.key").read_bytes()
    assert not (tmp_path / "new.restoring").exists()
    trio.run(after)


def test_backups_that_build_on_each_other_carry_what_was_added_changed_and_deleted(tmp_path: Path) -> None:
    async def before() -> tuple[list[bytes], dict[str, Any]]:
        async with small_house(tmp_path / "old") as house:
            await house.ledger.run(write_mail, 0, 300)
            gone, stays = await keep_file(house, b"gone" * 999), await keep_file(house, secrets.token_bytes(400_000))
            made = [(await back_up(house))[0]]
            await house.ledger.run(to_device.drop_up_to, ANNA, PHONE, house.ledger.position - 1)
            await house.ledger.run(lambda change: change.write(media._FORGET, 1, gone.file_id))
            (house.folder / MEDIA_FOLDER / gone.file_id).unlink()
            await house.ledger.run(accounts.create, UserId("@otto:box.example"), "a hash", 2)
            sealed, result = await back_up(house, since_last=True)
            assert (result["number"], result["media_files"]) == (1, 0)
            assert len(sealed) < len(made[0]) / 10
            made.append(sealed)
            await house.ledger.run(write_mail, 900, 3)
            made.append((await back_up(house, since_last=True))[0])
            assert (house.folder / MEDIA_FOLDER / stays.file_id).exists()
            return made, await house.ledger.read(dump)

    async def after() -> dict[str, Any]:
        async with small_house(tmp_path / "new") as house:
            return await house.ledger.read(dump)

    made, contents = trio.run(before)
    restore(tmp_path / "new", *made)
    assert len(list((tmp_path / "new" / MEDIA_FOLDER).iterdir())) == 1
    assert trio.run(after) == contents
    for wrong in ([made[1]], [made[0], made[2]], [made[0], made[0]], [made[1], made[0]]):
        with pytest.raises(ConflictError, match="builds on"):
            restore(tmp_path / "other", *wrong)
        assert list(tmp_path.glob("other*")) == []


def test_a_backup_that_nobody_kept_is_not_built_on(tmp_path: Path) -> None:
    async def run() -> tuple[bytes, bytes]:
        async with small_house(tmp_path / "old") as house:
            first, _ = await back_up(house)
            await house.ledger.run(write_mail, 0, 2)
            await back_up(house, since_last=True, keep=False)
            await house.ledger.run(write_mail, 10, 2)
            return first, (await back_up(house, since_last=True))[0]

    async def mail() -> int:
        async with small_house(tmp_path / "new") as house:
            return await house.ledger.read(inbox)

    restore(tmp_path / "new", *trio.run(run))
    assert trio.run(mail) == 5


def test_without_a_backup_before_it_the_first_is_a_full_one(tmp_path: Path) -> None:
    async def run() -> dict[str, Any]:
        async with small_house(tmp_path / "old") as house:
            (house.folder / "backup.catalogue").write_bytes(b"garbled")
            return (await back_up(house, since_last=True))[1]

    assert trio.run(run)["parent"] == ""


def test_messages_go_on_while_the_backup_is_taken(tmp_path: Path) -> None:
    async def run() -> tuple[bytes, dict[str, Any]]:
        async with small_house(tmp_path / "old") as house:
            await house.ledger.run(write_mail, 0, 1500)
            done = trio.Event()
            sent = 0

            async def write() -> None:
                nonlocal sent
                while not done.is_set():
                    await house.ledger.run(write_mail, 10_000 + sent, 1)
                    sent += 1

            async with trio.open_nursery() as nursery:
                nursery.start_soon(write)
                sealed, result = await back_up(house)
                done.set()
            assert sent > 5
            assert house.ledger.status().failed_checkpoints == 0
            return sealed, result

    async def mail() -> int:
        async with small_house(tmp_path / "new") as house:
            return await house.ledger.read(inbox)

    sealed, _result = trio.run(run)
    restore(tmp_path / "new", sealed)
    assert trio.run(mail) > 1500


class DyingFiles(OsFiles):
    """A card that cannot read one file any more."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = ""

    def open(self, path: Path, *, create: bool = False) -> OsFile:
        if path.name == self.lost:
            raise OSError(5, "Input/output error")
        return super().open(path, create=create)


async def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_there(tmp_path: Path) -> None:
    files = DyingFiles()
    async with small_house(tmp_path / "old", Flash(files=files, segment_bytes=SEGMENT_BYTES)) as house:
        lost, kept = await keep_file(house, b"lost"), await keep_file(house, b"kept")
        files.lost = lost.file_id
        sealed, result = await back_up(house)
    assert result["left_out"] == [f"media/{lost.file_id}: it cannot be read"]
    assert [record[1] for record in records_of(sealed) if record[0] == "media"] == [kept.file_id]


async def test_a_reader_that_does_not_read_holds_nothing_up(tmp_path: Path) -> None:
    async with small_house(tmp_path / "old") as house:
        file = await keep_file(house, secrets.token_bytes(3_000_000))
        key = SECRET.fresh()
        reader, writer = os.pipe()
        request = CreateBackup(key.key.hex(), key.parameters.pack().hex(), False, writer)
        async with trio.open_nursery() as nursery, trio.lowlevel.FdStream(reader) as stream:
            nursery.start_soon(Backups(house).create, request)
            first = await stream.receive_some(1000)
            for number in range(50):
                await house.ledger.run(write_mail, number, 1)
            await house.ledger.checkpoint()
            assert house.ledger.status().checkpoints > 0
            os.close(writer)
            sealed = first + b"".join([bytes(piece) async for piece in stream])
    kept = [record for record in records_of(sealed) if record[0] == "media"]
    assert {record[1] for record in kept} == {file.file_id}


def test_damage_anywhere_leaves_no_folder_behind(tmp_path: Path) -> None:
    async def run() -> bytes:
        async with small_house(tmp_path / "old") as house:
            return (await back_up(house))[0]

    sealed = trio.run(run)
    for place in range(10, len(sealed), len(sealed) // 12):
        changed = bytearray(sealed)
        changed[place] ^= 4
        with pytest.raises(RelayError, match="byte"):
            restore(tmp_path / "new", bytes(changed))
        assert list(tmp_path.glob("new*")) == []
    records = records_of(sealed)
    for missing, record in enumerate(records):
        # Without these the house is the same, or as good.
        if record[:2] == ["file", "tls/cert.pem"] or (record[0] == "rows" and not record[4]):
            continue
        with pytest.raises(RelayError):
            restore_records(tmp_path / "new", [*records[:missing], *records[missing + 1 :]])
        assert list(tmp_path.glob("new*")) == []


def test_what_is_there_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "something").touch()
    with pytest.raises(ConflictError, match="not empty"):
        restore(tmp_path / "new")
    (tmp_path / "new" / "something").unlink()
    with pytest.raises(DamagedError):
        restore(tmp_path / "new")
    assert (tmp_path / "new").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_folder_made_for_the_boxs_user_stays_that_users(tmp_path: Path) -> None:
    async def run() -> bytes:
        async with small_house(tmp_path / "old") as house:
            return (await back_up(house))[0]

    sealed = trio.run(run)
    (tmp_path / "new").mkdir()
    os.chown(tmp_path / "new", 1234, 1235)
    restore(tmp_path / "new", sealed)
    found = {(path.stat().st_uid, path.stat().st_gid) for path in (tmp_path / "new", *(tmp_path / "new").rglob("*"))}
    assert found == {(1234, 1235)}


def test_settings_can_change_on_the_way_but_not_the_name(tmp_path: Path) -> None:
    async def run() -> bytes:
        async with small_house(tmp_path / "old") as house:
            return (await back_up(house))[0]

    sealed = trio.run(run)
    config = restore(tmp_path / "new", sealed, changes={"client.listen": "127.0.0.1:9", "store.key_file": "other.key"})
    assert config.client.listen == "127.0.0.1:9"
    assert load(tmp_path / "new") == config
    assert (tmp_path / "new" / "other.key").exists()
    with pytest.raises(ConfigError, match="never change"):
        restore(tmp_path / "other", sealed, changes={"server.name": "other.example"})
    with pytest.raises(ConfigError, match="--root-key-file"):
        restore(tmp_path / "other", sealed, changes={"store.key_file": "/nowhere/root.key"})


async def test_one_backup_at_a_time_and_a_reader_that_goes_ends_it(tmp_path: Path) -> None:
    async with small_house(tmp_path / "old") as house:
        backups = Backups(house)
        assert backups.status() == {"running": False}
        await house.ledger.run(write_mail, 0, 1500)
        key = SECRET.fresh()
        reader, writer = os.pipe()
        request = CreateBackup(key.key.hex(), key.parameters.pack().hex(), False, writer)
        async with trio.open_nursery() as nursery:
            raised: list[RelayError] = []
            nursery.start_soon(partial(expect, backups, request, raised))
            while not backups.status().get("sealed_bytes"):
                await trio.lowlevel.checkpoint()
            assert backups.status()["expected_bytes"] > 0
            with pytest.raises(ConflictError):
                await backups.create(request)
            os.close(reader)
        assert isinstance(raised[0], UnreachableError)
        os.close(writer)
        assert (await back_up(house, backups=backups))[1]["parent"] == ""


async def expect(backups: Backups, request: CreateBackup, raised: list[RelayError]) -> None:
    try:
        await backups.create(request)
    except RelayError as error:
        raised.append(error)


async def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    async with small_house(tmp_path / "old") as house:
        reader, writer = os.pipe()
        for key, parameters in (("zz", "00"), ("00" * 32, "00")):
            with pytest.raises(InvalidInputError):
                await Backups(house).create(CreateBackup(key, parameters, False, writer))
        os.close(reader)
        os.close(writer)


def crash_copy(house: House, to: Path) -> None:
    shutil.copytree(house.folder, to)


def test_a_lost_index_comes_back_and_the_journal_brings_it_forward(tmp_path: Path) -> None:
    async def run() -> bytes:
        async with small_house(tmp_path / "old") as house:
            await house.ledger.run(write_mail, 0, 10)
            sealed, _ = await back_up(house)
            await house.ledger.run(write_mail, 50, 5)
            await trio.to_thread.run_sync(crash_copy, house, tmp_path / "box")
            return sealed

    async def mail() -> tuple[int, int]:
        async with small_house(tmp_path / "box") as house:
            return await house.ledger.read(inbox), house.ledger.boot

    sealed = trio.run(run)
    (tmp_path / "box" / "index.db").write_bytes(b"garbage" * 1000)
    put_index_back(tmp_path / "box", sealed)
    assert (tmp_path / "box" / "index.db.lost-0").exists()
    assert trio.run(mail) == (16, 2)


def test_an_index_goes_back_only_into_its_own_box(tmp_path: Path) -> None:
    async def run(folder: Path) -> bytes:
        async with small_house(folder) as house:
            return (await back_up(house))[0]

    trio.run(run, tmp_path / "one")
    sealed = trio.run(run, tmp_path / "two")
    with pytest.raises(WrongKeyError):
        put_index_back(tmp_path / "one", sealed)
    assert (tmp_path / "one" / "index.db").exists()
    assert not (tmp_path / "one" / "index.db.restoring").exists()


def test_the_command_line_makes_checks_and_restores(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def make() -> None:
        async with small_house(tmp_path / "old", Flash()) as house:
            await house.ledger.run(write_mail, 0, 30)

    trio.run(make)
    (tmp_path / "key").write_bytes(b"k" * 32)
    (tmp_path / "otherkey").write_bytes(b"o" * 32)
    state, key = ["--state", str(tmp_path / "old")], ["--key-file", str(tmp_path / "key")]
    full, later = str(tmp_path / "full.bak"), str(tmp_path / "later.bak")
    assert run_command(["backup", "create", *state, *key, "--to", full, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["bytes"] == Path(full).stat().st_size
    assert run_command(["backup", "create", *state, *key, "--to", later, "--since-last"]) == 0
    assert "what changed since backup" in capfd.readouterr().out
    assert run_command(["backup", "create", *state, *key]) == 0
    assert "all of it" in capfd.readouterr().err
    assert run_command(["backup", "verify", full, later, *key]) == 0
    assert "good: box.example" in capfd.readouterr().out
    assert run_command(["backup", "verify", later, *key]) == 1
    assert "give that one first" in capfd.readouterr().err
    assert run_command(["backup", "verify", full, "--key-file", str(tmp_path / "otherkey")]) == 1
    assert "does not open with this key" in capfd.readouterr().err
    new = ["--state", str(tmp_path / "new")]
    assert run_command(["backup", "restore", full, later, *key, *new, "--root-key-file", str(tmp_path / "root")]) == 0
    assert "Never start the old box again" in capfd.readouterr().out
    assert run_command(["user", "list", *new]) == 0
    assert "@anna:box.example" in capfd.readouterr().out
    assert load(tmp_path / "new").store.key_file == str(tmp_path / "root")
    assert run_command(["backup", "restore", full, *key, *new]) == 1
    assert run_command(["backup", "restore", full, *key, *state, "--index-only"]) == 0
    assert "index.db.lost" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["create", "--state", "{box}", "--to", "{box}/inside.bak", "--key-file", "{key}"], 1, "inside of the state"),
        (["create", "--state", "{box}", "--to", "/dev/full", "--key-file", "{key}"], 1, "relay:"),
        (["create", "--state", "{box}", "--to", "x", "--key-file", "/nowhere/key"], 1, "head -c 32"),
        (["create", "--state", "{box}", "--to", "x", "--key-file", "a", "--passphrase-file", "b"], 2, "not both"),
        (["create", "--state", "{box}/none", "--to", "{box}.bak", "--key-file", "{key}"], 1, "not been provisioned"),
        (["create", "--state", "{box}", "--to", "x"], 2, "--passphrase-file or --key-file"),
        (["verify", "{box}", "--key-file", "{key}"], 1, "Is a directory"),
        (["verify", "/nowhere", "--key-file", "{key}"], 1, "/nowhere"),
        (["verify", "--key-file", "{key}"], 2, "FILE"),
        (["restore", "x", "--state", "y", "--key-file", "{key}", "--set", "nothing"], 2, "KEY=VALUE"),
        (["restore", "x", "--state", "y", "--key-file", "{key}", "--set", "a=b", "--index-only"], 2, "neither"),
    ],
)
def test_wrong_usage_and_faults_are_said_in_one_line(
    tmp_path: Path, arguments: list[str], code: int, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key").write_bytes(b"k" * 32)
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "relay.toml").write_text(Config.parse({"server": {"name": "box.example"}}).render())
    filled = [text.format(box=tmp_path / "box", key=tmp_path / "key") for text in arguments]
    assert run_command(["backup", *filled]) == code
    assert message in capfd.readouterr().err
    assert not list(tmp_path.glob("*.part"))


def test_a_box_is_restored_onto_another_place_for_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def before() -> tuple[bytes, dict[str, Any]]:
        async with small_house(tmp_path / "old") as house:
            await house.ledger.run(write_mail, 0, 20)
            return (await back_up(house))[0], await house.ledger.read(dump)

    sealed, contents = trio.run(before)
    gone = {"store.key_source": "tpm", "store.tpm_device": str(tmp_path / "none")}
    with pytest.raises(ConfigError, match=r"no TPM.*--root-key-file"):
        restore(tmp_path / "new", sealed, changes=gone)
    assert not (tmp_path / "new").exists()
    (tmp_path / "doorstep.passphrase").write_text("a phrase that only we know\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(keyring, "_ARGON_MEMORY_KIB", 64)
    config = restore(tmp_path / "new", sealed, changes={"store.key_source": "passphrase"})
    assert config.store.key_source == "passphrase"
    assert not (tmp_path / "new" / "root.key").exists()

    async def after() -> dict[str, Any]:
        async with open_house(tmp_path / "new", config) as house:
            return await house.ledger.read(dump)

    assert trio.run(after) == contents
