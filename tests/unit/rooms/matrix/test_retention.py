"""What a room asks for in `m.room.retention`."""

import pytest

from relay.rooms.matrix import retention
from relay.rooms.matrix.retention import Lifetime
from tests.fakes.boxes import Town


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ({}, Lifetime()),
        ({"max_lifetime": 5}, Lifetime(None, 5)),
        ({"min_lifetime": 1, "max_lifetime": 5}, Lifetime(1, 5)),
        ({"min_lifetime": 6, "max_lifetime": 5}, Lifetime()),
        ({"max_lifetime": -1}, Lifetime()),
        ({"max_lifetime": "5"}, Lifetime()),
        ({"max_lifetime": True}, Lifetime()),
        ({"max_lifetime": 5.0}, Lifetime()),
    ],
)
def test_what_contradicts_itself_asks_for_nothing(content: dict[str, object], wanted: Lifetime) -> None:
    assert retention.read_content(content) == wanted


async def test_the_current_state_counts() -> None:
    async with Town().box("box.test") as box:
        anna = box.user("anna")
        room = await box.create(anna)
        assert await box.ledger.read(retention.wanted, room) == Lifetime()
        await box.writer.send(room, anna, retention.TYPE, {"max_lifetime": 86_400_000}, state_key="")
        assert await box.ledger.read(retention.wanted, room) == Lifetime(None, 86_400_000)
