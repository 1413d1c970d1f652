import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from relay.base.config import RateConfig
from relay.base.ids import ServerName
from relay.base.limits import FAILED_AUTHENTICATION_BURST, MAX_JSON_BODY_BYTES, STRANGER_BURST
from relay.core.matrix.signing import SigningKey, generate
from relay.federation.matrix.authentication import Signed, sign
from relay.federation.matrix.keys import OwnKeys
from relay.transport.message import Response
from relay.transport.routing import Router
from tests.fakes.clock import FakeClock
from tests.fakes.federated import FederatedBox, FederatedTown
from tests.fakes.http import answer_json, make_request

V1, V2 = "/_matrix/federation/v1", "/_matrix/federation/v2"
OMA = ServerName("oma.example")
KEY = generate(b"o" * 32, "a1")
EVENT = "$" + "e" * 43
ROOM = "%21room%3Aoma.example"


class Stranger:
    """Oma's server: it publishes its key and signs what it asks."""

    def __init__(self, box: FederatedBox) -> None:
        self.box = box

    async def ask(
        self,
        method: str,
        target: str,
        content: Any = None,
        *,
        key: SigningKey = KEY,
        destination: str = "ada.example",
        address: str = "192.0.2.1",
        raw: bytes | None = None,
    ) -> Response:
        header = sign(OMA, key, ServerName(destination), Signed(method, target, content))
        body = raw if raw is not None else content
        request = make_request(method, target, body=body, headers=[("Authorization", header)], address=address)
        return await self.box.router.answer(request)

    async def errcode(self, method: str, target: str, content: Any = None, **options: Any) -> tuple[int, str]:
        response = await self.ask(method, target, content, **options)
        body = await answer_json(response)
        return response.status, body.get("errcode", "")


@contextlib.asynccontextmanager
async def stranger_at_the_door(rates: RateConfig | None = None) -> AsyncIterator[Stranger]:
    async with trio.open_nursery() as nursery:
        town = FederatedTown(nursery)
        async with town.box("ada.example", rates=rates) as ada:
            router = Router(refuse=lambda error: Response(500))
            clock = FakeClock(now_ms=ada.clock.wall_ms())
            router.add("GET", "/_matrix/key/v2/server", OwnKeys(OMA, KEY, [], clock).answer)
            town.network.serve("oma.example", 8448, router.answer)
            yield Stranger(ada)
        nursery.cancel_scope.cancel()


async def test_a_signed_request_is_answered() -> None:
    async with stranger_at_the_door() as oma:
        response = await oma.ask("PUT", f"{V1}/send/1", {"pdus": []})
        assert (response.status, await answer_json(response)) == (200, {"pdus": {}})


@pytest.mark.parametrize(
    "options",
    [
        {"key": generate(b"x" * 32, "a1")},
        {"key": generate(b"x" * 32, "unknown")},
        {"destination": "other.example"},
        {"raw": b'{"pdus":[],"edus":[1]}'},
    ],
)
async def test_a_request_that_is_not_the_peers_own_is_unauthorized(options: Any) -> None:
    async with stranger_at_the_door() as oma:
        assert await oma.errcode("PUT", f"{V1}/send/1", {"pdus": []}, **options) == (401, "M_UNAUTHORIZED")


