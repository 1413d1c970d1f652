import pytest

from relay.base.errors import NotFoundError, RelayError
from relay.transport.message import Request, Response
from relay.transport.routing import Router
from tests.fakes.http import make_request


def refuse(error: RelayError) -> Response:
    return Response.json({"code": error.code}, 400)


async def show(request: Request) -> Response:
    return Response.json(request.params)


async def fixed(_request: Request) -> Response:
    return Response.json({"fixed": True})


def router(*patterns: str, headers: tuple[tuple[str, str], ...] = ()) -> Router:
    made = Router(refuse=refuse, headers=headers)
    for pattern in patterns:
        made.add("GET", pattern, show)
    return made


async def body_of(made: Router, method: str, target: str) -> object:
    return (await made.answer(make_request(method, target))).parsed()


async def test_segments_are_decoded_after_the_path_is_split() -> None:
    made = router("/rooms/{roomId}/state/{type}/{key}")
    assert await body_of(made, "GET", "/rooms/!a:b/state/m.x/%2Fa%20b") == {
        "roomId": "!a:b",
        "type": "m.x",
        "key": "/a b",
    }


async def test_an_empty_last_segment_is_a_parameter_too_and_differs_from_none() -> None:
    made = router("/state/{type}", "/state/{type}/{key}")
    assert await body_of(made, "GET", "/state/m.x/") == {"type": "m.x", "key": ""}
    assert await body_of(made, "GET", "/state/m.x") == {"type": "m.x"}
    assert await body_of(made, "GET", "/state/m.x/a/") == {"code": "unrecognized.path"}


async def test_a_literal_name_wins_and_a_dead_end_goes_back_to_the_parameter() -> None:
    made = router("/{a}/y")
    made.add("GET", "/x/z", fixed)
    assert await body_of(made, "GET", "/x/z") == {"fixed": True}
    assert await body_of(made, "GET", "/x/y") == {"a": "x"}


async def test_an_unknown_method_is_told_apart_from_an_unknown_path() -> None:
    made = router("/a")
    assert await body_of(made, "GET", "/b") == {"code": "unrecognized.path"}
    assert await body_of(made, "PUT", "/a") == {"code": "unrecognized.method"}
    assert await body_of(made, "GET", "a") == {"code": "unrecognized.path"}


async def test_head_is_answered_by_get() -> None:
    assert (await router("/a").answer(make_request("HEAD", "/a"))).status == 200


async def test_options_is_answered_everywhere_with_the_doors_headers() -> None:
    made = router("/a", headers=(("Access-Control-Allow-Origin", "*"),))
    for path in ("/a", "/unknown"):
        response = await made.answer(make_request("OPTIONS", path))
        assert (response.status, response.headers) == (200, [("Access-Control-Allow-Origin", "*")])


async def test_the_doors_headers_are_on_errors_too_and_never_pile_up() -> None:
    constant = Response(200)

    async def same(_request: Request) -> Response:
        return constant

    made = router(headers=(("X-A", "b"),))
    made.add("GET", "/same", same)
    assert ("X-A", "b") in (await made.answer(make_request("GET", "/unknown"))).headers
    for _ in range(2):
        assert (await made.answer(make_request("GET", "/same"))).headers == [("X-A", "b")]


async def test_every_fault_of_an_endpoint_becomes_a_reply() -> None:
    async def missing(_request: Request) -> Response:
        raise NotFoundError("nothing")

    async def broken(_request: Request) -> Response:
        raise ZeroDivisionError

    made = router()
    made.add("GET", "/missing", missing)
    made.add("GET", "/broken", broken)
    assert await body_of(made, "GET", "/missing") == {"code": "not_found"}
    assert await body_of(made, "GET", "/broken") == {"code": "internal"}


async def test_faults_of_tasks_that_worked_together_become_one_reply() -> None:
    async def missing(_request: Request) -> Response:
        raise ExceptionGroup("tasks", [ExceptionGroup("more", [NotFoundError("a")]), NotFoundError("b")])

    async def broken(_request: Request) -> Response:
        raise ExceptionGroup("tasks", [NotFoundError("a"), ZeroDivisionError()])

    made = router()
    made.add("GET", "/missing", missing)
    made.add("GET", "/broken", broken)
    assert await body_of(made, "GET", "/missing") == {"code": "not_found"}
    assert await body_of(made, "GET", "/broken") == {"code": "internal"}


async def test_a_path_that_is_not_utf_8_is_refused() -> None:
    assert await body_of(router("/{a}"), "GET", "/%ff") == {"code": "input.invalid"}


def test_a_pattern_is_answered_once() -> None:
    made = router("/{a}")
    with pytest.raises(ValueError, match="already"):
        made.add("GET", "/{b}", show)
    with pytest.raises(ValueError, match="slash"):
        made.add("GET", "a", show)
