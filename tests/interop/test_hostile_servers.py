"""Hostile servers against a running box: each is told what the specification says, and the box goes on serving."""

import contextlib
import json
import random  # noqa: TID251 - seeded, so that a failure comes back
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.interop.guest import V1, V2, Guest
from tests.interop.hostile_server import HostileServer
from tests.interop.peer_clients import quote
from tests.interop.victim import NESTED, UNKNOWN_EVENT, Nonsense, Victim, ask_as, code_of

pytestmark = pytest.mark.interop


@pytest.fixture(autouse=True)
def _still_serves(victim: Victim) -> Iterator[None]:
    yield
    victim.check()


def refusal(outcome: tuple[int, Any]) -> tuple[int, str]:
    """Return status and errcode."""
    status, body = outcome
    return status, body["errcode"] if status != 200 else ""


def test_requests_that_are_not_signed_for_this_box_are_unauthorized(victim: Victim, hostile: HostileServer) -> None:
    box = victim.box
    target = f"{V1}/query/profile?user_id={quote('@anna:' + box.name)}"
    assert hostile.ask(box, "GET", target)[0] == 200
    good = hostile.sign(box, "GET", target, None)
    sig = good.partition('sig="')[2].rstrip('"')
    nobody = "localhost:1"
    headers = [
        "", "X-Matrix", "X-Matrix ", "X-Matrix origin=a", "Bearer abc", "Basic abc", "X-Matrix ,,,=",
        "X-Matrix " + "a=b," * 1000,
        good.replace(sig, ""), good.replace(sig, "!!!"), good.replace(sig, "A" * 86), good.replace(sig, sig[:-4]),
        good.replace(sig, sig * 3), good.replace(hostile.key.key_id, "ed25519:none"),
        good.replace(hostile.key.key_id, "rsa:1"),
        good.replace(hostile.name, box.name), good.replace(hostile.name, nobody), good.replace(hostile.name, ""),
        good.replace(hostile.name, "a" * 300), good.replace(hostile.name, "\\\"x"), good.replace(box.name,
        hostile.name),
        good.replace(box.name, ""), good + ',sig="x"', good + good, good + "," + "x" * 5000,
        hostile.sign(box, "GET", target, None, destination=hostile.name),
        hostile.sign(box, "GET", target, None, origin=box.name), hostile.sign(box, "GET", target, None,
        key="ed25519:other"),
        hostile.sign(box, "GET", f"{V1}/version", None), hostile.sign(box, "POST", target, None),
        hostile.sign(box, "GET", target + "&field=displayname", None), hostile.sign(box, "GET", target, {}),
    ]  # fmt: skip
    for header in headers:
        outcome = refusal(hostile.ask(box, "GET", target, header=header))
        assert outcome == (401, "M_UNAUTHORIZED"), (header[:200], outcome)
    send = f"{V1}/send/replayed"
    signed = hostile.sign(box, "PUT", send, {"pdus": []})
    assert refusal(hostile.ask(box, "PUT", send, {"pdus": [], "x": 1}, header=signed)) == (401, "M_UNAUTHORIZED")
    assert refusal(hostile.ask(box, "PUT", send + "2", {"pdus": []}, header=signed)) == (401, "M_UNAUTHORIZED")
    assert hostile.ask(box, "PUT", send, {"pdus": []}, header=signed) == (200, {"pdus": {}})
    for raw in (b"{", b"\xff", NESTED, b"[1,", b'{"pdus": NaN}'):
        assert refusal(hostile.ask(box, "PUT", send, header=signed, raw=raw))[0] in (400, 401), raw[:20]


