"""A person moves from one box to another, page by page, over real federation between the two."""

import hashlib
import io
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from relay.admin.operations import HouseOperator
from relay.app.house import House
from relay.app.moving import HouseMoving
from relay.app.network import Network
from relay.base.errors import InvalidInputError, NotFoundError
from relay.base.ids import RoomAlias, RoomId, UserId
from relay.base.limits import MAX_MOVED_PICTURE_BYTES
from relay.cli.luggage import Luggage, LuggageWriter
from relay.cli.moves import Account, Arrival, Ask, Departure, arrive, ask_operator, depart
from relay.delivery.media import Media
from relay.household import account_data, key_backup, profile
from relay.household.luggage import Record
from relay.rooms.matrix import aliases
from relay.rooms.matrix.deciding.writer import InitialEvent, RoomPlan
from relay.store.archive_key import Secret
from tests.fakes.federated import FederatedBox, FederatedTown
from tests.fakes.people import MemoryReport

SECRET = Secret.from_file(b"k" * 32)
PICTURE = hashlib.shake_128(b"picture").digest(250_000)


class Household:
    """The accounts of a federated box, for the operator."""

    def __init__(self, box: FederatedBox) -> None:
        self._box = box

    async def add(self, localpart: str, password: str, *, admin: bool) -> UserId:
        assert password
        return await self._box.add_user(localpart)


def asked(box: FederatedBox, *, running: bool = True) -> Ask:
    """Return the way to ask this box what an operator may ask."""

    async def connect() -> Network:
        return cast("Network", SimpleNamespace(media=box.media, inviting=box.inviting, joining=box.joining))

    people = cast("Any", Household(box))
    house = cast("House", SimpleNamespace(ledger=box.ledger, server=box.name))
    moving = HouseMoving(house, people, connect, running=running)
    return partial(ask_operator, HouseOperator(people, MemoryReport(), stop=None, moving=moving))


@pytest.fixture
async def town() -> AsyncIterator[FederatedTown]:
    async with trio.open_nursery() as nursery:
        yield FederatedTown(nursery)
        nursery.cancel_scope.cancel()


async def pack(box: FederatedBox, path: Path, invited: str = "") -> Departure:
    return await depart(asked(box), "anna", LuggageWriter(path, io.BytesIO(), SECRET), invited, lambda _: None)


async def unpack(box: FederatedBox, path: Path, *, running: bool = True, name: str = "") -> Arrival:
    with path.open("rb") as file:
        luggage = Luggage(file, SECRET)
        return await arrive(asked(box, running=running), luggage, Account(name, "password"), lambda _: None)


def outcomes(arrival: Arrival) -> dict[RoomId, str]:
    return {room["room"]: room["outcome"] for room in arrival.rooms}


async def put_picture(box: FederatedBox, user: UserId, content: bytes) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield content

    media_id = await box.media.upload(user, chunks(), "image/png", "me.png")
    await box.ledger.run(profile.put, user, "avatar_url", f"mxc://{box.name}/{media_id}")


async def room(box: FederatedBox, creator: UserId, rule: str, *, name: str = "", encrypted: bool = False) -> RoomId:
    events = [InitialEvent("m.room.power_levels", "", {}), InitialEvent("m.room.join_rules", "", {"join_rule": rule})]
    events += [InitialEvent("m.room.name", "", {"name": name})] if name else []
    events += [InitialEvent("m.room.encryption", "", {"algorithm": "m.megolm.v1.aes-sha2"})] if encrypted else []
    return await box.writer.create(creator, RoomPlan(version="12", events=events))


async def read_all(media: Media, url: str) -> bytes:
    server, _, media_id = url.removeprefix("mxc://").partition("/")
    found = await media.find(cast("Any", server), cast("Any", media_id))
    return b"".join([chunk async for chunk in media.read(found.file)])


