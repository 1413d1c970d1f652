import pytest

from relay.base.errors import ForbiddenError
from relay.household import invitations
from relay.store.ledger import Ledger
from tests.unit.household.conftest import ALICE, BOB

NOW_MS = 1_800_000_000_000


async def test_an_invitation_lets_one_person_in(ledger: Ledger) -> None:
    token = invitations.draw_invitation()
    await ledger.run(invitations.create, token, NOW_MS, 50)
    assert await ledger.read(invitations.is_valid, token, NOW_MS + 49)
    await ledger.run(invitations.consume, token, ALICE, NOW_MS + 49)
    assert not await ledger.read(invitations.is_valid, token, NOW_MS + 49)
    with pytest.raises(ForbiddenError):
        await ledger.run(invitations.consume, token, BOB, NOW_MS + 49)


async def test_an_expired_or_unknown_invitation_lets_nobody_in(ledger: Ledger) -> None:
    await ledger.run(invitations.create, "token", NOW_MS, 50)
    for token, now_ms in [("token", NOW_MS + 50), ("other", NOW_MS), ("", NOW_MS)]:
        assert not await ledger.read(invitations.is_valid, token, now_ms)
        with pytest.raises(ForbiddenError):
            await ledger.run(invitations.consume, token, ALICE, now_ms)


async def test_the_token_itself_is_not_stored_and_old_ones_are_forgotten(ledger: Ledger) -> None:
    await ledger.run(invitations.create, "token", NOW_MS, 50)
    await ledger.run(invitations.create, "later", NOW_MS + 900, 50)
    rows = await ledger.read(lambda index: index.rows("SELECT * FROM invitations"))
    assert len(rows) == 1
    assert not {"later", b"later"} & set(rows[0])


async def test_one_made_before_the_clock_was_set_waits_for_its_person(ledger: Ledger) -> None:
    await ledger.run(invitations.create, "early", 5_000, 50)
    await ledger.run(invitations.create, "token", NOW_MS, 50)
    await ledger.run(invitations.create, "later", NOW_MS + 900, 50)
    assert await ledger.read(invitations.is_valid, "early", NOW_MS + 900)
    await ledger.run(invitations.consume, "early", ALICE, NOW_MS + 900)
    assert not await ledger.read(invitations.is_valid, "early", NOW_MS + 900)
    await ledger.run(invitations.create, "last", NOW_MS + 900, 50)
    assert len(await ledger.read(lambda index: index.rows("SELECT * FROM invitations"))) == 2