def test_servers_with_false_keys_are_nobody(victim: Victim, authority: trustme.CA, tmp_path: Path) -> None:
    junk = [
        b"", b"null", b"[]", b"{}", b"\xff", NESTED, b'{"server_name": 1}', b"x" * 1_000_000, b'{"verify_keys": []}',
    ]  # fmt: skip
    for number, keys in enumerate([*junk, "foreign", "expired", "unsigned", "short"]):
        with HostileServer(tmp_path / str(number), authority) as liar:
            right = json.loads(liar.keys)
            if keys == "foreign":
                liar.keys = json.dumps({**right, "server_name": victim.box.name}).encode()
            elif keys == "expired":
                liar.keys = json.dumps({**right, "valid_until_ts": 1}).encode()
            elif keys == "unsigned":
                liar.keys = json.dumps({**right, "signatures": {}}).encode()
            elif keys == "short":
                liar.keys = json.dumps({**right, "verify_keys": {liar.key.key_id: {"key": "AAAA"}}}).encode()
            else:
                assert isinstance(keys, bytes)
                liar.keys = keys
            outcome = refusal(liar.ask(victim.box, "PUT", f"{V1}/send/1", {"pdus": []}))
            assert outcome == (401, "M_UNAUTHORIZED"), (keys[:40], outcome)


@pytest.fixture(scope="module")
def guest(victim: Victim, hostile: HostileServer) -> Guest:
    return Guest(victim, hostile)


@pytest.fixture(scope="module", params=["10", "11", "12"])
def any_guest(victim: Victim, hostile: HostileServer, request: pytest.FixtureRequest) -> Guest:
    return Guest(victim, hostile, request.param)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_events_that_break_a_rule_are_shown_to_nobody(any_guest: Guest) -> None:
    guest = any_guest
    anna, foreign = (
        f"@anna:{guest.victim.box.name}",
        f"@mallory:{guest.victim.box.name.replace('localhost', 'elsewhere')}",
    )
    spoiled = guest.message("bad content, good signature")
    spoiled["content"] = {"msgtype": "m.text", "body": "bad content"}
    resigned = guest.message("bad signature")
    resigned["signatures"][guest.hostile.name][guest.hostile.key.key_id] = "A" * 86
    unsigned = {**guest.message("bad: unsigned"), "signatures": {}}
    strange = {**guest.message("bad: odd signatures"), "signatures": {guest.hostile.name: [1]}}
    # What cannot be an event of this server at all: an error each, where it has an id.
    refused: list[Any] = [
        resigned, unsigned, strange,
        guest.message("bad sender", sender=anna), guest.message("bad sender", sender=foreign),
        guest.message("bad sender", sender="eve"), guest.message("bad sender", sender=5),
        guest.message("bad type", type="x" * 256), guest.message("bad type", type=None),
        guest.message("bad key", state_key="x" * 256), guest.message("bad key", state_key=5),
        guest.message("bad room", room_id="!none:" + guest.hostile.name), guest.message("bad room", room_id=7),
        guest.message("bad room", room_id=None), guest.message("bad room", room_id="!" + "x" * 300),
        guest.message("bad size", content={"body": "bad " + "x" * 66_000}),
        guest.message("bad depth", depth=-1), guest.message("bad depth", depth=2**53 - 1, prev_events=[]),
        guest.message("bad depth", depth="1"), guest.message("bad time", origin_server_ts="now"),
        guest.message("bad content", content=[]), guest.message("bad content", content="bad"),
        guest.message("bad prev", prev_events="x"), guest.message("bad prev", prev_events=[[UNKNOWN_EVENT, {}]]),
        guest.message("bad prev", prev_events=[guest.join] * 21), guest.message("bad auth", auth_events=[1]),
        guest.message("bad auth", auth_events=[UNKNOWN_EVENT] * 11), {**guest.message("bad hash"), "hashes": 5},
    ]  # fmt: skip
    status, reply = guest.send(refused)
    assert status == 200
    for number, pdu in enumerate(refused):
        with contextlib.suppress(Exception):
            assert "error" in reply["pdus"].get(guest.id_of(pdu), {"error": ""}), (number, pdu["content"])
    # Events that are well made, and against the rules of the room.
    create, power, join = guest.create, guest.power, guest.join
    # Versions differ in whether the create event is named; each refuses what the other asks for.
    wrong = [create, power, join] if guest.version.room_id_is_hash else [power, join]
    against = [
        guest.message("bad auth", auth_events=[]), guest.message("bad auth", auth_events=[create]),
        guest.message("bad auth", auth_events=[create, power]), guest.message("bad auth", auth_events=wrong),
        guest.message("bad auth", auth_events=[*guest.auth, guest.auth[0]]),
        guest.message("bad power", type="m.room.power_levels", state_key="", content={"users": {guest.user: 100},
        "body": "bad"}),
        guest.message("bad state", type="m.room.name", state_key="", content={"name": "bad", "body": "bad"}),
        guest.message("bad create", type="m.room.create", state_key="", content={"room_version": "11", "body": "bad"}),
        guest.message("bad member", type="m.room.member", state_key=anna, content={"membership": "ban", "body": "bad"}),
        guest.message("bad member", type="m.room.member", state_key=guest.user, content={"membership": 5,
        "body": "bad"}),
        spoiled,
    ]  # fmt: skip
    assert guest.send(against)[0] == 200
    good = guest.message("good")
    assert guest.send([good]) == (200, {"pdus": {guest.id_of(good): {}}})
    bodies = guest.bodies()
    assert "good" in bodies
    assert [body for body in bodies if str(body).startswith("bad")] == []
    state = guest.victim.anna.call("GET", f"v3/rooms/{quote(guest.room)}/state")
    assert not any(event["content"].get("body") == "bad" for event in state)


