"""Hostile servers: whatever they sign and send, they get the specified answer and the box goes on serving."""

import contextlib
import copy
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson
import trio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from relay.base.errors import RelayError
from relay.base.ids import RoomId
from relay.core.matrix import canonical_json
from relay.core.matrix.building import hash_and_sign
from relay.core.matrix.room_versions import room_version
from relay.federation.matrix.authentication import Signed, sign
from relay.rooms.matrix.storage import departures
from relay.transport.message import Response
from tests.fakes.federated import FederatedBox, FederatedTown
from tests.fakes.http import answer_json, make_request

# Each example is a whole box: few examples with much in each, and a failing one is short enough to read unshrunk.
SETTINGS = settings(
    max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
V1, V2 = "/_matrix/federation/v1", "/_matrix/federation/v2"

IDS = [
    "@bert:bob.example",
    "@alice:ada.example",
    "@eve:eve.example",
    "!r:bob.example",
    "$" + "e" * 43,
    "bob.example",
    "",
]
LONG = "<70,000 characters>"
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(IDS),
    st.just(LONG),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.sampled_from(IDS), inner, max_size=4)
    ),
    max_leaves=10,
)
FIELDS = [
    "type", "sender", "content", "state_key", "prev_events", "auth_events", "depth", "origin_server_ts", "room_id",
    "hashes", "signatures", "redacts", "unsigned", "origin", "event_id", "membership",
]  # fmt: skip
CHANGES = st.lists(st.tuples(st.sampled_from(FIELDS), st.none() | VALUES, st.booleans()), min_size=1, max_size=3)


@dataclass
class Scene:
    """Two boxes that share a room; `template` may be spoiled by what a test makes of it, `good` comes after it."""

    ada: FederatedBox
    bob: FederatedBox
    room: RoomId
    template: dict[str, Any]
    good: dict[str, Any]


@contextlib.asynccontextmanager
async def shared_room(
    version: str = "12",
) -> AsyncIterator[Scene]:
    """Ada's box, bob's, their room, bob's user there, and two events of his that ada has not got."""
    async with trio.open_nursery() as nursery:
        town = FederatedTown(nursery)
        async with town.box("ada.example") as ada, town.box("bob.example") as bob:
            alice, bert = await ada.add_user("alice"), await bob.add_user("bert")
            room = await ada.create(alice, version)
            await bob.joining.join(bert, room, [ada.name], {})
            await town.cut_off("ada.example")
            newest = await bob.ledger.read(departures.newest)
            await bob.say(room, bert, "template")
            await bob.say(room, bert, "good")
            made = await bob.ledger.read(lambda index: departures.since(index, ada.name, newest, 10))
            template, good = (dict(one.event.raw) for one in made)
            yield Scene(ada, bob, room, template, good)
        nursery.cancel_scope.cancel()


async def ask(box: FederatedBox, peer: FederatedBox, method: str, target: str, content: Any = None) -> Response:
    """Ask `box` in the name of `peer`, with a right signature over what is sent."""
    unsigned: dict[str, Any] = {"method": method, "uri": target, "origin": peer.name, "destination": box.name}
    if content is not None:
        unsigned["content"] = content
    signature = b64encode(peer.key.sign(canonical_json.encode_lenient(unsigned))).decode()
    header = f'X-Matrix origin="{peer.name}",destination="{box.name}",key="{peer.key.key_id}",sig="{signature}"'
    body = b"" if content is None else json.dumps(content).encode()
    return await box.router.answer(make_request(method, target, body=body, headers=[("Authorization", header)]))


async def still_serves(scene: Scene) -> None:
    reply = await ask(scene.ada, scene.bob, "PUT", f"{V1}/send/good", {"pdus": [scene.good]})
    assert reply.status == 200
    with trio.fail_after(5):
        await scene.ada.wait_for(scene.room, "good")
    await scene.ada.say(scene.room, scene.ada.user("alice"), "still here")
    assert (await scene.ada.bodies(scene.room))[-1] == "still here"


