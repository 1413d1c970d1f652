import pytest

from relay.base.errors import InvalidInputError, RateLimitedError, TooLargeError
from relay.base.limits import MAX_SMALL_BODIES_BYTES, SMALL_BODY_BYTES
from relay.transport.body_budget import BodyBudget
from relay.transport.message import Headers, Pieces, Request, Response
from tests.fakes.http import make_request


def test_header_names_are_compared_without_case_and_order_is_kept() -> None:
    headers = Headers([(b"X-A", b"1"), (b"x-b", b"2"), (b"x-a", b"3")])
    assert headers.get("x-A") == "1"
    assert headers.all("X-a") == ["1", "3"]
    assert headers.get("missing") is None
    assert headers.get("missing", "") == ""
    assert "X-B" in headers
    assert list(headers) == [(b"x-a", b"1"), (b"x-b", b"2"), (b"x-a", b"3")]


def test_reprs_show_neither_values_nor_targets() -> None:
    request = make_request("GET", "/secret?access_token=abc", token="hunter2")
    assert "secret" not in repr(request)
    assert "hunter2" not in repr(request.headers)


def test_path_stays_encoded_and_the_query_is_decoded() -> None:
    request = Request("GET", "/rooms/%21a%3Ab?via=a.example&via=b.example&filter=%7B%7D&empty=")
    assert request.path == "/rooms/%21a%3Ab"
    assert request.target == "/rooms/%21a%3Ab?via=a.example&via=b.example&filter=%7B%7D&empty="
    assert request.query["via"] == ["a.example", "b.example"]
    assert request.argument("filter") == "{}"
    assert request.argument("empty") == ""
    assert request.argument("absent") is None


def test_too_many_query_fields_are_refused() -> None:
    with pytest.raises(InvalidInputError):
        _ = Request("GET", "/?" + "&".join(f"a={n}" for n in range(257))).query


async def test_a_body_can_be_read_twice_and_then_streamed() -> None:
    request = make_request("PUT", "/", body={"a": 1})
    assert await request.body(100) == b'{"a":1}'
    assert await request.body(100) == b'{"a":1}'
    assert [piece async for piece in request.stream()] == [b'{"a":1}']


async def test_a_body_is_gathered_within_the_budget_of_all_and_gives_it_back() -> None:
    budget = BodyBudget(most_bytes=100)
    first = Request("PUT", "/", address="a", source=Pieces(b"x" * 60), budget=budget)
    assert await first.body(1000) == b"x" * 60
    assert budget.held_bytes == 60
    large = MAX_SMALL_BODIES_BYTES + 1000
    second = Request("PUT", "/", address="b", source=Pieces(b"x" * SMALL_BODY_BYTES, b"x" * 10), budget=budget)
    with pytest.raises(RateLimitedError):
        await second.body(large)
    second.release()
    first.release()
    first.release()
    assert budget.held_bytes == 0


def test_a_stream_that_says_it_will_be_too_long_is_refused_before_it_comes() -> None:
    request = make_request("PUT", "/", body=b"x" * 11)
    with pytest.raises(TooLargeError):
        request.stream(10)
    request.stream(11)


async def test_a_body_at_the_limit_passes_and_one_byte_more_is_refused() -> None:
    assert await make_request("PUT", "/", body=b"x" * 10).body(10) == b"x" * 10
    with pytest.raises(TooLargeError):
        await make_request("PUT", "/", body=b"x" * 11).body(10)


async def test_a_body_without_a_declared_length_is_refused_as_soon_as_it_passes_the_limit() -> None:
    source = Pieces(*[b"x" * 10] * 4)
    with pytest.raises(TooLargeError):
        await Request("PUT", "/", source=source).body(25)
    assert [piece async for piece in source] == [b"x" * 10]


async def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    source = Pieces(b"x")
    with pytest.raises(TooLargeError):
        await Request("PUT", "/", Headers([(b"content-length", b"11")]), source=source).body(10)
    assert [piece async for piece in source] == [b"x"]


def test_json_answers_carry_their_type() -> None:
    response = Response.json({"a": [1]}, 201, [("X-B", "c")])
    assert (response.status, response.body) == (201, b'{"a":[1]}')
    assert response.headers == [("Content-Type", "application/json"), ("X-B", "c")]
    assert response.parsed() == {"a": [1]}


def test_a_body_that_is_not_json_is_said_to_be_so() -> None:
    with pytest.raises(InvalidInputError):
        Response(200, body=b"{").parsed()