def test_events_that_no_parser_likes_are_refused_alone_or_with_their_transaction(guest: Guest) -> None:
    pdu: Any
    for pdu in (
        {**guest.draft("bad"), "content": {"body": "bad", "deep": nested(150)}}, {**guest.draft("bad"),
        "content": {"body": 1.5}},
        {**guest.draft("bad"), "content": {"body": 2**60}}, {**guest.draft("bad"), "content": {"body": -(2**90)}},
        {**guest.draft("bad"), "depth": 2**70}, {**guest.draft("bad"), "origin_server_ts": 1e300},
        5, None, "x", [], {}, {"room_id": guest.room}, nested(60),
    ):  # fmt: skip
        honest = guest.message("good beside bad")
        try:
            status, reply = guest.send([pdu, honest])
        except Exception as error:  # noqa: BLE001 - what cannot be signed is sent with a signature over something else
            assert "nested" in str(error), error
            target = f"{V1}/send/raw{next(guest.numbers)}"
            status, reply = guest.hostile.ask(
                guest.victim.box,
                "PUT",
                target,
                {"pdus": [pdu]},
                header=guest.hostile.sign(guest.victim.box, "PUT", target, {}),
            )
            assert status in (400, 401)
            continue
        assert (status, reply["pdus"].get(guest.id_of(honest))) == (200, {}), (pdu, reply)


def test_transactions_that_are_none_are_refused_whole(guest: Guest) -> None:
    box, hostile = guest.victim.box, guest.hostile
    message = guest.message("bad: too many")
    bodies: list[Any] = [
        [], 5, "x", {"pdus": 5}, {"pdus": {}}, {"pdus": [], "edus": 5}, {"pdus": [message] * 51}, {"pdus": [],
        "edus": [{}] * 101},
        {"pdus": [None] * 100_000}, {"pdus": [], "x": [[]] * 2_500_000},
    ]  # fmt: skip
    for body in bodies:
        status, reply = hostile.ask(box, "PUT", f"{V1}/send/n{next(guest.numbers)}", body)
        assert status in (400, 413), (str(body)[:60], status, reply)
        assert reply["errcode"].startswith("M_")
    status, reply = hostile.ask(box, "PUT", f"{V1}/send/{'x' * 300}", {"pdus": []})
    assert status == 400
    status, reply = hostile.ask(box, "PUT", f"{V1}/send/big", {"pdus": [], "x": "y" * 9_000_000})
    assert (status, reply["errcode"]) == (413, "M_TOO_LARGE")


