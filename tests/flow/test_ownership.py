"""Who may change the box by cable: noted beside every change of an account, checked without the relay or its index."""

import json
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from relay.admin.operations import HouseOperator
from relay.admin.requests import AddUser, DeactivateUser, SetPassword
from relay.admin.server import serve_admin
from relay.app import open_offline
from relay.app.house import open_house
from relay.app.ownership import keep_owners_noted
from relay.base.config import OWNER_FILE_NAME, Config
from relay.base.errors import ConfigError, ConflictError, DamagedError, RateLimitedError
from relay.base.limits import FREE_GUESSES
from relay.base.lines import AnsweredError
from relay.cli import owner
from relay.cli.child import ChildOperator
from relay.cli.guesses import FILE_NAME as GUESSES
from relay.cli.operate import operate
from relay.cli.owner import WrongSecretError
from relay.household import accounts
from relay.store.keyring import Passphrase, create_keyring
from tests.fakes.people import MemoryPeople, MemoryReport

PASSWORD, OTHER = "correct horse", "battery staple"
CONFIG = Config.parse({"server": {"name": "box.example"}})


@pytest.fixture(autouse=True)
def _nowhere_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(owner, "RUNTIME", tmp_path / "no such folder")


async def make_box(folder: Path, *requests: Any) -> None:
    async with open_offline(folder, CONFIG) as operator:
        for request in requests or (AddUser("anna", PASSWORD, admin=True),):
            await operator.carry_out(request)
    (folder / "relay.toml").write_text(CONFIG.render())


def check(folder: Path, secret: str) -> dict[str, Any]:
    return operate(folder, {"verb": "owner_check", "secret": secret})


async def test_the_owners_password_proves_and_anybody_elses_does_not(tmp_path: Path) -> None:
    await make_box(tmp_path, AddUser("anna", PASSWORD, admin=True), AddUser("otto", OTHER))
    assert ChildOperator(tmp_path, quiet=True).claimed()
    assert check(tmp_path, PASSWORD) == {"owner": True}
    with pytest.raises(WrongSecretError):
        check(tmp_path, OTHER)
    assert PASSWORD not in (tmp_path / GUESSES).read_text()


async def test_a_new_password_counts_at_once_and_the_old_one_no_longer(tmp_path: Path) -> None:
    await make_box(tmp_path)
    await make_box(tmp_path, SetPassword("anna", OTHER))
    assert check(tmp_path, OTHER)
    with pytest.raises(WrongSecretError):
        check(tmp_path, PASSWORD)


async def test_it_is_checked_while_the_index_is_damaged_or_gone(tmp_path: Path) -> None:
    await make_box(tmp_path)
    for path in (tmp_path / "index.db", *(tmp_path / "journal").iterdir()):
        path.write_bytes(b"noise" * 100)
    assert check(tmp_path, PASSWORD)


async def test_a_box_without_an_owner_is_nobodys_until_it_has_one(tmp_path: Path) -> None:
    await make_box(tmp_path, AddUser("otto", OTHER))
    assert not ChildOperator(tmp_path, quiet=True).claimed()
    await make_box(tmp_path, AddUser("anna", PASSWORD, admin=True))
    assert ChildOperator(tmp_path, quiet=True).claimed()
    await make_box(tmp_path, DeactivateUser("anna"))
    assert not ChildOperator(tmp_path, quiet=True).claimed()


async def test_where_it_was_never_noted_the_box_is_locked_and_the_next_start_notes_it(tmp_path: Path) -> None:
    await make_box(tmp_path)
    (tmp_path / OWNER_FILE_NAME).unlink()
    assert ChildOperator(tmp_path, quiet=True).claimed()
    with pytest.raises(ConflictError, match="start it once"):
        check(tmp_path, PASSWORD)
    assert not (tmp_path / GUESSES).exists()
    async with open_house(tmp_path, CONFIG) as house, trio.open_nursery() as nursery:
        nursery.start_soon(keep_owners_noted, house)
        with trio.fail_after(5):
            while not (tmp_path / OWNER_FILE_NAME).exists():
                await trio.sleep(0.01)
        before = (tmp_path / OWNER_FILE_NAME).read_bytes()
        await house.ledger.run(accounts.set_password, house_owner(), await accounts.hash_password(OTHER))
        with trio.fail_after(5):
            while (tmp_path / OWNER_FILE_NAME).read_bytes() == before:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert check(tmp_path, OTHER)


