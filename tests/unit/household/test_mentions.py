"""Which files profiles and account data speak of."""

import re

from relay.base.ids import UserId
from relay.household import account_data, mentions, profile
from relay.household.tables import TABLES
from tests.fakes.ledger import memory_ledger

ANN = UserId("@ann:box.test")


async def test_profiles_and_account_data_are_read() -> None:
    async with memory_ledger(TABLES) as ledger:
        await ledger.run(profile.put, ANN, "avatar_url", "mxc://box.test/face")
        await ledger.run(account_data.put, ANN, None, "im.stickers", {"a": {"url": "mxc://box.test/sticker"}})
        found = await ledger.read(mentions.mentioned, re.compile(rb"mxc://box\.test/([a-z]+)"))
        assert found == {"face", "sticker"}