def test_units_of_wrong_types_are_left_out(guest: Guest) -> None:
    anna = f"@anna:{guest.victim.box.name}"
    words = [anna, guest.user, guest.room, guest.join, "m.read", "PHONE", "*", "m.direct_to_device", "join"]
    nonsense = Nonsense("units", words)
    kinds = [
        "m.direct_to_device",
        "m.device_list_update",
        "m.signing_key_update",
        "m.typing",
        "m.receipt",
        "m.presence",
        "m.x",
    ]
    fields = [
        "sender", "type", "message_id", "messages", "user_id", "device_id", "stream_id", "prev_id", "deleted",
        "keys", "room_id",
        "typing", "master_key", "self_signing_key", guest.room, guest.user, anna, "push", "device_display_name",
    ]  # fmt: skip
    for _ in range(60):
        edus: list[Any] = [
            {
                "edu_type": nonsense.chance.choice(kinds),
                "content": {
                    nonsense.chance.choice(fields): nonsense.value(4) for _ in range(nonsense.chance.randrange(7))
                },
            }
            for _ in range(30)
        ]
        edus += [nonsense.value(), {"edu_type": nonsense.value(), "content": nonsense.value()}, {}]
        text = json.dumps(edus)
        if "\\ud800" in text:
            edus = json.loads(text.replace("\\ud800", ""))
        assert guest.send([], edus) == (200, {"pdus": {}})


def test_a_gap_without_end_costs_a_bounded_number_of_questions(guest: Guest) -> None:
    hostile = guest.hostile
    asked: list[str] = []

    def answer(method: str, target: str, body: bytes) -> tuple[int, bytes]:
        asked.append(target)
        earlier = guest.message("bad: endless", prev_events=["$" + f"{next(guest.numbers):043d}"])
        if "/get_missing_events/" in target:
            return 200, json.dumps({"events": [earlier]}).encode()
        if "/state_ids/" in target:
            return 200, json.dumps(
                {"pdu_ids": [UNKNOWN_EVENT, guest.join], "auth_chain_ids": [guest.id_of(earlier)]}
            ).encode()
        if "/event/" in target or "/backfill/" in target:
            return 200, json.dumps({"origin": "x", "origin_server_ts": 1, "pdus": [earlier, 5]}).encode()
        return 200, b'{"pdus": [], "auth_chain": "x"}'

    hostile.answer = answer
    gaps = [guest.message("bad: endless", prev_events=["$" + f"{number:043d}"]) for number in range(10)]
    assert guest.send(gaps)[0] == 200
    good = guest.message("good after a gap")
    assert guest.send([good]) == (200, {"pdus": {guest.id_of(good): {}}})
    time.sleep(4)  # noqa: TID251 - how much it asks in a while is what is measured
    assert "good after a gap" in guest.bodies()
    assert 0 < len(asked) < 400, len(asked)
    # Lies of other kinds, and then silence: the box gives up, and serves.
    for lie in (b"", b"{}", b'{"events": [[]]}', b'{"events": 5, "pdu_ids": {}, "pdus": null}', NESTED, b"\xff"):
        hostile.answer = lambda *_, lie=lie: (200, lie)
        assert guest.send([guest.message("bad: lies", prev_events=["$" + f"{next(guest.numbers):043d}"])])[0] == 200
    hostile.answer = lambda *_: (404, b"{}")


