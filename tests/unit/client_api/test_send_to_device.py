from typing import Any

import pytest

from relay.base.limits import MAX_EVENT_BYTES
from tests.fakes.family import App, open_family

PATH = "/sendToDevice/m.room.encrypted/txn1"


async def _waiting(app: App, since: str | None = None) -> tuple[list[Any], str]:
    told = await app.sync(since)
    return [event["content"] for event in told.get("to_device", {}).get("events", [])], told["next_batch"]


async def test_a_message_is_delivered_once_however_often_it_is_sent() -> None:
    async with open_family() as family:
        ann, bob = await family.app("ann"), await family.app("bob")
        tablet = await family.app("bob", "TABLET")
        for number in range(2):
            await ann.put(PATH, {"messages": {bob.user: {"PHONE": {"n": number}}}})
        assert (await _waiting(bob))[0] == [{"n": 0}]
        assert (await _waiting(tablet))[0] == []
        await ann.put("/sendToDevice/m.room.encrypted/txn2", {"messages": {bob.user: {"*": {"n": 2}}}})
        assert (await _waiting(bob))[0] == [{"n": 0}, {"n": 2}]
        assert (await _waiting(tablet))[0] == [{"n": 2}]


async def test_a_message_waits_until_the_app_says_that_it_has_it() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        await ann.put(PATH, {"messages": {ann.user: {"PHONE": {"n": 1}}}})
        first, token = await _waiting(ann)
        assert (await _waiting(ann))[0] == first == [{"n": 1}]
        assert (await _waiting(ann, token))[0] == []
        assert (await _waiting(ann))[0] == []


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({}, (400, "M_MISSING_PARAM")),
        ({"messages": []}, (400, "M_BAD_JSON")),
        ({"messages": {"@bob:box.example": []}}, (400, "M_BAD_JSON")),
        ({"messages": {"@bob:box.example": {"PHONE": "x"}}}, (400, "M_BAD_JSON")),
        ({"messages": {"bob": {}}}, (400, "M_BAD_JSON")),
        ({"messages": {"@bob:box.example": {"PHONE": {"": "x" * MAX_EVENT_BYTES}}}}, (413, "M_TOO_LARGE")),
        ({"messages": {"@bob:box.example": {"PHONE": {"n": 2**70}}}}, (400, "M_BAD_JSON")),
    ],
)
async def test_malformed_messages_are_refused_by_name(body: Any, refusal: tuple[int, str]) -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        assert await ann.refused("PUT", PATH, body) == refusal
