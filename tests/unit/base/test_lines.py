import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.errors import ConflictError, Fault, InvalidInputError, NotJsonError, RelayError, TooLargeError
from relay.base.lines import AnsweredError, Lines, bad, good, parse_line, render_line, result_of

LIMIT_BYTES = 64
PIECES = st.one_of(
    st.binary(max_size=8), st.sampled_from([b'{"a":1}\n', b"\n", b"x" * 70, b"[]\n", b'{"b":"' + b"y" * 60 + b'"}\n'])
)


def outcome(pieces: list[bytes]) -> tuple[list[dict[str, Any]], str]:
    lines = Lines(LIMIT_BYTES)
    found: list[dict[str, Any]] = []
    try:
        for piece in pieces:
            found += lines.receive(piece)
    except RelayError as error:
        return found, error.code
    return found, ""


@given(st.lists(PIECES).map(b"".join), st.integers(0, 200))
def test_how_bytes_are_split_never_changes_the_verdict(data: bytes, cut: int) -> None:
    whole, halves = outcome([data]), outcome([data[:cut], data[cut:]])
    assert bool(whole[1]) == bool(halves[1])
    if not whole[1]:
        assert whole == halves


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none()))
def test_a_rendered_object_is_one_ascii_line_and_comes_back(value: dict[str, Any]) -> None:
    line = render_line(value)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert Lines().receive(line) == [value]


def test_a_line_over_the_limit_is_refused_before_it_ends() -> None:
    lines = Lines(LIMIT_BYTES)
    assert lines.receive(b" " * LIMIT_BYTES) == []
    with pytest.raises(TooLargeError):
        lines.receive(b" ")


@pytest.mark.parametrize(
    ("line", "kind"), [(b"x", NotJsonError), (b"[" * 5000, NotJsonError), (b"1", InvalidInputError)]
)
def test_a_line_that_is_no_object_is_refused(line: bytes, kind: type[RelayError]) -> None:
    with pytest.raises(kind):
        parse_line(line)


def test_a_refusal_keeps_its_code_and_fault_on_the_way() -> None:
    reply = json.loads(render_line(bad(ConflictError("taken"))))
    with pytest.raises(AnsweredError, match="taken") as caught:
        result_of(reply)
    assert (caught.value.code, caught.value.fault) == ("conflict", Fault.USER)


def test_a_good_reply_gives_its_result() -> None:
    assert result_of(good({"a": 1})) == {"a": 1}


def test_no_reply_at_all_is_an_error() -> None:
    with pytest.raises(AnsweredError):
        result_of({})