def test_handshakes_that_do_not_fit_are_refused(guest: Guest) -> None:
    box, hostile, room = guest.victim.box, guest.hostile, quote(guest.room)
    eve, anna = quote(guest.user), quote(f"@anna:{box.name}")
    gone = quote("!gone:" + box.name)

    def asks(method: str, target: str, content: Any = None) -> tuple[int, str]:
        return refusal(hostile.ask(box, method, target, content))

    assert asks("GET", f"{V1}/make_join/{gone}/{eve}?ver=11") == (404, "M_NOT_FOUND")
    assert asks("GET", f"{V1}/make_join/{room}/{eve}?ver=1") == (400, "M_INCOMPATIBLE_ROOM_VERSION")
    assert asks("GET", f"{V1}/make_join/{room}/{eve}") == (400, "M_INCOMPATIBLE_ROOM_VERSION")
    assert asks("GET", f"{V1}/make_join/{room}/{anna}?ver=11") == (403, "M_FORBIDDEN")
    assert asks("GET", f"{V1}/make_join/{room}/nobody?ver=11")[0] == 400
    assert asks("GET", f"{V1}/make_leave/{gone}/{eve}")[0] in (403, 404)
    member = {
        "type": "m.room.member",
        "state_key": guest.user,
        "content": {"membership": "join"},
        "prev_events": [guest.join],
    }
    wrong = [
        {}, [], 5, None, {"type": 5}, guest.message("bad: no join"), guest.message("x", **{**member,
        "content": {"membership": "ban"}}),
        guest.message("x", **{**member, "state_key": f"@anna:{box.name}"}), guest.message("x", **{**member,
        "room_id": "!x:y"}),
        guest.message("x", **{**member, "prev_events": [UNKNOWN_EVENT], "auth_events": [UNKNOWN_EVENT]}),
        {**guest.message("x", **member), "signatures": {}}, guest.draft("x", **member),
        guest.message("x", **{**member, "sender": f"@anna:{box.name}", "state_key": f"@anna:{box.name}"}),
    ]  # fmt: skip
    for pdu in wrong:
        for verb in ("send_join", "send_leave"):
            for event_id in (
                "$x",
                UNKNOWN_EVENT,
                *([guest.id_of(pdu)] if isinstance(pdu, dict) and "type" in pdu and pdu["type"] != 5 else []),
            ):
                status, code = asks("PUT", f"{V2}/{verb}/{room}/{quote(event_id)}", pdu)
                assert status in (400, 401, 403, 404), (verb, pdu, status)
                assert code.startswith("M_")


def test_invitations_that_do_not_fit_are_refused(guest: Guest) -> None:
    box, hostile = guest.victim.box, guest.hostile
    room = f"!party:{hostile.name}"
    invited = {
        "type": "m.room.member",
        "state_key": f"@anna:{box.name}",
        "content": {"membership": "invite"},
        "room_id": room,
    }

    def invite(pdu: Any, version: Any = "11", stripped: Any = None, event_id: str = "") -> tuple[int, str]:
        body = {"event": pdu, "room_version": version, "invite_room_state": [] if stripped is None else stripped}
        shown = event_id or (guest.id_of(pdu) if isinstance(pdu, dict) and "type" in pdu else UNKNOWN_EVENT)
        return refusal(hostile.ask(box, "PUT", f"{V2}/invite/{quote(room)}/{quote(shown)}", body))

    good = guest.message("x", **invited)
    assert invite(good, "99") == (400, "M_INCOMPATIBLE_ROOM_VERSION")
    assert invite(good, 11)[0] == 400
    assert invite(good, event_id=UNKNOWN_EVENT)[0] == 400
    assert invite(good, stripped={})[0] == 400
    nobody = guest.message("x", **{**invited, "state_key": f"@nobody:{box.name}"})
    assert invite(nobody)[0] in (403, 404)
    foreign = guest.message("x", **{**invited, "state_key": f"@anna:{hostile.name}"})
    assert invite(foreign)[0] in (400, 403)
    pdu: Any
    for pdu in (
        {}, [], 5, None, guest.message("x"), guest.message("x", **{**invited, "content": {"membership": "join"}}),
        guest.message("x", **{**invited, "sender": f"@anna:{box.name}"}), guest.message("x", **{**invited,
        "room_id": "!o:y"}),
        {**good, "signatures": {}}, guest.draft("x", **invited), guest.message("x", **{**invited, "content": 5}),
    ):  # fmt: skip
        status, code = invite(pdu)
        assert status in (400, 401, 403), (pdu, status)
        assert code.startswith("M_")
    assert refusal(hostile.ask(box, "PUT", f"{V1}/invite/{quote(room)}/{UNKNOWN_EVENT}", {}))[0] == 400
    stripped = [{"type": "m.room.name", "state_key": "", "sender": 5, "content": []}, 5, None, {"type": nested(30)}]
    status, code = invite(good, stripped=stripped)
    assert status in (200, 400)
    if status == 200:
        assert room in guest.victim.anna.call("GET", "v3/sync?timeout=0")["rooms"]["invite"]
        guest.victim.anna.call("POST", f"v3/rooms/{quote(room)}/leave", {})