def grown(value: Any) -> Any:
    """Return `value` with the long texts in it that no report should show."""
    if isinstance(value, dict):
        return {name: grown(child) for name, child in value.items()}
    if isinstance(value, list):
        return [grown(child) for child in value]
    return "x" * 70_000 if value == LONG else value


def mutated(template: dict[str, Any], changes: list[tuple[str, Any, bool]]) -> dict[str, Any]:
    pdu = copy.deepcopy(template)
    for name, value, inside in changes:
        target = pdu["content"] if inside and isinstance(pdu.get("content"), dict) else pdu
        if value is None:
            target.pop(name, None)
        else:
            target[name] = grown(value)
    return pdu


@SETTINGS
@given(
    version=st.sampled_from(["10", "11", "12"]),
    batch=st.lists(st.tuples(CHANGES, st.booleans()), min_size=20, max_size=50),
)
def test_transactions_of_hostile_events_are_answered_200_and_change_nothing(
    version: str, batch: list[tuple[list[tuple[str, Any, bool]], bool]]
) -> None:
    async def main() -> None:
        async with shared_room(version) as scene:
            ada, bob = scene.ada, scene.bob
            before = await ada.bodies(scene.room)
            pdus = []
            for changes, resigned in batch:
                pdu = mutated(scene.template, changes)
                if resigned:
                    # A server may sign any nonsense properly.
                    with contextlib.suppress(Exception):
                        pdu = dict(hash_and_sign(pdu, room_version(version), bob.name, bob.key).raw)
                pdus.append(pdu)
            reply = await ask(ada, bob, "PUT", f"{V1}/send/bad", {"pdus": pdus})
            assert reply.status == 200
            results = (await answer_json(reply))["pdus"]
            assert all(set(result) <= {"error"} for result in results.values())
            assert (await ada.bodies(scene.room))[: len(before)] == before
            await still_serves(scene)

    trio.run(main)


KINDS = ["m.direct_to_device", "m.device_list_update", "m.signing_key_update", "m.typing", "m.receipt", "m.presence"]
UNIT_FIELDS = [
    "sender", "type", "message_id", "messages", "user_id", "device_id", "stream_id", "keys", "prev_id", "deleted",
    "master_key", "self_signing_key", "room_id", "typing", *IDS,
]  # fmt: skip
BY_USER = st.dictionaries(st.sampled_from(IDS), st.dictionaries(st.sampled_from(["D1", "*"]), VALUES))
CONTENTS = st.dictionaries(st.sampled_from(UNIT_FIELDS), VALUES | BY_USER, max_size=6)
UNITS = st.fixed_dictionaries({"edu_type": st.sampled_from(KINDS) | VALUES, "content": CONTENTS})
EDUS = st.lists(UNITS | VALUES, min_size=5, max_size=15)


@SETTINGS
@given(units=EDUS)
def test_hostile_units_are_left_out(units: list[Any]) -> None:
    async def main() -> None:
        async with shared_room() as scene:
            ada, bob = scene.ada, scene.bob
            reply = await ask(ada, bob, "PUT", f"{V1}/send/bad", {"pdus": [], "edus": grown(units)})
            assert (reply.status, await answer_json(reply)) == (200, {"pdus": {}})
            await still_serves(scene)

    trio.run(main)


