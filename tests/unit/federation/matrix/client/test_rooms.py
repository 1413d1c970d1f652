from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from relay.base.errors import UnreachableError
from relay.base.ids import EventId, RoomAlias, RoomId, ServerName, UserId
from relay.federation.matrix.client.client import FederationClient
from relay.federation.matrix.client.people import MatrixPeoplePeers
from relay.federation.matrix.client.rooms import MatrixRoomPeers

OMA, ROOM, OLE = ServerName("oma.example"), RoomId("!r/x:oma.example"), UserId("@ole:oma.example")
EVENT = EventId("$" + "e" * 43)
V1, PATH = "/_matrix/federation/v1", "%21r%2Fx%3Aoma.example"


class Recorder:
    """A client that answers everything with one object."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer
        self.asked: list[tuple[Any, ...]] = []

    async def get(self, *args: Any, **_options: Any) -> dict[str, Any]:
        self.asked.append(("GET", *args[1:]))
        return self.answer

    async def put(self, *args: Any, **_options: Any) -> dict[str, Any]:
        self.asked.append(("PUT", *args[1:]))
        return self.answer

    async def post(self, *args: Any, **_options: Any) -> dict[str, Any]:
        self.asked.append(("POST", *args[1:]))
        return self.answer


def peers(answer: dict[str, Any]) -> tuple[MatrixRoomPeers, Recorder]:
    recorder = Recorder(answer)
    return MatrixRoomPeers(cast("FederationClient", recorder)), recorder


Ask = Callable[[MatrixRoomPeers], Awaitable[Any]]


@pytest.mark.parametrize(
    ("ask", "answer", "request_line", "result"),
    [
        (lambda p: p.make_join(OMA, ROOM, OLE, ["11", "12"]), {"a": 1},
         ("GET", f"{V1}/make_join/{PATH}/%40ole%3Aoma.example", [("ver", "11"), ("ver", "12")]), {"a": 1}),
        (lambda p: p.send_leave(OMA, ROOM, EVENT, {"x": 1}), {},
         ("PUT", f"/_matrix/federation/v2/send_leave/{PATH}/%24{'e' * 43}", {"x": 1}), None),
        (lambda p: p.backfill(OMA, ROOM, [EVENT], 5), {"pdus": [{}, "odd"]},
         ("GET", f"{V1}/backfill/{PATH}", [("v", EVENT), ("limit", "5")]), [{}]),
        (lambda p: p.state_ids(OMA, ROOM, EVENT), {"pdu_ids": [EVENT, 5], "auth_chain_ids": []},
         ("GET", f"{V1}/state_ids/{PATH}", [("event_id", EVENT)]), ([EVENT], [])),
        (lambda p: p.event(OMA, EVENT), {"pdus": [{"n": 1}]}, ("GET", f"{V1}/event/%24{'e' * 43}"), {"n": 1}),
        (lambda p: p.query_directory(OMA, RoomAlias("#a:oma.example")),
         {"room_id": "!r:oma.example", "servers": ["oma.example"]},
         ("GET", f"{V1}/query/directory", [("room_alias", "#a:oma.example")]), ("!r:oma.example", ["oma.example"])),
    ],
)  # fmt: skip
async def test_each_question_is_one_request(ask: Ask, answer: dict[str, Any], request_line: Any, result: Any) -> None:
    asked, recorder = peers(answer)
    assert await ask(asked) == result
    assert recorder.asked == [request_line]


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (lambda p: p.backfill(OMA, ROOM, [EVENT], 5), {}),
        (lambda p: p.missing_events(OMA, ROOM, earliest=[], latest=[EVENT], limit=5), {"events": {}}),
        (lambda p: p.state(OMA, ROOM, EVENT), {"pdus": []}),
        (lambda p: p.event(OMA, EVENT), {"pdus": []}),
        (lambda p: p.event_auth(OMA, ROOM, EVENT), {"auth_chain": None}),
        (lambda p: p.query_directory(OMA, RoomAlias("#a:oma.example")), {"room_id": "odd", "servers": []}),
        (lambda p: p.query_directory(OMA, RoomAlias("#a:oma.example")), {"room_id": "!r:oma.example", "servers": [5]}),
    ],
)
async def test_an_answer_of_another_form_counts_as_none(ask: Ask, answer: dict[str, Any]) -> None:
    asked, _ = peers(answer)
    with pytest.raises(UnreachableError):
        await ask(asked)


async def test_a_profile_is_asked_for_whole_or_by_field() -> None:
    recorder = Recorder({"displayname": "Ole"})
    people = MatrixPeoplePeers(cast("FederationClient", recorder))
    await people.query_profile(OMA, OLE)
    await people.query_profile(OMA, OLE, "displayname")
    path = f"{V1}/query/profile"
    assert recorder.asked == [
        ("GET", path, [("user_id", OLE)]),
        ("GET", path, [("user_id", OLE), ("field", "displayname")]),
    ]
