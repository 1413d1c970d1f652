"""A box that fills up, through its real doors: slower from 80 %, refused from 95 %, nothing lost, never shut in."""

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trio
from trio.testing import MockClock

from relay.app.health import HouseReport
from relay.app.house import open_house
from relay.app.network import admission_of
from relay.base.config import Config, LimitsConfig
from relay.base.ids import DeviceId, RoomId, ServerName, UserId, parse_event_id
from relay.base.limits import MIB
from relay.client_api.door import Door
from relay.delivery.bounds.admission import PACE_MOST_S
from relay.delivery.outbox import queue as outbox_queue
from relay.household import accounts, devices, to_device
from relay.rooms.matrix.storage import graph, inbox_book
from relay.store.ledger import Change
from relay.transport.message import Pieces, Request
from tests.fakes.bounds import admission
from tests.fakes.family import App, at, good, open_family, two
from tests.fakes.federated import FederatedBox
from tests.flow.test_federation import new_town, share_room
from tests.unit.federation.matrix.test_door import stranger_at_the_door

TEXT = {"msgtype": "m.text", "body": "hi"}


async def _answer(app: App, method: str, path: str, body: object = None) -> tuple[int, str, str | None]:
    response = await app.ask(method, path, {} if body is None and method != "GET" else body)
    after = dict(response.headers).get("Retry-After")
    return response.status, str(response.parsed().get("errcode", "")), after


GROWING: list[tuple[str, str, Any]] = [
    ("PUT", "/rooms/ROOM/send/m.room.message/new", TEXT),
    ("PUT", "/rooms/ROOM/state/m.room.topic", {"topic": "x"}),
    ("POST", "/createRoom", {}),
    ("POST", "/join/ROOM", {}),
    ("POST", "/rooms/ROOM/invite", {"user_id": "@carl:box.test"}),
    ("PUT", "/rooms/ROOM/state/m.room.member/%40carl%3Abox.test", {"membership": "invite"}),
    ("PUT", "/sendToDevice/m.x/t", {"messages": {}}),
    ("PUT", "/user/USER/account_data/x", {"a": 1}),
    ("PUT", "/user/USER/rooms/ROOM/tags/u.x", {}),
    ("POST", "/room_keys/version", {"algorithm": "x", "auth_data": {}}),
    ("PUT", "/profile/USER/displayname", {"displayname": "x"}),
    ("POST", "/_matrix/media/v3/upload", None),
    ("POST", "/_matrix/media/v1/create", None),
]


@pytest.mark.parametrize(("method", "path", "body"), GROWING, ids=lambda value: value if isinstance(value, str) else "")
async def test_what_grows_is_refused_at_95_percent_with_the_time_to_wait_and_taken_again_below(
    method: str, path: str, body: Any, autojump_clock: MockClock
) -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        target = path.replace("ROOM", quote(room, safe="")).replace("USER", quote(ann.user, safe=""))
        family.gauges.share = 0.951
        for wait_s in ("5", "10", "20"):
            assert await _answer(ann, method, target, body) == (429, "M_LIMIT_EXCEEDED", wait_s)
        assert (await bob.get(at(room, "/messages?dir=b")))["chunk"] is not None
        family.gauges.share = 0.79
        assert (await _answer(ann, method, target, body))[1] != "M_LIMIT_EXCEEDED"


async def test_a_full_box_can_be_read_emptied_and_left(autojump_clock: MockClock) -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        said = await ann.say(room, "to be taken back")
        good(await ann.ask("PUT", "/user/" + quote(ann.user) + "/rooms/" + quote(room) + "/tags/u.x", {}))
        version = (await ann.post("/room_keys/version", {"algorithm": "x", "auth_data": {}}))["version"]
        mxc = good(await ann.ask("POST", "/_matrix/media/v3/upload", raw=b"picture"))["content_uri"]
        since = (await ann.sync())["next_batch"]
        family.gauges.share = 1.0
        await ann.put(at(room, f"/redact/{quote(said)}/r1"))
        await ann.put(at(room, "/send/m.room.redaction/r2"), {"redacts": said})
        shown = await ann.sync(since)
        assert "m.room.redaction" in str(shown)
        await ann.get(at(room, "/messages?dir=b"))
        await ann.post(at(room, f"/receipt/m.read/{quote(said)}"))
        assert (await ann.ask("GET", f"/_matrix/client/v1/media/download/{mxc.removeprefix('mxc://')}")).status == 200
        await ann.post("/user/" + quote(ann.user) + "/filter", {"room": {"timeline": {"limit": 3}}})
        await ann.post("/keys/upload", {})
        good(await ann.ask("DELETE", f"/room_keys/version/{version}"))
        good(await ann.ask("DELETE", "/user/" + quote(ann.user) + "/rooms/" + quote(room) + "/tags/u.x"))
        await ann.put(at(room, f"/state/m.room.member/{quote(bob.user)}"), {"membership": "leave"})
        await ann.post(at(room, "/leave"))
        await ann.post(at(room, "/forget"))


