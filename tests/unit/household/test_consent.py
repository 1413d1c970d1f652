from typing import Any

import pytest

from relay.core.consent import Decision
from relay.household import account_data, accounts, consent
from relay.household.faults import InviteBlockedError
from relay.store.ledger import Ledger
from tests.unit.household.conftest import ALICE, CAROL


async def test_a_stranger_may_ask_whoever_lives_here(home: Ledger) -> None:
    assert await home.read(consent.decide_invite, ALICE, CAROL) is Decision.ASK
    await home.read(consent.check_invite, ALICE, CAROL)
    assert await home.read(consent.decide_invite, CAROL, ALICE) is Decision.REFUSE
    await home.run(accounts.deactivate, ALICE, 5)
    with pytest.raises(InviteBlockedError):
        await home.read(consent.check_invite, ALICE, CAROL)


@pytest.mark.parametrize(("config", "blocks"), [({"default_action": "block"}, True), ({"default_action": 1}, False)])
async def test_blocked_invites_are_refused(home: Ledger, config: dict[str, Any], blocks: bool) -> None:
    await home.run(account_data.put, ALICE, None, consent.INVITE_PERMISSION, config)
    assert await home.read(consent.blocks_invites, ALICE) is blocks
    expected = Decision.REFUSE if blocks else Decision.ASK
    assert await home.read(consent.decide_invite, ALICE, CAROL) is expected


async def test_an_ignored_sender_learns_nothing(home: Ledger) -> None:
    await home.run(account_data.put, ALICE, None, consent.IGNORED, {"ignored_users": {CAROL: {}}})
    assert await home.read(consent.ignored_users, ALICE) == {CAROL}
    assert await home.read(consent.decide_invite, ALICE, CAROL) is Decision.HIDE
    await home.read(consent.check_invite, ALICE, CAROL)


@pytest.mark.parametrize("content", [{}, {"ignored_users": [CAROL]}, {"ignored_users": "all"}])
async def test_a_malformed_ignore_list_ignores_nobody(home: Ledger, content: dict[str, Any]) -> None:
    await home.run(account_data.put, ALICE, None, consent.IGNORED, content)
    assert await home.read(consent.ignored_users, ALICE) == set()