ENDPOINTS = [
    ("GET", f"{V1}/make_join/{{0}}/{{1}}"), ("PUT", f"{V2}/send_join/{{0}}/{{1}}"),
    ("GET", f"{V1}/make_leave/{{0}}/{{1}}"), ("POST", f"{V1}/user/keys/query"),
    ("PUT", f"{V2}/send_leave/{{0}}/{{1}}"), ("PUT", f"{V2}/invite/{{0}}/{{1}}"), ("PUT", f"{V1}/invite/{{0}}/{{1}}"),
    ("GET", f"{V1}/event/{{0}}"), ("GET", f"{V1}/state/{{0}}?event_id={{1}}"),
    ("GET", f"{V1}/state_ids/{{0}}?event_id={{1}}"),
    ("GET", f"{V1}/event_auth/{{0}}/{{1}}"), ("GET", f"{V1}/backfill/{{0}}?v={{1}}&limit=5"),
    ("POST", f"{V1}/get_missing_events/{{0}}"), ("GET", f"{V1}/query/profile?user_id={{0}}&field={{1}}"),
    ("GET", f"{V1}/query/directory?room_alias={{0}}"), ("GET", f"{V1}/user/devices/{{0}}"),
    ("POST", f"{V1}/user/keys/claim"), ("GET", f"{V1}/media/download/{{0}}?timeout_ms=0"), ("PUT", f"{V1}/send/{{0}}"),
]  # fmt: skip
WORDS = st.sampled_from(
    [
        "%21r%3Abob.example",
        "%40alice%3Aada.example",
        "$" + "e" * 43,
        "%23a%3Aada.example",
        "%FF",
        "..",
        "a%2Fb",
        "\0",
        "ROOM",
    ]
)
BODY_NAMES = ["event", "room_version", "invite_room_state", "device_keys", "one_time_keys", "earliest_events",
              "latest_events", "limit", "min_depth", "pdus", "edus"]  # fmt: skip
BODIES = st.dictionaries(st.sampled_from(BODY_NAMES), VALUES | st.just("12"), max_size=5) | VALUES.filter(
    lambda v: v is not None
)


@SETTINGS
@given(questions=st.lists(st.tuples(st.sampled_from(ENDPOINTS), WORDS, WORDS, BODIES), min_size=20, max_size=60))
def test_hostile_questions_get_a_clear_refusal(questions: list[tuple[tuple[str, str], str, str, Any]]) -> None:
    async def main() -> None:
        async with shared_room() as scene:
            ada, bob = scene.ada, scene.bob
            for (method, pattern), first, second, body in questions:
                target = pattern.format(first, second).replace("ROOM", str(scene.room).replace("!", "%21"))
                reply = await ask(ada, bob, method, target, None if method == "GET" else body)
                assert reply.status in (200, 400, 401, 403, 404, 405, 413, 429, 504), (target, body)
                if reply.status != 200:
                    assert (await answer_json(reply))["errcode"].startswith("M_")
            await still_serves(scene)

    trio.run(main)


@SETTINGS
@given(
    requests=st.lists(
        st.tuples(
            st.text(max_size=80) | st.text(max_size=80).map(lambda text: "X-Matrix " + text),
            st.binary(max_size=40),
            st.sampled_from([f"{V1}/send/1", f"{V1}/event/x", f"{V1}/make_join/a/b"]),
        ),
        min_size=20,
        max_size=100,
    )
)
def test_hostile_headers_and_bodies_are_unauthorized_or_malformed(requests: list[tuple[str, bytes, str]]) -> None:
    async def main() -> None:
        async with shared_room() as scene:
            ada = scene.ada
            for header, body, target in requests:
                fields = [("Authorization", header)]
                reply = await ada.router.answer(make_request("PUT", target, body=body, headers=fields))
                assert reply.status in (400, 401, 405)

    trio.run(main)


BYTES = st.binary(max_size=60) | st.text(alphabet='{}[]",:0123456789eE.-+ntf', max_size=60).map(str.encode)


@SETTINGS
@given(bodies=st.lists(BYTES, min_size=20, max_size=100))
def test_a_signed_request_whose_body_is_no_transaction_is_refused(bodies: list[bytes]) -> None:
    async def main() -> None:
        async with shared_room() as scene:
            ada, bob = scene.ada, scene.bob
            for body in bodies:
                try:
                    content = orjson.loads(body)
                except orjson.JSONDecodeError:
                    content = None
                target, header = f"{V1}/send/1", ""
                with contextlib.suppress(RelayError):
                    header = sign(bob.name, bob.key, ada.name, Signed("PUT", target, content))
                fields = [("Authorization", header)]
                reply = await ada.router.answer(make_request("PUT", target, body=body, headers=fields))
                assert reply.status in (200, 400, 401)
                assert reply.status != 200 or isinstance(content, dict)

    trio.run(main)
