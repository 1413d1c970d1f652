import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.limits import (
    H2_CONTROL_FRAMES_BURST,
    H2_CONTROL_FRAMES_PER_S,
    H2_RESETS_BURST,
    MAX_H2_FRAME_BYTES,
    MAX_HEADER_BYTES,
)
from relay.transport.wire.events import WireError
from relay.transport.wire.floods import PREFACE, Allowance, FrameGauge
from tests.fakes.wires import cut


def frame(kind: int, flags: int = 0, stream: int = 1, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


PING = frame(6, 0, 0, b"12345678")
FRAMES = st.builds(
    frame,
    st.integers(0, 12),
    st.integers(0, 255),
    st.integers(0, 9),
    st.one_of(st.binary(max_size=20), st.just(b"x" * 70)),
)


def walk(gauge: FrameGauge, pieces: list[bytes]) -> tuple[bytes, int | None, str]:
    kept = b""
    try:
        for piece in pieces:
            kept += gauge.walk(piece, 0.0)
    except WireError as error:
        return b"", None, error.reason
    return kept, gauge.last_stream, ""


@given(st.lists(FRAMES, max_size=8).map(b"".join), st.lists(st.integers(0, 500), max_size=6))
def test_how_bytes_are_split_never_matters(data: bytes, places: list[int]) -> None:
    assert walk(FrameGauge(server=False), [data]) == walk(FrameGauge(server=False), cut(data, places))


@given(st.lists(st.integers(0, 200), max_size=6))
def test_goaway_is_taken_out_and_read(places: list[int]) -> None:
    goaway = frame(7, 0, 0, (5).to_bytes(4, "big") + bytes(4) + b"debug")
    kept, last_stream, _ = walk(FrameGauge(server=True), cut(PREFACE + PING + goaway + PING, places))
    assert kept == PREFACE + PING + PING
    assert last_stream == 5


@pytest.mark.parametrize(
    ("flood", "most", "reason"),
    [
        (PING, H2_CONTROL_FRAMES_BURST, "flood"),
        (frame(4, 0, 0), H2_CONTROL_FRAMES_BURST, "flood"),
        (frame(2, 0, 1, b"12345"), H2_CONTROL_FRAMES_BURST, "flood"),
        (frame(0), H2_CONTROL_FRAMES_BURST, "flood"),
        (frame(0, 0, 1, b"x"), H2_CONTROL_FRAMES_BURST, "flood"),
        (frame(8, 0, 0, b"\0\0\0\1"), H2_CONTROL_FRAMES_BURST, "flood"),
        (frame(99), H2_CONTROL_FRAMES_BURST, "flood"),
        (frame(9), H2_CONTROL_FRAMES_BURST, "flood"),
        (frame(3, 0, 1, b"\0\0\0\0"), H2_RESETS_BURST, "reset_flood"),
    ],
)
def test_so_many_cheap_frames_pass_and_one_more_does_not(flood: bytes, most: int, reason: str) -> None:
    gauge = FrameGauge(server=False)
    gauge.walk(flood * most, 0.0)
    with pytest.raises(WireError) as caught:
        gauge.walk(flood, 0.0)
    assert caught.value.reason == reason


def test_time_gives_back_what_a_patient_peer_spends() -> None:
    gauge = FrameGauge(server=False)
    gauge.walk(PING * H2_CONTROL_FRAMES_BURST, 0.0)
    gauge.walk(PING * int(H2_CONTROL_FRAMES_PER_S), 1.0)


def test_an_allowance_never_exceeds_its_burst() -> None:
    allowance = Allowance(2, 1)
    allowance.give(10)
    assert [allowance.take(1000.0) for _ in range(3)] == [True, True, False]


def test_bodies_of_any_length_pass() -> None:
    FrameGauge(server=False).walk(frame(0, 0, 1, b"x" * 100) * (H2_CONTROL_FRAMES_BURST * 2), 0.0)


def test_a_frame_is_judged_by_its_head_before_its_body_comes() -> None:
    FrameGauge(server=False).walk(frame(0, 0, 1, bytes(MAX_H2_FRAME_BYTES)), 0.0)
    with pytest.raises(WireError, match="frame_too_large"):
        FrameGauge(server=False).walk(frame(0, 0, 1, bytes(MAX_H2_FRAME_BYTES + 1))[:9], 0.0)


def test_header_blocks_are_bounded_over_all_their_frames() -> None:
    half = bytes(MAX_HEADER_BYTES // 2)
    gauge = FrameGauge(server=False)
    gauge.walk(frame(1, 0, 1, half) + frame(9, 0, 1, half), 0.0)
    assert gauge.inside
    with pytest.raises(WireError, match="headers_too_large"):
        gauge.walk(frame(9, 4, 1, b"x"), 0.0)
    other = FrameGauge(server=False)
    other.walk((frame(1, 0, 1, half) + frame(9, 4, 1, half)) * 3, 0.0)
    assert not other.inside


@pytest.mark.parametrize(
    ("data", "inside"),
    [(frame(0, 0, 1, b"x" * 100)[:-1], False), (PING[:-1], True), (PING[:3], True), (PING, False)],
)
def test_a_data_frame_may_take_its_time_and_others_may_not(data: bytes, inside: bool) -> None:
    gauge = FrameGauge(server=False)
    gauge.walk(data, 0.0)
    assert gauge.inside == inside
