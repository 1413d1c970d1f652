import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.store.frame import (
    BLOCK_BYTES,
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    frame_sizes,
    open_frame,
    read_header,
    seal,
    split_payload,
)

KEY = b"k" * 32


@given(payload=st.binary(max_size=9_000), sequence=st.integers(1, 2**63))
@settings(max_examples=30, deadline=None)
def test_a_sealed_payload_opens_again_and_fills_whole_blocks(payload: bytes, sequence: int) -> None:
    frame = seal(payload, KEY, use=3, sequence=sequence, part=0, parts=1)
    assert len(frame) % BLOCK_BYTES == 0
    assert open_frame(frame, KEY) == payload
    header = read_header(frame[:HEADER_BYTES])
    assert header is not None
    assert (header.use, header.sequence, header.total_bytes) == (3, sequence, len(frame))


@given(place=st.integers(0, 2 * BLOCK_BYTES - 1), flip=st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_any_changed_byte_is_noticed(place: int, flip: int) -> None:
    frame = bytearray(seal(b"x" * 5_000, KEY, use=1, sequence=1, part=0, parts=1))
    frame[place] ^= flip
    assert open_frame(bytes(frame), KEY) is None


@given(data=st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_arbitrary_bytes_are_no_frame(data: bytes) -> None:
    assert open_frame(data, KEY) is None


def test_the_frame_of_another_use_or_key_does_not_open() -> None:
    frame = seal(b"x", KEY, use=1, sequence=1, part=0, parts=1)
    assert open_frame(frame, b"l" * 32) is None


def test_the_size_of_a_small_payload_does_not_show() -> None:
    sizes = {len(seal(b"x" * size, KEY, use=1, sequence=1, part=0, parts=1)) for size in (0, 1, 100, 4_000)}
    assert sizes == {BLOCK_BYTES}


@pytest.mark.parametrize("size", [0, 1, MAX_PAYLOAD_BYTES - 1, MAX_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES + 1, 700_000])
def test_frame_sizes_are_those_of_the_sealed_pieces(size: int) -> None:
    pieces = split_payload(bytes(size))
    frames = [seal(piece, KEY, use=1, sequence=1, part=0, parts=1) for piece in pieces]
    assert [len(frame) for frame in frames] == frame_sizes(size)
    assert b"".join(pieces) == bytes(size)