LIES: list[bytes] = [
    b"", b"null", b"5", b"[]", b"{}", b"\xff", NESTED, b'{"event": 5}', b'{"room_version": "99", "event": {}}',
    b'{"room_version": 11, "event": {}}', b'{"room_version": "11", "event": {"type": 5, "content": []}}',
    b'{"room_version": "11", "event": {"auth_events": {}, "prev_events": 5, "depth": "x"}}',
    b'{"room_id": 5, "servers": {}}',
    b'{"one_time_keys": 5, "device_keys": [], "failures": 5}', b'{"device_keys": {"@a:b": 5}}', b'{"displayname": {}}',
    b'{"event": {"hashes": 5, "signatures": [], "room_id": 7}, "state": 5, "auth_chain": {}}', b"x" * 3_000_000,
    b'{"a": [' + b"[]," * 2_600_000 + b"[]]}",
    b'{"state": [1, null, {}], "auth_chain": [[]], "event": null, "origin": 5, "members_omitted": "x"}',
]  # fmt: skip


def test_lies_of_the_server_that_is_asked_become_its_fault(victim: Victim, hostile: HostileServer) -> None:
    far = hostile.name
    eve = quote(f"@eve:{far}")
    questions: list[tuple[str, str, Any]] = [
        ("POST", f"join/{quote('!r:' + far)}?server_name={quote(far)}", {}), ("POST", f"join/{quote('#a:' + far)}", {}),
        ("GET", f"directory/room/{quote('#a:' + far)}", None), ("GET", f"profile/{eve}", None),
        ("GET", f"profile/{eve}/displayname", None), ("POST", "keys/query", {"device_keys": {f"@eve:{far}": []}}),
        ("POST", "keys/claim", {"one_time_keys": {f"@eve:{far}": {"D": "signed_curve25519"}}}),
        ("POST", f"rooms/{quote(victim.room)}/invite", {"user_id": f"@eve2:{far}"}),
        ("GET", f"../v1/media/download/{quote(far)}/abc", None),
    ]  # fmt: skip
    statuses = [200, 200, 200, 302, 401, 403, 404, 429, 500]
    chance = random.Random("lies")
    codes = set[int]()
    for lie in LIES:
        for method, path, body in questions:
            status = chance.choice(statuses)
            kinds = ["application/json", "multipart/mixed; boundary=x", "multipart/mixed", ""]
            headers = {"Content-Type": chance.choice(kinds), "Location": "file:///etc/passwd", "Retry-After": "x"}
            hostile.answer = lambda *_, status=status, lie=lie, headers=headers: (status, lie, headers)
            target = f"/_matrix/client/v3/{path}".replace("v3/../", "")
            got, answer = ask_as(victim, method, target, b"" if body is None else json.dumps(body).encode())
            assert got in (200, 400, 401, 403, 404, 429, 502, 504), (method, path, lie[:60], status, got, answer)
            assert got != 401, (path, "a peer's 401 logs nobody out")
            codes.add(got)
    assert 502 in codes
    hostile.answer = lambda *_: (404, b"{}")


