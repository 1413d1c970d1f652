import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.errors import InvalidInputError
from relay.base.limits import MAX_MULTIPART_HEADER_BYTES
from relay.federation.matrix.multipart import MediaPart, boundary_of, epilogue, prologue

BOUNDARY = "gc0p4Jq0M2Yt08jU534c0p"


def body(content: bytes) -> bytes:
    return prologue(BOUNDARY, "image/png", 'inline; filename="a.png"') + content + epilogue(BOUNDARY)


PIECES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([b"\r\n", b"\r\n--", b"--" + BOUNDARY.encode(), b"\r\n--" + BOUNDARY.encode()[:-1]]),
)
# A boundary right after the headers ends an empty part, so that content cannot start with one either.
CONTENTS = (
    st.lists(PIECES, max_size=8).map(b"".join).filter(lambda data: b"\r\n--" + BOUNDARY.encode() not in b"\r\n" + data)
)


@given(content=CONTENTS, cuts=st.lists(st.integers(0, 400), max_size=6).map(sorted))
def test_how_the_body_is_split_never_matters(content: bytes, cuts: list[int]) -> None:
    whole = body(content)
    part, read, start = MediaPart(BOUNDARY), b"", 0
    for cut in [*cuts, len(whole)]:
        read += part.receive(whole[start : max(cut, start)])
        start = max(cut, start)
    part.close()
    assert read == content
    assert part.headers == {"content-type": "image/png", "content-disposition": 'inline; filename="a.png"'}


def test_a_part_without_content_may_end_at_once() -> None:
    part = MediaPart("b")
    assert part.receive(b"--b\r\n\r\n{}\r\n--b\r\nLocation: https://cdn.example/x\r\n\r\n--b--") == b""
    part.close()
    assert part.headers == {"location": "https://cdn.example/x"}


@pytest.mark.parametrize(
    "data",
    [
        b"--b\r\n\r\n{}\r\n--b\r\n\r\nxx\r\n--b\r\n\r\nthird\r\n--b--",
        b"x" * (MAX_MULTIPART_HEADER_BYTES + 1),
    ],
)
def test_a_body_that_is_not_two_parts_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInputError):
        MediaPart("b").receive(data)


@pytest.mark.parametrize("data", [b"", b"--b\r\n", b"--b\r\n\r\n{}\r\n--b\r\n\r\nhalf of it"])
def test_a_body_cut_short_is_noticed(data: bytes) -> None:
    part = MediaPart("b")
    part.receive(data)
    with pytest.raises(InvalidInputError):
        part.close()


def test_the_boundary_is_read_from_the_header() -> None:
    assert boundary_of('multipart/mixed; charset=x; boundary="a b"') == "a b"
    assert boundary_of("Multipart/Mixed;boundary=abc") == "abc"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "multipart/mixed",
        "text/plain; boundary=a",
        "multipart/mixed; boundary=",
        'multipart/mixed; boundary="ä"',
        "multipart/mixed; boundary=" + "x" * 71,
    ],
)
def test_another_header_is_refused(header: str) -> None:
    with pytest.raises(InvalidInputError):
        boundary_of(header)