async def test_a_person_moves_with_everything_and_a_second_import_changes_nothing(
    town: FederatedTown, tmp_path: Path
) -> None:
    async with town.box("old.test") as old, town.box("new.test") as new:
        anna, otto = await old.add_user("anna"), await old.add_user("otto")
        await old.ledger.run(profile.put, anna, "displayname", "Anna")
        await put_picture(old, anna, PICTURE)
        street = await room(old, otto, "public", name="Street")
        secret = await room(old, anna, "invite", encrypted=True)
        await old.joining.join(anna, street)
        await old.inviting.invite(anna, secret, otto)
        await old.joining.join(otto, secret)
        await old.ledger.run(account_data.put, anna, None, "m.direct", {otto: [secret]})
        await old.ledger.run(account_data.set_tag, anna, secret, "m.favourite", {"order": 0.1})
        await old.ledger.run(key_backup.create, anna, "a", {"p": 1})

        departure = await pack(old, tmp_path / "anna")
        assert {card["room"]: (card["direct"], card["encrypted"], card["power"]) for card in departure.rooms} == {
            street: (False, False, 0),
            secret: (True, True, 100),
        }
        first = await unpack(new, tmp_path / "anna")
        anne = new.user("anna")
        assert (first.user, first.former, first.made, first.secrets) == (anne, anna, True, True)
        assert outcomes(first) == {street: "joined", secret: "invite"}
        assert await old.membership(street, anne) == "join"
        shown = await new.ledger.read(profile.get, anne)
        assert shown["displayname"] == "Anna"
        assert shown["avatar_url"].startswith("mxc://new.test/")
        assert await read_all(new.media, shown["avatar_url"]) == PICTURE
        assert await new.ledger.read(account_data.tags, anne, secret) == {"m.favourite": {"order": 0.1}}

        invited = await pack(old, tmp_path / "anna", anne)
        assert {card["room"]: card["outcome"] for card in invited.rooms} == {street: "there", secret: "invited"}
        second = await unpack(new, tmp_path / "anna")
        assert outcomes(second) == {street: "there", secret: "joined"}
        assert set(second.counts) <= {"kept", "left", "rooms"}
        position = new.ledger.position
        third = await unpack(new, tmp_path / "anna")
        assert set(outcomes(third).values()) == {"there"}
        assert new.ledger.position == position
        await new.say(secret, anne, "here I am")
        await old.wait_for(secret, "here I am")


async def test_what_cannot_be_joined_says_why(town: FederatedTown, tmp_path: Path) -> None:
    async with town.box("old.test") as old, town.box("far.test") as far, town.box("new.test") as new:
        anna, otto = await old.add_user("anna"), await old.add_user("otto")
        carol, anne = await far.add_user("carol"), await new.add_user("anna")
        distant = await far.create(carol)
        await old.joining.join(anna, distant, [far.name])
        shut = await room(old, otto, "public", name="Shut")
        await old.joining.join(anna, shut)
        await old.writer.send(shut, otto, "m.room.member", {"membership": "ban"}, state_key=anne)
        asked_in = await room(old, otto, "invite", name="Asked")
        await old.inviting.invite(otto, asked_in, anna)
        elsewhere = await room(far, carol, "invite", name="Far away")
        await far.inviting.invite(carol, elsewhere, anna)
        departure = await pack(old, tmp_path / "anna", anne)
        cards = {card["room"]: card for card in departure.rooms}
        assert cards[shut]["outcome"] == "refused"
        assert "outcome" not in cards[asked_in]
        assert (cards[elsewhere]["name"], cards[elsewhere]["via"]) == ("Far away", ["far.test"])
        assert cards[distant]["via"] == ["far.test", "old.test"]
        await town.cut_off("far.test")
        await town.cut_off("old.test")
        gone = outcomes(await unpack(new, tmp_path / "anna"))
        assert gone[distant] == "silent"
        assert gone[shut] == "silent"
        assert gone[asked_in] == gone[elsewhere] == "invite"
        town.network.cut.clear()
        there = outcomes(await unpack(new, tmp_path / "anna"))
        assert there[distant] == "joined"
        assert there[shut] == "invite"


async def test_a_room_whose_servers_are_gone_is_found_by_its_name(town: FederatedTown) -> None:
    async with town.box("far.test") as far, town.box("new.test") as new:
        carol, anna = await far.add_user("carol"), await new.add_user("anna")
        market, other = await far.create(carol), await far.create(carol)
        for name, bound in (("#market:far.test", market), ("#other:far.test", other)):
            await far.ledger.run(aliases.create, RoomAlias(name), bound, carol)
        card = {"room": market, "membership": "join", "via": ["gone.test"], "aliases": ["#other:far.test"]}
        ask = {"verb": "account_rejoin", "name": "anna"}
        town.network.cut.add("gone.test")
        found = await asked(new)({**ask, "card": json.dumps(card)})
        # A name that leads to another room by now is not followed.
        assert (found["outcome"], await far.membership(other, anna)) == ("silent", None)
        card["aliases"] = ["#other:far.test", "#market:far.test"]
        assert (await asked(new)({**ask, "card": json.dumps(card)}))["outcome"] == "joined"


async def test_without_a_running_box_rooms_wait_and_all_else_moves(town: FederatedTown, tmp_path: Path) -> None:
    async with town.box("old.test") as old, town.box("new.test") as new:
        anna = await old.add_user("anna")
        street = await old.create(anna)
        await old.ledger.run(account_data.put, anna, None, "x", {"y": 1})
        question = asked(old, running=False)
        writer = LuggageWriter(tmp_path / "anna", io.BytesIO(), SECRET)
        departure = await depart(question, "anna", writer, "@anne:new.test", lambda _: None)
        assert [card["outcome"] for card in departure.rooms] == ["later"]
        arrival = await unpack(new, tmp_path / "anna", running=False, name="anne")
        assert outcomes(arrival) == {street: "later"}
        assert await new.ledger.read(account_data.get, new.user("anne"), None, "x") == {"y": 1}


