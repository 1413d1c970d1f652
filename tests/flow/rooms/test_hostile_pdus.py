"""What a hostile or broken server may push: each gets its error, and the room goes on."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from relay.base.ids import RoomId
from relay.base.limits import INBOX_REFUSED_LIFE_S
from relay.core.matrix.building import sign_raw
from relay.core.matrix.room_versions import room_version
from relay.rooms.matrix.deciding.drafting import Draft, held_room, lay_out
from relay.rooms.matrix.storage import graph, inbox_book
from tests.fakes.boxes import Box, Town

Raw = dict[str, Any]


async def _draft(box: Box, room: RoomId, sender: str, *, kind: str = "m.room.message", **more: Any) -> Raw:
    content = more.pop("content", {"body": "hi", "msgtype": "m.text"})

    def step(index: Any) -> Raw:
        wanted = Draft(sender=box.user(sender), type=kind, content=content, now_ms=box.town.clock.wall_ms(), **more)
        return lay_out(index, held_room(index, room), wanted)

    return await box.ledger.read(step)


def _sign(box: Box, raw: Raw, version: str = "12") -> Raw:
    return sign_raw(raw, room_version(version), box.name, box.key)


async def _pair(here: Box, there: Box) -> RoomId:
    room = await here.create(here.user("anna"))
    await there.joining.join(there.user("bert"), room, [here.name])
    return room


async def _still_works(here: Box, there: Box, room: RoomId) -> None:
    await there.say(room, there.user("bert"), "still here")
    await there.push()
    await here.settle()
    assert (await here.bodies(room))[-1] == "still here"


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def _with_bytes(signatures: Raw, text: str) -> Raw:
    return {server: dict.fromkeys(keys, text) for server, keys in signatures.items()}


BENDS: dict[str, tuple[Callable[[Raw], object], bool]] = {
    "a wrong signature": (lambda raw: raw.update(signatures=_with_bytes(raw["signatures"], "A" * 86)), False),
    "a signature that is no base64": (lambda raw: raw.update(signatures=_with_bytes(raw["signatures"], "!")), False),
    "a signature by a key nobody knows": (lambda raw: raw.update(signatures={"b.example": {"ed25519:x": "A"}}), False),
    "no signature": (lambda raw: raw.update(signatures={}), False),
    "a changed sender": (lambda raw: raw.update(sender="@other:b.example"), False),
    "a changed depth": (lambda raw: raw.update(depth=raw["depth"] + 1), False),
    "too large": (lambda raw: raw["content"].update(body="x" * 70_000), True),
    "a float": (lambda raw: raw["content"].update(number=1.5), True),
    "a huge integer": (lambda raw: raw["content"].update(number=2**60), True),
    "too deep": (lambda raw: raw["content"].update(deep=_nested(200)), True),
    "too many prev_events": (lambda raw: raw.update(prev_events=["$" + "a" * 43] * 21), True),
    "prev_events of another form": (lambda raw: raw.update(prev_events=[["$a", {}]]), True),
    "no type": (lambda raw: raw.pop("type"), True),
    "a type that is too long": (lambda raw: raw.update(type="t" * 256), True),
    "content that is a list": (lambda raw: raw.update(content=[]), True),
    "a sender that is no user": (lambda raw: raw.update(sender="b.example"), True),
}


@pytest.mark.parametrize("name", BENDS)
async def test_a_bent_event_gets_an_error_and_changes_nothing(name: str) -> None:
    bend, sign_after = BENDS[name]
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await _pair(here, there)
        raw = await _draft(there, room, "bert")
        if sign_after:
            bend(raw)
            # What cannot be signed as it is gets somebody's signature, so that only the fault in question is left.
            raw = {**raw, "hashes": {"sha256": "A" * 43}, "signatures": {"b.example": {"ed25519:a": "A" * 86}}}
        else:
            raw = _sign(there, raw)
            bend(raw)
        tips = await here.tips(room)
        results = await here.receive(there.name, [raw])
        assert all("error" in result for result in results.values())
        assert await here.tips(room) == tips
        assert await here.ledger.read(inbox_book.rooms) == []
        await _still_works(here, there, room)


async def test_an_event_with_a_wrong_content_hash_is_kept_redacted() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await _pair(here, there)
        raw = _sign(there, await _draft(there, room, "bert"))
        raw["content"] = {"body": "bent", "msgtype": "m.text"}
        results = await here.receive(there.name, [raw])
        assert list(results.values()) == [{}]
        stored = await here.ledger.read(graph.event, next(iter(results)))
        assert stored is not None
        assert stored.event.content == {}
        await _still_works(here, there, room)


@pytest.mark.parametrize("kind", ["m.room.name", "m.room.power_levels", "m.room.create"])
async def test_an_event_that_the_rules_refuse_is_rejected_without_an_error(kind: str) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await _pair(here, there)
        before = await here.state(room)
        raw = await _draft(there, room, "bert", kind=kind, state_key="x" if kind == "m.room.create" else "", content={})
        results = await here.receive(there.name, [_sign(there, raw)])
        assert list(results.values()) == [{}]
        stored = await here.ledger.read(graph.event, next(iter(results)))
        assert stored is not None
        assert stored.rejected
        assert await here.state(room) == before
        await _still_works(here, there, room)


async def test_a_second_create_event_never_founds_the_room_again() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await here.create(here.user("anna"), "10")
        await there.joining.join(there.user("bert"), room, [here.name])
        raw = await _draft(
            there, room, "bert", kind="m.room.create", state_key="", content={"creator": "@bert:b.example"}
        )
        raw.update(prev_events=[], auth_events=[], depth=1)
        before = await here.state(room)
        await here.receive(there.name, [_sign(there, raw, "10")])
        assert await here.state(room) == before
        await _still_works(here, there, room)


async def test_an_event_without_ancestors_is_rejected() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await _pair(here, there)
        raw = _sign(there, {**await _draft(there, room, "bert"), "prev_events": []})
        results = await here.receive(there.name, [raw])
        stored = await here.ledger.read(graph.event, next(iter(results)))
        assert stored is not None
        assert stored.rejected
        await _still_works(here, there, room)


async def test_ancestors_that_nobody_has_are_given_up_and_the_room_goes_on(autojump_clock: MockClock) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await _pair(here, there)
        raw = _sign(there, {**await _draft(there, room, "bert"), "prev_events": ["$" + "n" * 43]})
        assert list((await here.receive(there.name, [raw])).values()) == [{}]
        for _ in range(6):
            await here.settle()
            await trio.sleep(INBOX_REFUSED_LIFE_S / 4)
        assert await here.ledger.read(inbox_book.rooms) == []
        await _still_works(here, there, room)


async def test_auth_events_that_are_left_out_or_forged_do_not_help() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await _pair(here, there)
        raw = _sign(there, {**await _draft(there, room, "bert"), "auth_events": []})
        results = await here.receive(there.name, [raw])
        stored = await here.ledger.read(graph.event, next(iter(results)))
        assert stored is not None
        assert stored.rejected
        await _still_works(here, there, room)


async def test_a_banned_user_on_an_old_branch_is_soft_failed() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await _pair(here, there)
        await there.joining.join(there.user("dora"), room)
        await there.push()
        old = _sign(there, await _draft(there, room, "bert"))
        await here.set_membership(room, here.user("anna"), there.user("bert"), "ban")
        results = await here.receive(there.name, [old])
        stored = await here.ledger.read(graph.event, next(iter(results)))
        if stored is None:
            await here.settle()
            stored = await here.ledger.read(graph.event, next(iter(results)))
        assert stored is not None
        assert stored.soft_failed
        assert await here.bodies(room) == []


async def test_events_of_a_server_that_the_room_shuts_out_are_ignored_with_an_error() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await _pair(here, there)
        listed = {"allow": ["*"], "deny": ["B.EXAMPLE"]}
        await here.writer.send(room, here.user("anna"), "m.room.server_acl", listed, state_key="")
        results = await here.receive(there.name, [_sign(there, await _draft(there, room, "bert"))])
        assert list(results.values()) == [{"error": "this server is shut out of the room"}]


async def test_a_room_that_is_not_here_is_no_place_to_push_to() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await there.create(there.user("bert"))
        event = await there.say(room, there.user("bert"), "hi")
        stored = await there.ledger.read(graph.event, event)
        assert stored is not None
        raw = copy.deepcopy(dict(stored.event.raw))
        results = await here.receive(there.name, [raw, {"room_id": 7}, {}, "text", None, {"room_id": "!x"}])
        assert all("error" in result for result in results.values())
