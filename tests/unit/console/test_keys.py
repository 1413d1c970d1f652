from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.console.keys import Key, KeyReader

PIECES = st.one_of(
    st.binary(max_size=6),
    st.sampled_from(
        [b"\x1b[A", b"\x1bOB", b"\x1b[3~", b"\x1b[1;5C", b"\r\n", b"\r", b"\xc3\xbc", b"\x1b", b"\x1b[", b"abc"]
    ),
)


@given(st.lists(PIECES).map(b"".join), st.lists(st.integers(0, 100)))
def test_how_bytes_are_split_never_matters(data: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    reader = KeyReader()
    pieces = [key for a, b in pairwise(places) for key in reader.receive(data[a:b])]
    assert pieces == KeyReader().receive(data)


@given(st.binary())
def test_only_printable_characters_and_keys_come_out_of_hostile_bytes(data: bytes) -> None:
    keys = KeyReader().receive(data)
    assert all(isinstance(key, Key) or (len(key) == 1 and key.isprintable()) for key in keys)
    assert len(keys) <= len(data)


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"\r", [Key.ENTER]),
        (b"\n", [Key.ENTER]),
        (b"\r\n", [Key.ENTER]),
        (b"\n\n", [Key.ENTER, Key.ENTER]),
        (b"\r\r\n", [Key.ENTER, Key.ENTER]),
        (b"\x1b[A\x1b[B\x1b[C\x1b[D", [Key.UP, Key.DOWN, Key.RIGHT, Key.LEFT]),
        (b"\x1bOH\x1b[4~\x1b[3~", [Key.HOME, Key.END, Key.DELETE]),
        (b"\x08\x7f", [Key.BACKSPACE, Key.BACKSPACE]),
        (b"\x1b[200~x", ["x"]),
        (b"\x1bfx", ["x"]),
        (b"\x1b[1\rx", [Key.ENTER, "x"]),
        (b"\x1b\x1b[A", [Key.UP]),
        (b"\x1b[" + b"1" * 10_000 + b"Ax", ["x"]),
        ("ü".encode(), ["ü"]),
        (b"\xffa\xc3", ["a"]),
        (b"\xe2\r", [Key.ENTER]),
        ("\x9b\u202e".encode(), []),
    ],
)
def test_terminals_of_any_make_are_understood(data: bytes, keys: list[str | Key]) -> None:
    assert KeyReader().receive(data) == keys


def test_a_half_read_character_or_sequence_is_not_at_rest() -> None:
    reader = KeyReader()
    rests = []
    for piece in (b"", b"\x1b[", b"A\xc3", b"\xbc"):
        reader.receive(piece)
        rests.append(reader.at_rest)
    assert rests == [True, False, False, True]
