"""The door: who gets in, and what a refusal looks like."""

import json
from typing import Any

import pytest

from relay.base.errors import InvalidInputError, NotJsonError, RateLimitedError, TooLargeError
from relay.base.ids import DeviceId, UserId
from relay.client_api import discovery
from relay.client_api.door import Door, Reply, json_object
from relay.household.faults import UnknownTokenError
from relay.household.sessions import Session
from relay.transport.message import Headers, Pieces, Request, Response
from tests.fakes.bounds import admission

ANN = Session(UserId("@ann:h"), DeviceId("D"))


async def authenticate(token: str) -> Session:
    if token != "good":
        raise UnknownTokenError("no such token", soft_logout=token == "old")
    return ANN


async def who(session: Session, _request: Request) -> Reply:
    return {"user_id": session.user}


async def limited(_request: Request) -> Reply:
    raise RateLimitedError("slow down", retry_after_s=1.5)


async def nothing(_request: Request) -> Reply:
    return None


def door() -> Door:
    made = Door(authenticate, admission())
    made.private("GET", "/_matrix/client/v3/who", who)
    made.public("POST", "/_matrix/client/v3/limited", limited)
    made.public("GET", "/_matrix/client/v3/nothing", nothing)
    discovery.register(made, "https://box.example", "box.example:8448")
    return made


def request(method: str, target: str, token: str | None = None, body: bytes = b"") -> Request:
    headers = [] if token is None else [(b"authorization", f"Bearer {token}".encode())]
    return Request(method, target, Headers(headers), source=Pieces(body))


async def ask(method: str, target: str, token: str | None = None) -> tuple[Response, Any]:
    response = await door().answer(request(method, target, token))
    assert isinstance(response.body, bytes)
    return response, json.loads(response.body) if response.body else None


@pytest.mark.parametrize("version", ["v3", "r0"])
async def test_a_token_opens_private_endpoints_in_both_versions(version: str) -> None:
    response, body = await ask("GET", f"/_matrix/client/{version}/who", "good")
    assert (response.status, body) == (200, {"user_id": "@ann:h"})


async def test_the_deprecated_query_parameter_still_carries_a_token() -> None:
    response, _ = await ask("GET", "/_matrix/client/v3/who?access_token=good")
    assert response.status == 200


@pytest.mark.parametrize(
    ("token", "errcode", "soft"), [(None, "M_MISSING_TOKEN", None), ("bad", "M_UNKNOWN_TOKEN", None)]
)
async def test_without_a_good_token_the_app_learns_why(token: str | None, errcode: str, soft: bool | None) -> None:
    response, body = await ask("GET", "/_matrix/client/v3/who", token)
    assert (response.status, body["errcode"]) == (401, errcode)


async def test_an_endpoint_may_answer_nothing() -> None:
    response, body = await ask("GET", "/_matrix/client/v3/nothing")
    assert (response.status, body) == (200, {})


async def test_refusals_say_when_to_come_again() -> None:
    response, body = await ask("POST", "/_matrix/client/v3/limited")
    assert (response.status, body["errcode"], body["retry_after_ms"]) == (429, "M_LIMIT_EXCEEDED", 1500)
    assert dict(response.headers)["Retry-After"] == "2"


async def test_unknown_paths_are_unrecognized_with_cors_headers() -> None:
    response, body = await ask("GET", "/_matrix/client/v3/flux_capacitor")
    assert (response.status, body["errcode"]) == (404, "M_UNRECOGNIZED")
    assert dict(response.headers)["Access-Control-Allow-Origin"] == "*"


async def test_a_known_path_with_another_method_is_405() -> None:
    response, body = await ask("POST", "/_matrix/client/v3/who", "good")
    assert (response.status, body["errcode"]) == (405, "M_UNRECOGNIZED")


async def test_preflight_requests_need_no_token() -> None:
    response, _ = await ask("OPTIONS", "/_matrix/client/v3/who")
    assert response.status in (200, 204)
    assert "Authorization" in dict(response.headers)["Access-Control-Allow-Headers"]


async def test_discovery_says_where_the_box_is_and_what_works() -> None:
    assert (await ask("GET", "/.well-known/matrix/client"))[1] == {"m.homeserver": {"base_url": "https://box.example"}}
    assert (await ask("GET", "/.well-known/matrix/server"))[1] == {"m.server": "box.example:8448"}
    assert "v1.11" in (await ask("GET", "/_matrix/client/versions"))[1]["versions"]
    capabilities = (await ask("GET", "/_matrix/client/v3/capabilities", "good"))[1]["capabilities"]
    assert capabilities["m.room_versions"]["default"] in capabilities["m.room_versions"]["available"]


async def test_a_body_is_an_object_and_an_empty_one_is_empty() -> None:
    assert await json_object(request("POST", "/x", body=b'{"a": 1}')) == {"a": 1}
    assert await json_object(request("POST", "/x")) == {}
    with pytest.raises(InvalidInputError):
        await json_object(request("POST", "/x", body=b"[1]"))
    with pytest.raises(NotJsonError):
        await json_object(request("POST", "/x", body=b"{"))
    with pytest.raises(TooLargeError):
        await json_object(request("POST", "/x", body=b'{"a": 1}'), limit_bytes=4)