async def test_without_a_signature_only_version_and_keys_are_told() -> None:
    async with stranger_at_the_door() as oma:
        answer = oma.box.router.answer
        assert await answer_json(await answer(make_request("GET", f"{V1}/version"))) == {
            "server": {"name": "Doorstep", "version": "0"}
        }
        keys = await answer_json(await answer(make_request("GET", "/_matrix/key/v2/server")))
        assert keys["server_name"] == "ada.example"
        refused = await answer(make_request("GET", f"{V1}/query/profile?user_id=@a:ada.example"))
        assert refused.status == 401


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", f"{V1}/make_knock/{ROOM}/%40a%3Aoma.example", 404),
        ("PUT", f"{V1}/send_knock/{ROOM}/{EVENT}", 404),
        ("GET", f"{V1}/publicRooms", 404),
        ("POST", f"{V1}/publicRooms", 404),
        ("GET", f"{V1}/hierarchy/{ROOM}", 404),
        ("GET", f"{V1}/openid/userinfo?access_token=x", 404),
        ("GET", f"{V1}/timestamp_to_event/{ROOM}?ts=1&dir=f", 404),
        ("PUT", f"{V1}/exchange_third_party_invite/{ROOM}", 404),
        ("PUT", f"{V1}/send_join/{ROOM}/{EVENT}", 404),
        ("GET", f"{V1}/query/unknown", 404),
        ("GET", "/_matrix/key/v2/query/oma.example", 404),
        ("POST", "/_matrix/policy/v1/sign", 404),
        ("GET", f"{V1}/send/1", 405),
        ("POST", f"{V1}/version", 405),
    ],
)
async def test_what_is_not_offered_is_unrecognized(method: str, target: str, status: int) -> None:
    async with stranger_at_the_door() as oma:
        assert await oma.errcode(method, target) == (status, "M_UNRECOGNIZED")


async def test_a_server_that_asks_too_often_is_told_when_to_come_back() -> None:
    async with stranger_at_the_door(RateConfig(federation_per_s=0.5, federation_burst=2)) as oma:
        for number in range(2):
            assert (await oma.ask("PUT", f"{V1}/send/{number}", {"pdus": []})).status == 200
        refused = await oma.ask("PUT", f"{V1}/send/3", {"pdus": []})
        body = await answer_json(refused)
        assert (refused.status, body["errcode"]) == (429, "M_LIMIT_EXCEEDED")
        assert 1000 < body["retry_after_ms"] <= 2000
        assert ("Retry-After", "2") in refused.headers


async def test_a_server_that_shares_no_room_has_few_requests() -> None:
    async with stranger_at_the_door() as oma:
        replies = [
            (await oma.ask("PUT", f"{V1}/send/{number}", {"pdus": []})).status for number in range(STRANGER_BURST + 30)
        ]
        assert replies[0] == 200
        assert replies[-1] == 429


async def test_forged_requests_use_up_their_address_and_nobody_elses_rate() -> None:
    async with stranger_at_the_door(RateConfig(federation_per_s=0.5, federation_burst=1)) as oma:
        other = generate(b"x" * 32, "unknown")
        replies = [
            (await oma.ask("PUT", f"{V1}/send/1", {"pdus": []}, key=other)).status
            for _ in range(FAILED_AUTHENTICATION_BURST + 20)
        ]
        assert replies[0] == 401
        assert replies[-1] == 429
        assert (await oma.ask("PUT", f"{V1}/send/1", {"pdus": []}, address="192.0.2.9")).status == 200


async def test_a_peer_whose_key_is_known_gets_through_beside_forgers() -> None:
    async with stranger_at_the_door() as oma:
        assert (await oma.ask("PUT", f"{V1}/send/1", {"pdus": []})).status == 200
        for _ in range(FAILED_AUTHENTICATION_BURST + 20):
            await oma.ask("PUT", f"{V1}/send/1", {"pdus": []}, key=generate(b"x" * 32, "unknown"))
        assert (await oma.ask("PUT", f"{V1}/send/2", {"pdus": []})).status == 200


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b'{"pdus":[' + b"9" * 5000 + b"]}", 400),
        (b'{"pdus":[' + b"9" * 300 + b"]}", 401),
        (b"{", 400),
        (b"null", 400),
        (b"\xff", 400),
        (b"x" * (MAX_JSON_BODY_BYTES + 1), 413),
    ],
)
async def test_a_body_that_is_not_json_or_too_long_is_refused(raw: bytes, status: int) -> None:
    async with stranger_at_the_door() as oma:
        assert (await oma.ask("PUT", f"{V1}/send/1", {"pdus": []}, raw=raw)).status == status