def house_owner() -> Any:
    return accounts.new_user_id("anna", CONFIG.server.name)


@pytest.mark.parametrize("content", ["", "{}", '{"claimed": 5}', "[1]"])
def test_a_file_that_cannot_be_read_leaves_the_box_locked(tmp_path: Path, content: str) -> None:
    (tmp_path / "relay.toml").write_text(CONFIG.render())
    (tmp_path / OWNER_FILE_NAME).write_text(content)
    assert ChildOperator(tmp_path, quiet=True).claimed()


async def test_nobody_claims_a_box_by_writing_that_it_is_nobodys_and_damage_is_not_a_wrong_guess(
    tmp_path: Path,
) -> None:
    await make_box(tmp_path)
    fields = json.loads((tmp_path / OWNER_FILE_NAME).read_text())
    (tmp_path / OWNER_FILE_NAME).write_text(json.dumps({**fields, "claimed": False}))
    with pytest.raises(DamagedError):
        check(tmp_path, PASSWORD)
    assert not (tmp_path / GUESSES).exists()


async def test_guesses_from_two_cables_count_together(tmp_path: Path) -> None:
    await make_box(tmp_path)
    refused: list[Exception] = []

    def guess() -> None:
        try:
            check(tmp_path, "wrong password")
        except (WrongSecretError, RateLimitedError) as error:
            refused.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(FREE_GUESSES + 3):
            nursery.start_soon(partial(trio.to_thread.run_sync, guess))
    wrong = [error for error in refused if isinstance(error, WrongSecretError)]
    assert len(refused) == FREE_GUESSES + 3
    assert FREE_GUESSES <= len(wrong) <= FREE_GUESSES + 1
    with pytest.raises(RateLimitedError, match="the next one is looked at in"):
        check(tmp_path, PASSWORD)


@pytest.mark.parametrize(
    ("code", "wrong"), [("storage.wrong_key", 1), ("conflict", None), ("storage.key_absent", None), ("", None)]
)
def test_tries_at_the_passphrase_of_a_box_that_waits_for_it_count_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, wrong: int | None
) -> None:
    (tmp_path / "keyring").touch()

    def answer(*_: object, **__: object) -> dict[str, Any]:
        if code:
            raise AnsweredError({"ok": False, "code": code, "message": "no"})
        return {"unlocked": True}

    monkeypatch.setattr("relay.cli.operate.ask", answer)
    try:
        assert operate(tmp_path, {"verb": "passphrase", "passphrase": "open barley"}) == {"unlocked": True}
    except AnsweredError as error:
        assert error.code == code
    counted = tmp_path / GUESSES
    assert (json.loads(counted.read_text())["wrong"] if counted.exists() else None) == wrong


@pytest.mark.parametrize(("password", "right"), [(PASSWORD, True), (OTHER, False)])
async def test_where_only_the_service_gets_at_the_key_the_running_box_is_asked(
    tmp_path: Path, password: str, right: bool
) -> None:
    await make_box(tmp_path)
    (tmp_path / "root.key").rename(tmp_path.parent / f"{tmp_path.name}.key")
    people = MemoryPeople()
    await people.add("anna", PASSWORD, admin=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_admin, tmp_path, HouseOperator(people, MemoryReport(), stop=None))
        with nullcontext() if right else pytest.raises(WrongSecretError):
            assert await trio.to_thread.run_sync(check, tmp_path, password) == {"owner": True}
        nursery.cancel_scope.cancel()
    assert (tmp_path / GUESSES).exists() is not right
    with pytest.raises(ConfigError):
        check(tmp_path, PASSWORD)


def test_what_the_box_is_sealed_with_proves_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.store.keyring._ARGON_MEMORY_KIB", 8)
    sealed = Config.parse({"server": {"name": "box.example"}, "store": {"key_source": "passphrase"}})
    (tmp_path / "relay.toml").write_text(sealed.render())
    (tmp_path / OWNER_FILE_NAME).write_text('{"claimed": true}')
    create_keyring(tmp_path, Passphrase(b"open sesame"))
    assert check(tmp_path, "open sesame")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    with pytest.raises(WrongSecretError):
        check(tmp_path, "open barley")
    assert (tmp_path / GUESSES).exists()