async def test_logging_in_and_out_works_in_a_full_box(autojump_clock: MockClock) -> None:
    async with open_family(logins=True) as family:
        family.gauges.share = 1.0
        response = await family.door.answer(Request("POST", "/_matrix/client/v3/login", source=Pieces(b"{}")))
        assert response.parsed()["errcode"] != "M_LIMIT_EXCEEDED"


async def test_from_80_percent_an_app_is_slowed_down_and_nothing_it_repeats_is_lost(autojump_clock: MockClock) -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        family.gauges.share = 0.94
        waits = 0
        for number in range(5):
            while True:
                body = {"msgtype": "m.text", "body": str(number)}
                status, _, after = await _answer(ann, "PUT", at(room, f"/send/m.room.message/t{number}"), body)
                if status == 200:
                    break
                assert (status, after is not None) == (429, True)
                waits += 1
                await trio.sleep(float(after or 0))
        assert waits >= 4
        chunk = (await bob.get(at(room, "/messages?dir=b&limit=5")))["chunk"]
        assert [event["content"]["body"] for event in reversed(chunk)] == list("01234")


async def test_one_person_who_floods_is_refused_and_the_others_are_not(autojump_clock: MockClock) -> None:
    async with open_family(limits={"user_mib_per_day": 1}) as family:
        ann, bob, room = await two(family)
        filling = {"msgtype": "m.text", "body": "x" * 60_000}
        answers = []
        for number in range(40):
            answers.append(await _answer(ann, "PUT", at(room, f"/send/m.room.message/f{number}"), filling))
            await trio.sleep(PACE_MOST_S)
        assert [status for status, _, _ in answers[:14]] == [200] * 14
        assert answers[-1][:2] == (429, "M_LIMIT_EXCEEDED")
        assert 10 < float(answers[-1][2] or 0) <= 600
        for _ in range(20):
            await bob.say(room, "hello")
        await trio.sleep(86_400)
        await ann.say(room, "sorry")


async def test_files_are_bounded_for_each_person_and_other_servers_files_make_room_first(
    autojump_clock: MockClock,
) -> None:
    async with open_family(limits={"user_media_mib": 1}) as family:
        ann, bob = await family.app("ann"), await family.app("bob")
        upload = ("POST", "/_matrix/media/v3/upload")
        assert (await ann.ask(*upload, raw=b"x" * int(0.94 * MIB))).status == 200
        response = await ann.ask(*upload, raw=b"x" * int(0.07 * MIB))
        assert (response.status, response.parsed()["errcode"]) == (403, "M_FORBIDDEN")
        assert (await ann.ask(*upload, raw=b"x" * 20_000)).status == 429
        await trio.sleep(PACE_MOST_S)
        assert (await ann.ask(*upload, raw=b"x" * 20_000)).status == 200
        await trio.sleep(PACE_MOST_S)
        response = await ann.ask(*upload, raw=b"x")
        assert (response.status, response.parsed()["errcode"]) == (403, "M_FORBIDDEN")
        assert (await bob.ask(*upload, raw=b"x" * 1000)).status == 200


async def _refused(box: FederatedBox) -> int:
    """Return once a peer has been refused at least once more than before; how often in all."""
    before = box.admission.refused_count
    with trio.fail_after(10):
        while box.admission.refused_count == before:
            await trio.sleep(0.01)
    return box.admission.refused_count


async def test_another_server_keeps_what_a_full_box_refuses_and_is_called_back() -> None:
    async with new_town() as town, town.box("ada.example") as ada, town.box("bob.example") as bob:
        room, (alice, bert) = await share_room(ada, bob)
        await bob.say(room, bert, "before")
        await ada.wait_for(room, "before")
        ada.gauges.share = 0.95
        for number in range(60):
            await bob.say(room, bert, f"kept {number}")
        await bob.ledger.run(_to_device, ada.name, alice)
        await _refused(ada)
        await ada.say(room, alice, "still here")
        await bob.wait_for(room, "still here")
        assert await ada.bodies(room) == ["before", "still here"]
        assert await ada.inbox_of(alice) == []
        ada.gauges.share = 0.5
        await ada.wait_for(room, "kept 59")
        bodies = await ada.bodies(room)
        assert [body for body in bodies if body.startswith("kept")] == [f"kept {number}" for number in range(60)]
        assert len(await ada.inbox_of(alice)) == 1


def _to_device(change: Change, server: ServerName, user: str) -> None:
    edu = {"sender": "@bert:bob.example", "type": "m.x", "message_id": "m1", "messages": {user: {"*": {"n": 1}}}}
    outbox_queue.enqueue(change, server, "m.direct_to_device", edu)