async def test_an_account_that_is_not_there_is_neither_packed_nor_made_without_a_password(
    town: FederatedTown, tmp_path: Path
) -> None:
    async with town.box("old.test") as old, town.box("new.test") as new:
        await old.add_user("anna")
        with pytest.raises(NotFoundError):
            await depart(asked(old), "nobody", LuggageWriter(tmp_path / "n", io.BytesIO(), SECRET), "", lambda _: None)
        assert list(tmp_path.iterdir()) == []
        await pack(old, tmp_path / "anna")
        with (tmp_path / "anna").open("rb") as file, pytest.raises(NotFoundError, match="a password makes"):
            await arrive(asked(new), Luggage(file, SECRET), Account(), lambda _: None)
        with pytest.raises(NotFoundError):
            await asked(new)({"verb": "account_unpack", "name": "anna", "records": "x", "secrets": True})


async def test_a_picture_that_is_too_large_gone_or_of_somebody_else_stays_where_it_is(
    town: FederatedTown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town.box("old.test") as old, town.box("new.test") as new:
        anna = await old.add_user("anna")
        for url in ("mxc://far.test/abc", "mxc://old.test/gone"):
            await old.ledger.run(profile.put, anna, "avatar_url", url)
            departure = await pack(old, tmp_path / "anna")
            assert "picture" not in departure.contents.counts
        assert (await unpack(new, tmp_path / "anna")).counts["profile"] == 1
        assert (await new.ledger.read(profile.get, new.user("anna")))["avatar_url"] == "mxc://old.test/gone"
        await put_picture(old, anna, PICTURE)
        monkeypatch.setattr("relay.delivery.moving.departing.MAX_MOVED_PICTURE_BYTES", 1000)
        assert "picture" not in (await pack(old, tmp_path / "anna")).contents.counts


async def test_a_room_that_asks_for_another_one_is_tried_again_once_that_is_joined(tmp_path: Path) -> None:
    tried: list[str] = []

    async def answer(fields: dict[str, Any]) -> dict[str, Any]:
        if fields["verb"] == "account_move_in":
            return {"user": "@anna:new.test", "made": True, "secrets": True}
        if fields["verb"] == "account_unpack":
            return {}
        tried.append(json.loads(fields["card"])["room"])
        return {"outcome": "invite" if len(tried) in (1, 2) else "joined", "why": ""}

    writer = LuggageWriter(tmp_path / "anna", io.BytesIO(), SECRET)
    cards = [{"room": "!a:b", "join_rule": "restricted"}, {"room": "!b:b", "join_rule": "invite"}, {"room": "!s:b"}]
    writer.add([["account", {"format": 1, "user": "@anna:old.test"}], *(["room", card] for card in cards)])
    writer.finish()
    told: list[str] = []
    with (tmp_path / "anna").open("rb") as file:
        arrival = await arrive(answer, Luggage(file, SECRET), Account(), told.append)
    assert tried == ["!a:b", "!b:b", "!s:b", "!a:b"]
    assert [room["outcome"] for room in arrival.rooms] == ["joined", "invite", "joined"]
    assert told == ["invite: !a:b", "invite: !b:b", "joined: !s:b", "joined: !a:b"]


async def test_hostile_pages_are_refused(town: FederatedTown) -> None:
    from relay.delivery.moving import parcel

    async with town.box("new.test") as new:
        await new.add_user("anna")
        question = asked(new)
        piece = ["piece", bytes(400_000)]
        hostile: list[list[Record]] = [
            [["account", {"format": 99}]],
            [["piece", b"without a picture"]],
            [["picture", {}], *([piece] * 2)],
        ]
        for records in hostile[:2]:
            with pytest.raises(InvalidInputError):
                await question({"verb": "account_unpack", "name": "anna", "records": parcel.wrap(records)})
        await question({"verb": "account_unpack", "name": "anna", "records": parcel.wrap(hostile[2])})
        more = {"verb": "account_unpack", "name": "anna", "records": parcel.wrap([piece])}
        for _ in range(MAX_MOVED_PICTURE_BYTES // 400_000 - 2):
            await question(more)
        with pytest.raises(InvalidInputError, match="larger than"):
            await question(more)
        odd = {"room": "!a:b", "via": [5, "!!"], "membership": "join"}
        answer = await question({"verb": "account_rejoin", "name": "anna", "card": json.dumps(odd)})
        assert answer["outcome"] == "refused"
        for card in ({}, {"room": 5}):
            with pytest.raises(InvalidInputError):
                await question({"verb": "account_rejoin", "name": "anna", "card": json.dumps(card)})
        with pytest.raises(InvalidInputError, match="no JSON"):
            await question({"verb": "account_rejoin", "name": "anna", "card": "[]"})
        for after in ("5", "[5]", '["data", "x", 1]', "nonsense"):
            with pytest.raises(InvalidInputError):
                await question({"verb": "account_pack", "name": "anna", "after": after})