@pytest.mark.parametrize(
    ("method", "target", "content", "expected"),
    [
        ("PUT", f"{V1}/send/1", [], (400, "M_BAD_JSON")),
        ("PUT", f"{V1}/send/1", {"pdus": {}}, (400, "M_BAD_JSON")),
        ("PUT", f"{V1}/send/{'x' * 300}", {"pdus": []}, (400, "M_INVALID_PARAM")),
        ("PUT", f"{V1}/send/1", {"pdus": [{}] * 51}, (400, "M_BAD_JSON")),
        ("GET", f"{V1}/make_join/{ROOM}/%40a%3Aoma.example?ver=12", None, (404, "M_NOT_FOUND")),
        ("GET", f"{V1}/make_join/{ROOM}/%40a%3Aelsewhere.example?ver=12", None, (403, "M_FORBIDDEN")),
        ("GET", f"{V1}/make_join/room/user", None, (400, "M_INVALID_PARAM")),
        ("GET", f"{V1}/make_leave/{ROOM}/%40a%3Aoma.example", None, (404, "M_NOT_FOUND")),
        ("PUT", f"{V2}/send_join/{ROOM}/{EVENT}", {}, (404, "M_NOT_FOUND")),
        ("PUT", f"{V2}/send_join/{ROOM}/{EVENT}", [], (400, "M_BAD_JSON")),
        ("PUT", f"{V2}/send_leave/{ROOM}/{EVENT}", {}, (404, "M_NOT_FOUND")),
        ("PUT", f"{V1}/invite/{ROOM}/{EVENT}", {}, (400, "M_INCOMPATIBLE_ROOM_VERSION")),
        ("PUT", f"{V2}/invite/{ROOM}/{EVENT}", {}, (400, "M_MISSING_PARAM")),
        (
            "PUT",
            f"{V2}/invite/{ROOM}/{EVENT}",
            {"room_version": "org.new", "event": {}, "invite_room_state": []},
            (400, "M_INCOMPATIBLE_ROOM_VERSION"),
        ),
        (
            "PUT",
            f"{V2}/invite/{ROOM}/{EVENT}",
            {"room_version": "12", "event": {}, "invite_room_state": 5},
            (400, "M_BAD_JSON"),
        ),
        ("GET", f"{V1}/event/{EVENT}", None, (404, "M_NOT_FOUND")),
        ("GET", f"{V1}/event/nothing", None, (400, "M_INVALID_PARAM")),
        ("GET", f"{V1}/state/{ROOM}", None, (400, "M_MISSING_PARAM")),
        ("GET", f"{V1}/state/{ROOM}?event_id={EVENT}", None, (404, "M_NOT_FOUND")),
        ("GET", f"{V1}/state_ids/{ROOM}?event_id={EVENT}", None, (404, "M_NOT_FOUND")),
        ("GET", f"{V1}/event_auth/{ROOM}/{EVENT}", None, (404, "M_NOT_FOUND")),
        ("GET", f"{V1}/backfill/{ROOM}", None, (400, "M_MISSING_PARAM")),
        ("GET", f"{V1}/backfill/{ROOM}?v={EVENT}", None, (400, "M_MISSING_PARAM")),
        ("GET", f"{V1}/backfill/{ROOM}?v={EVENT}&limit=x", None, (400, "M_INVALID_PARAM")),
        ("GET", f"{V1}/backfill/{ROOM}?v={EVENT}&limit=5", None, (404, "M_NOT_FOUND")),
        ("POST", f"{V1}/get_missing_events/{ROOM}", {}, (400, "M_BAD_JSON")),
        (
            "POST",
            f"{V1}/get_missing_events/{ROOM}",
            {"earliest_events": [], "latest_events": [EVENT], "limit": -1},
            (400, "M_BAD_JSON"),
        ),
        (
            "POST",
            f"{V1}/get_missing_events/{ROOM}",
            {"earliest_events": [], "latest_events": [EVENT]},
            (404, "M_NOT_FOUND"),
        ),
    ],
)
async def test_each_malformed_or_foreign_question_gets_its_error(
    method: str, target: str, content: Any, expected: tuple[int, str]
) -> None:
    async with stranger_at_the_door() as oma:
        assert await oma.errcode(method, target, content) == expected