async def test_what_keeps_nothing_passes_into_a_full_box() -> None:
    async with stranger_at_the_door() as oma:
        oma.box.gauges.share = 1.0
        typing = {"edu_type": "m.typing", "content": {}}
        message = {"edu_type": "m.direct_to_device", "content": {}}
        for number, (content, status) in enumerate(
            [
                ({"pdus": []}, 200),
                ({"pdus": [], "edus": [typing, typing]}, 200),
                ({"pdus": [], "edus": [typing, message]}, 429),
                ({"pdus": [{}]}, 429),
            ]
        ):
            response = await oma.ask("PUT", f"/_matrix/federation/v1/send/t{number}", content)
            assert response.status == status
            assert ("Retry-After" in dict(response.headers)) is (status == 429)


async def test_a_card_that_others_fill_is_noticed_before_flash_refuses(tmp_path: Path) -> None:
    """The real file system: with a reserve larger than what is free nothing is taken in."""
    for free_mib, mode in ((1, "open"), (1_000_000, "refused")):
        config = Config.parse({"server": {"name": "box.test"}, "limits": {"free_mib": free_mib}})
        async with open_house(tmp_path, config) as house:
            assert admission_of(house).mode == mode


async def test_one_server_that_floods_is_refused_and_the_others_are_not() -> None:
    limits = LimitsConfig(server_mib_per_day=1)
    async with (
        new_town() as town,
        town.box("ada.example", limits=limits) as ada,
        town.box("bob.example") as bob,
        town.box("cia.example") as cia,
    ):
        room, (alice, bert) = await share_room(ada, bob)
        carl, other = await cia.add_user("carl"), await ada.create(alice)
        await cia.joining.join(carl, other, [ada.name], {})
        ada.admission.servers.bucket(bob.name).level_bytes = 0.96 * MIB
        await bob.say(room, bert, "too much")
        await _refused(ada)
        await cia.say(other, carl, "a word")
        await ada.wait_for(other, "a word")
        assert "too much" not in await ada.bodies(room)
        ada.admission.servers.bucket(bob.name).level_bytes = 0
        await bob.say(room, bert, "and now")
        await ada.wait_for(room, "too much")


async def test_a_server_may_not_join_or_ask_while_the_box_is_full_but_may_leave() -> None:
    async with new_town() as town, town.box("ada.example") as ada, town.box("bob.example") as bob:
        _, (alice, bert) = await share_room(ada, bob)
        carl = await bob.add_user("carl")
        asked = await ada.create(alice)
        await ada.inviting.invite(alice, asked, carl)
        ada.gauges.share = 0.95
        with pytest.raises(Exception, match="answered 429"):
            await bob.joining.join(carl, await ada.create(alice), [ada.name], {})
        other = await bob.create(bert)
        with pytest.raises(Exception, match="answered 429"):
            await bob.inviting.invite(bert, other, alice)
        await bob.leaving.leave(carl, asked, {})
        assert await ada.membership(asked, carl) == "leave"


async def test_an_origin_whose_events_wait_for_ancestors_is_refused_with_its_whole_transaction() -> None:
    limits = LimitsConfig(server_inbox_mib=1, room_inbox_mib=1)
    async with new_town() as town, town.box("ada.example", limits=limits) as ada, town.box("bob.example") as bob:
        room, (_, bert) = await share_room(ada, bob)
        noise = [hashlib.shake_128(str(number).encode()).hexdigest(28_000) for number in range(40)]
        await town.cut_off("ada.example")
        await town.cut_off("bob.example")
        lost = [await _raw(bob, room, await bob.say(room, bert, text)) for text in noise][1:]
        taken = 0
        while await _push(ada, bob.name, lost[taken : taken + 3]):
            taken += 3
        waiting = await ada.ledger.read(inbox_book.waiting, room, 1000)
        assert 30 <= len(waiting) == taken < len(lost)
        assert await _push(ada, bob.name, [])


async def _push(box: FederatedBox, origin: ServerName, pdus: list[dict[str, Any]]) -> bool:
    """Push a transaction; return whether it was taken, if not, whole."""
    try:
        await box.incoming.receive(origin, f"t{pdus[:1]}", pdus, [])
    except inbox_book.InboxFullError as error:
        assert error.retry_after_s is not None
        return False
    return True


async def _raw(box: FederatedBox, room: RoomId, event_id: str) -> dict[str, Any]:
    stored = await box.ledger.read(graph.event, parse_event_id(event_id))
    assert stored is not None
    return dict(stored.event.raw)


