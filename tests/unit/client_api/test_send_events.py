"""Sending, redacting, and being slowed down."""

from urllib.parse import quote

from tests.fakes.family import at, open_family, two


async def test_a_redaction_takes_the_content_away_for_everybody() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        said = await bob.say(room, "oops")
        redaction = (await bob.put(at(room, f"/redact/{quote(said)}/t1"), {"reason": "typo"}))["event_id"]
        assert (await bob.put(at(room, f"/redact/{quote(said)}/t1"), {"reason": "typo"}))["event_id"] == redaction
        event = await ann.get(at(room, f"/event/{quote(said)}"))
        assert event["content"] == {}
        assert event["unsigned"]["redacted_because"]["event_id"] == redaction
        other = await ann.say(room, "ann's")
        assert await bob.refused("PUT", at(room, f"/redact/{quote(other)}/t2"), {}) == (403, "M_FORBIDDEN")
        again = await ann.put(at(room, "/send/m.room.redaction/t3"), {"redacts": other})
        assert (await ann.get(at(room, f"/event/{quote(other)}")))["unsigned"]["redacted_because"]["event_id"] == again[
            "event_id"
        ]


async def test_a_burst_of_messages_is_slowed_down_and_none_is_lost() -> None:
    async with open_family(rate={"message_burst": 3, "message_per_s": 1.0}) as family:
        ann = await family.app("ann")
        room = await ann.create_room()
        await ann.say(room, "1")
        await ann.say(room, "2")
        content = {"msgtype": "m.text", "body": "3"}
        response = await ann.ask("PUT", at(room, "/send/m.room.message/t3"), content)
        assert (response.status, response.parsed()["errcode"]) == (429, "M_LIMIT_EXCEEDED")
        assert response.parsed()["retry_after_ms"] > 0
