import pytest
import trio

from relay.base.errors import NotFoundError, RateLimitedError
from relay.base.ids import ServerName, UserId
from relay.base.limits import MAX_PASSWORD_BYTES, MAX_WAITING_PASSWORDS, MIN_PASSWORD_CHARACTERS
from relay.household import accounts
from relay.household.faults import InvalidUsernameError, UserInUseError, WeakPasswordError
from relay.store.ledger import Ledger

ALICE = UserId("@alice:box.test")


async def test_an_account_exists_once_and_its_name_stays_taken(ledger: Ledger) -> None:
    assert not await ledger.read(accounts.exists, ALICE)
    await ledger.run(accounts.create, ALICE, "hash", 5, admin=True)
    assert await ledger.read(accounts.is_active, ALICE)
    assert await ledger.read(accounts.password_hash_of, ALICE) == "hash"
    with pytest.raises(UserInUseError):
        await ledger.run(accounts.create, ALICE, "other", 6)
    await ledger.run(accounts.deactivate, ALICE, 9)
    assert not await ledger.read(accounts.is_active, ALICE)
    assert await ledger.read(accounts.password_hash_of, ALICE) is None
    with pytest.raises(UserInUseError):
        await ledger.run(accounts.create, ALICE, "other", 10)
    assert await ledger.read(accounts.list_accounts) == [accounts.Account(ALICE, admin=True, active=False)]


async def test_only_an_active_account_gets_another_password(ledger: Ledger) -> None:
    with pytest.raises(NotFoundError):
        await ledger.run(accounts.set_password, ALICE, "new")
    await ledger.run(accounts.create, ALICE, "hash", 5)
    await ledger.run(accounts.set_password, ALICE, "new")
    assert await ledger.read(accounts.password_hash_of, ALICE) == "new"
    await ledger.run(accounts.deactivate, ALICE, 9)
    with pytest.raises(NotFoundError):
        await ledger.run(accounts.set_password, ALICE, "newer")
    with pytest.raises(NotFoundError):
        await ledger.run(accounts.deactivate, ALICE, 10)


async def test_only_the_password_itself_opens_its_hash() -> None:
    hashed = await accounts.hash_password("correct horse battery")
    assert hashed.startswith("$argon2id$v=19$m=12288,t=3,p=1$")
    assert await accounts.verify_password(hashed, "correct horse battery")
    assert not await accounts.verify_password(hashed, "correct horse battery ")
    assert not await accounts.verify_password(None, "nobody has this password")
    assert not await accounts.verify_password(hashed, "x" * (MAX_PASSWORD_BYTES + 1))


async def test_hashes_are_made_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    running = most = 0

    def slow(_text: str) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        trio.from_thread.run(trio.lowlevel.checkpoint)
        running -= 1
        return "hash"

    monkeypatch.setattr(accounts, "_hash", slow)
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(accounts.hash_password, "long enough")
    assert most == 1


async def test_a_crowd_of_guessers_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[bool] = []

    async def guess() -> None:
        try:
            await accounts.verify_password("hash", "guess")
        except RateLimitedError:
            outcomes.append(False)
        else:
            outcomes.append(True)

    monkeypatch.setattr(accounts, "_verify", lambda _hash, _text: False)
    async with trio.open_nursery() as nursery:
        for _ in range(MAX_WAITING_PASSWORDS + 5):
            nursery.start_soon(guess)
    assert outcomes.count(False) == 4


@pytest.mark.parametrize("text", ["", "x" * (MIN_PASSWORD_CHARACTERS - 1), "x" * (MAX_PASSWORD_BYTES + 1), "ä" * 300])
async def test_passwords_that_are_too_short_or_too_long_are_refused(text: str) -> None:
    with pytest.raises(WeakPasswordError):
        await accounts.hash_password(text)


@pytest.mark.parametrize("name", ["", "Alice", "alice@", "al ice", "x" * 255, "älice"])
def test_a_new_name_has_to_fit_the_grammar(name: str) -> None:
    with pytest.raises(InvalidUsernameError):
        accounts.new_user_id(name, ServerName("box.test"))
    assert accounts.new_user_id("alice.9_=-/+", ServerName("box.test")) == "@alice.9_=-/+:box.test"