async def test_status_and_doctor_say_what_is_full_and_what_to_do(tmp_path: Path) -> None:
    limits = {"device_inbox_mib": 1, "free_mib": 1}
    config = Config.parse({"server": {"name": "box.test"}, "limits": limits})
    async with open_house(tmp_path, config) as house:
        report = HouseReport(house, {}, admission(limits=config.limits))
        assert "nearly full" not in str(await report.findings())
        user, phone = UserId("@ann:box.test"), DeviceId("PHONE")

        def flood(change: Change) -> None:
            accounts.create(change, user, "no password", 1)
            devices.ensure(change, user, phone, None, 1)
            for _ in range(16):
                to_device.enqueue(change, user, phone, user, "m.x", {"a": "x" * 60_000}, limits=config.limits)

        await house.ledger.run(flood)
        status = await report.status()
        assert status["waiting_for_devices"][0]["device"] == f"{user} PHONE"
        assert 0.9 * MIB < status["waiting_for_devices"][0]["bytes"] < status["waiting_for_devices"][0]["limit_bytes"]
        index = status["holds"][0]
        assert MIB < index["bytes"] < 2 * MIB
        assert index["limit_bytes"] == 8192 * MIB
        assert (status["intake"], status["intake_refused"], status["free_mib_kept"]) == ("open", 0, 1)
        (nearly,) = [finding for finding in await report.findings() if "nearly full" in finding.what]
        assert (nearly.level, "nearly full" in nearly.what, "log it out" in nearly.next_step) == ("warning", True, True)
        for _ in range(3):
            await house.ledger.run(
                to_device.enqueue, user, phone, user, "m.x", {"a": "x" * 60_000}, limits=config.limits
            )
        assert (await report.status())["waiting_for_devices"][0]["dropped"] > 0
        assert any("were dropped" in finding.what for finding in await report.findings())


ALWAYS = {
    "DELETE /_matrix/client/v3/devices/{deviceId}",
    "DELETE /_matrix/client/v3/directory/room/{roomAlias}",
    "DELETE /_matrix/client/v3/profile/{userId}/{field}",
    "DELETE /_matrix/client/v3/pushrules/global/{kind}/{ruleId}",
    "DELETE /_matrix/client/v3/room_keys/keys",
    "DELETE /_matrix/client/v3/room_keys/keys/{roomId}",
    "DELETE /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}",
    "DELETE /_matrix/client/v3/room_keys/version/{version}",
    "DELETE /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}",
    "POST /_matrix/client/v3/account/deactivate",
    "POST /_matrix/client/v3/account/password",
    "POST /_matrix/client/v3/delete_devices",
    "POST /_matrix/client/v3/keys/claim",
    "POST /_matrix/client/v3/keys/query",
    "POST /_matrix/client/v3/logout",
    "POST /_matrix/client/v3/logout/all",
    "POST /_matrix/client/v3/publicRooms",
    "POST /_matrix/client/v3/pushers/set",
    "POST /_matrix/client/v3/rooms/{roomId}/ban",
    "POST /_matrix/client/v3/rooms/{roomId}/forget",
    "POST /_matrix/client/v3/rooms/{roomId}/kick",
    "POST /_matrix/client/v3/rooms/{roomId}/leave",
    "POST /_matrix/client/v3/rooms/{roomId}/read_markers",
    "POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}",
    "POST /_matrix/client/v3/rooms/{roomId}/unban",
    "POST /_matrix/client/v3/search",
    "POST /_matrix/client/v3/user_directory/search",
    "PUT /_matrix/client/v3/devices/{deviceId}",
    "PUT /_matrix/client/v3/directory/list/room/{roomId}",
    "PUT /_matrix/client/v3/presence/{userId}/status",
    "PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}",
    "PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}",
    # What logging in asks for; each of it has a number or size of its own that it never passes.
    "POST /_matrix/client/unstable/keys/device_signing/upload",
    "POST /_matrix/client/unstable/keys/signatures/upload",
    "POST /_matrix/client/v3/keys/device_signing/upload",
    "POST /_matrix/client/v3/keys/signatures/upload",
    "POST /_matrix/client/v3/keys/upload",
    "POST /_matrix/client/v3/user/{userId}/filter",
    "PUT /_matrix/client/v3/room_keys/version/{version}",
}
"""What may be asked of a full box; a new endpoint that writes goes here or says `grows`."""


async def test_every_endpoint_that_writes_is_known_to_grow_or_known_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    writing: dict[str, bool] = {}
    private = Door.private

    def note(door: Door, method: str, pattern: str, endpoint: Any, *, grows: Any = None) -> None:
        if method != "GET":
            writing[f"{method} {pattern}"] = grows is not None
        private(door, method, pattern, endpoint, grows=grows)

    monkeypatch.setattr(Door, "private", note)
    async with open_family():
        assert {name for name, grows in writing.items() if not grows} == ALWAYS
        assert sum(writing.values()) > 15