def test_a_join_whose_answer_is_made_up_leaves_no_room_behind(guest: Guest) -> None:
    victim, hostile = guest.victim, guest.hostile
    room = f"!lie:{hostile.name}"
    anna = f"@anna:{victim.box.name}"
    create = guest.signed(
        {"type": "m.room.create", "state_key": "", "sender": guest.user, "room_id": room,
        "content": {"room_version": "11"},
         "prev_events": [], "auth_events": [], "depth": 1, "origin_server_ts": 1}
    )  # fmt: skip
    eve = guest.message(
        "x",
        type="m.room.member",
        state_key=guest.user,
        content={"membership": "join"},
        room_id=room,
        prev_events=[guest.id_of(create)],
        auth_events=[guest.id_of(create)],
        depth=2,
    )
    template = {
        "type": "m.room.member",
        "state_key": anna,
        "sender": anna,
        "room_id": room,
        "content": {"membership": "join"},
        "prev_events": [guest.id_of(eve)],
        "auth_events": [guest.id_of(create)],
        "depth": 3,
        "origin_server_ts": 5,
    }
    banned = guest.message("x", type="m.room.member", state_key=anna, content={"membership": "ban"}, room_id=room)
    other = guest.message("x", type="m.room.create", state_key="", room_id="!other:x", prev_events=[], auth_events=[])
    # Nobody can make a cycle of hashes; this is as near as a liar gets: a chain that never reaches a create.
    chain = [
        guest.message("x", type="m.room.topic", state_key=str(n), room_id=room, auth_events=["$" + f"{n:043d}"])
        for n in range(50)
    ]
    answers: list[tuple[list[Any], list[Any]]] = [
        ([], []), ([eve], []), ([create, create, create], [create]), ([create, banned], [create, eve]), ([other],
        [other]),
        (chain, chain), ([create, *chain], chain), ([{**create, "signatures": {}}], []), ([{**create, "hashes": {}}],
        [create]),
        ([create] * 500 + [eve] * 500, [5, None, create]),
    ]  # fmt: skip
    for state, chain_of in answers:

        def answer(
            method: str, target: str, body: bytes, state: Any = state, chain_of: Any = chain_of
        ) -> tuple[int, bytes]:
            if "/make_join/" in target:
                return 200, json.dumps({"room_version": "11", "event": template}).encode()
            if "/send_join/" in target:
                reply = {"origin": hostile.name, "event": json.loads(body), "state": state, "auth_chain": chain_of}
                return 200, json.dumps({**reply, "members_omitted": False}).encode()
            return 404, b"{}"

        hostile.answer = answer
        status, reply = ask_as(
            victim, "POST", f"/_matrix/client/v3/join/{quote(room)}?server_name={quote(hostile.name)}", b"{}"
        )
        assert status in (400, 403, 404, 502), (status, reply, state[:1])
        assert room not in victim.anna.call("GET", "v3/joined_rooms")["joined_rooms"]
    hostile.answer = lambda *_: (404, b"{}")


def test_a_server_that_trickles_or_never_ends_is_given_up(victim: Victim, hostile: HostileServer) -> None:
    hostile.answer = lambda *_: (200, b"x", {"Content-Length": "100000"})
    begun = time.monotonic()
    status, answer = ask_as(victim, "GET", f"/_matrix/client/v3/profile/{quote('@eve:' + hostile.name)}", b"")
    assert (status, code_of(answer)) in ((502, "M_UNKNOWN"), (504, "M_UNKNOWN"), (404, "M_NOT_FOUND")), answer
    assert time.monotonic() - begun < 20
    hostile.answer = lambda *_: (404, b"{}")
