import pytest

from relay.base.errors import ForbiddenError
from relay.household import invitations
from relay.store.ledger import Ledger
from tests.unit.household.conftest import ALICE, BOB


async def test_an_invitation_lets_one_person_in(ledger: Ledger) -> None:
    token = invitations.draw_invitation()
    await ledger.run(invitations.create, token, 100, 50)
    assert await ledger.read(invitations.is_valid, token, 149)
    await ledger.run(invitations.consume, token, ALICE, 149)
    assert not await ledger.read(invitations.is_valid, token, 149)
    with pytest.raises(ForbiddenError):
        await ledger.run(invitations.consume, token, BOB, 149)


async def test_an_expired_or_unknown_invitation_lets_nobody_in(ledger: Ledger) -> None:
    await ledger.run(invitations.create, "token", 100, 50)
    for token, now_ms in [("token", 150), ("other", 120), ("", 120)]:
        assert not await ledger.read(invitations.is_valid, token, now_ms)
        with pytest.raises(ForbiddenError):
            await ledger.run(invitations.consume, token, ALICE, now_ms)


async def test_the_token_itself_is_not_stored_and_old_ones_are_forgotten(ledger: Ledger) -> None:
    await ledger.run(invitations.create, "token", 100, 50)
    await ledger.run(invitations.create, "later", 1_000, 50)
    rows = await ledger.read(lambda index: index.rows("SELECT * FROM invitations"))
    assert len(rows) == 1
    assert not {"later", b"later"} & set(rows[0])
