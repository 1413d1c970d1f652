import pytest

from relay.base.limits import LAST_SEEN_RESOLUTION_MS
from relay.household import accounts, devices, sessions, tokens
from relay.household.faults import DeactivatedError, UnknownTokenError
from relay.household.sessions import Session, Sessions
from relay.household.tokens import Tokens
from relay.store.ledger import Ledger
from tests.unit.household.conftest import ALICE, BOB, PHONE, TABLET

OLD, NEW, NEWER = Tokens("a1", "r1", 2_000), Tokens("a2", "r2", 3_000), Tokens("a3", "r3", 4_000)


class FixedClock:
    now_ms = 1_500

    def wall_ms(self) -> int:
        return self.now_ms


async def _refused(ledger: Ledger, access: str, now_ms: int = 1_500) -> bool:
    with pytest.raises(UnknownTokenError) as raised:
        await ledger.read(sessions.authenticate, access, now_ms)
    return raised.value.matrix_fields["soft_logout"]


async def test_a_token_proves_its_device_and_nothing_else_does(home: Ledger) -> None:
    session = await home.read(sessions.authenticate, f"{ALICE} {PHONE}", 1_500)
    assert (session.user, session.device, session.confirmed) == (ALICE, PHONE, True)
    assert await _refused(home, "guess") is False
    assert await _refused(home, "") is False


async def test_no_token_is_stored_in_clear(home: Ledger) -> None:
    await home.run(sessions.open_session, ALICE, PHONE, None, 1_000, OLD)
    for row in await home.read(lambda index: index.rows("SELECT * FROM tokens")):
        assert not {"a1", "r1", b"a1", b"r1"} & set(row)


async def test_logging_in_again_ends_the_tokens_the_device_had(home: Ledger) -> None:
    await home.run(sessions.open_session, ALICE, PHONE, "another name", 2_000, OLD)
    assert await _refused(home, f"{ALICE} {PHONE}") is False
    assert (await home.read(devices.get, ALICE, PHONE)).display_name == "the phone"


async def test_an_expired_token_is_a_soft_logout(home: Ledger) -> None:
    await home.run(sessions.open_session, ALICE, PHONE, None, 1_000, OLD)
    assert (await home.read(sessions.authenticate, "a1", 1_999)).device == PHONE
    assert await _refused(home, "a1", 2_000) is True


async def test_the_old_pair_lives_until_the_new_one_is_used(home: Ledger) -> None:
    await home.run(sessions.open_session, ALICE, PHONE, None, 1_000, OLD)
    await home.run(sessions.refresh, "r1", NEW)
    assert (await home.read(sessions.authenticate, "a1", 1_500)).user == ALICE
    bell = Sessions(home, FixedClock())
    assert (await bell.authenticate("a2")).device == PHONE
    assert await _refused(home, "a1") is False
    with pytest.raises(UnknownTokenError):
        await home.run(sessions.refresh, "r1", NEWER)
    assert (await home.read(sessions.authenticate, "a2", 1_500)).confirmed


async def test_a_refresh_whose_answer_was_lost_can_be_asked_again(home: Ledger) -> None:
    await home.run(sessions.open_session, ALICE, PHONE, None, 1_000, OLD)
    await home.run(sessions.refresh, "r1", NEW)
    await home.run(sessions.refresh, "r1", NEWER)
    assert await _refused(home, "a2") is False
    assert (await home.read(sessions.authenticate, "a3", 1_500)).user == ALICE


async def test_refreshing_with_the_new_token_ends_the_old_pair(home: Ledger) -> None:
    await home.run(sessions.open_session, ALICE, PHONE, None, 1_000, OLD)
    await home.run(sessions.refresh, "r1", NEW)
    await home.run(sessions.refresh, "r2", NEWER)
    assert await _refused(home, "a1") is False
    with pytest.raises(UnknownTokenError):
        await home.run(sessions.refresh, "r1", Tokens("a4", "r4", 9_000))
    assert (await home.read(sessions.authenticate, "a2", 1_500)).user == ALICE


@pytest.mark.parametrize("token", ["a1", "nothing", ""])
async def test_only_a_refresh_token_refreshes(home: Ledger, token: str) -> None:
    await home.run(sessions.open_session, ALICE, PHONE, None, 1_000, OLD)
    with pytest.raises(UnknownTokenError):
        await home.run(sessions.refresh, token, NEW)
    assert await _refused(home, "r1") is False


async def test_logout_deletes_the_device_and_leaves_the_others(home: Ledger) -> None:
    await home.run(sessions.close, Session(ALICE, PHONE))
    assert await _refused(home, f"{ALICE} {PHONE}") is False
    assert [device.device for device in await home.read(devices.list_devices, ALICE)] == [TABLET]
    await home.run(sessions.close_all, ALICE)
    assert await home.read(devices.list_devices, ALICE) == []
    assert (await home.read(sessions.authenticate, f"{BOB} {PHONE}", 1_500)).user == BOB


async def test_nobody_logs_in_to_a_closed_account(home: Ledger) -> None:
    await home.run(accounts.deactivate, BOB, 2_000)
    with pytest.raises(DeactivatedError):
        await home.run(sessions.open_session, BOB, PHONE, None, 2_000, NEW)


async def test_when_a_device_was_seen_is_written_rarely(home: Ledger) -> None:
    clock = FixedClock()
    bell = Sessions(home, clock)
    before = home.position
    await bell.authenticate(f"{ALICE} {PHONE}")
    assert home.position == before
    clock.now_ms += LAST_SEEN_RESOLUTION_MS
    await bell.authenticate(f"{ALICE} {PHONE}")
    assert (await home.read(devices.get, ALICE, PHONE)).last_seen_ms == clock.now_ms


def test_drawn_tokens_are_never_the_same() -> None:
    pair = tokens.draw_tokens(refreshable_until_ms=7)
    assert len({pair.access, pair.refresh, tokens.draw_tokens().access}) == 3
    assert (pair.expires_ms, tokens.draw_tokens().refresh) == (7, None)
    assert len(tokens.draw_device_id()) == 10


async def test_a_token_known_by_heart_ends_with_its_session_and_in_time(home: Ledger) -> None:
    clock = FixedClock()
    bell = Sessions(home, clock)
    await home.run(sessions.open_session, ALICE, PHONE, None, clock.now_ms, Tokens("a1", "r1", clock.now_ms + 10))
    for _ in range(2):
        assert (await bell.authenticate("a1")).device == PHONE
        assert (await bell.authenticate(f"{BOB} {PHONE}")).user == BOB
    clock.now_ms += 10
    with pytest.raises(UnknownTokenError):
        await bell.authenticate("a1")
    await home.run(sessions.close, Session(BOB, PHONE))
    with pytest.raises(UnknownTokenError):
        await bell.authenticate(f"{BOB} {PHONE}")
    assert (await bell.authenticate(f"{ALICE} {TABLET}")).device == TABLET


async def test_no_more_tokens_are_known_by_heart_than_the_limit(home: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_KNOWN_TOKENS", 2)
    bell = Sessions(home, FixedClock())
    for name in (f"{ALICE} {PHONE}", f"{ALICE} {TABLET}", f"{BOB} {PHONE}") * 2:
        assert (await bell.authenticate(name)).user in name
