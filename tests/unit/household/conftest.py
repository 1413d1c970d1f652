from collections.abc import AsyncIterator

import pytest

from relay.base.ids import DeviceId, UserId
from relay.household import accounts, sessions
from relay.household.tables import TABLES
from relay.household.tokens import Tokens
from relay.store.ledger import Change, Ledger
from tests.fakes.ledger import memory_ledger

ALICE, BOB, CAROL = UserId("@alice:box.test"), UserId("@bob:box.test"), UserId("@carol:far.test")
PHONE, TABLET = DeviceId("PHONE"), DeviceId("TABLET")


def move_in(change: Change, *devices: tuple[UserId, DeviceId]) -> None:
    """Make the accounts and log their devices in; the access token of a device is its user and id."""
    for user, device in devices:
        if not accounts.exists(change, user):
            accounts.create(change, user, "no password fits", 1_000)
        sessions.open_session(change, user, device, f"the {device.lower()}", 1_000, Tokens(f"{user} {device}"))


@pytest.fixture
async def ledger() -> AsyncIterator[Ledger]:
    async with memory_ledger(TABLES) as opened:
        yield opened


@pytest.fixture
async def home(ledger: Ledger) -> Ledger:
    """A ledger in which Alice has two devices and Bob one."""
    await ledger.run(move_in, (ALICE, PHONE), (ALICE, TABLET), (BOB, PHONE))
    return ledger
