import dataclasses
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.errors import DamagedError
from relay.delivery.standby.envelope import (
    OVERHEAD_BYTES,
    ForeignEnvelopeError,
    Head,
    Joiner,
    Kind,
    Sealer,
    box_id,
    read_head,
)

KEY = b"k" * 32
BOX = box_id(b"j" * 32)
SEALER = Sealer(KEY, BOX)
HEAD = Head(
    kind=Kind.FRAME,
    chain=b"c" * 8,
    start=b"s" * 8,
    first=5,
    last=7,
    newest=9,
    at_ms=1_700_000_000_000,
    held=123,
    check=b"x" * 8,
)


def test_what_was_sealed_opens_with_its_head() -> None:
    (data,) = SEALER.seal(HEAD, [[5, b"payload"]], 4096)
    assert SEALER.open_whole(data, Kind.FRAME) == (HEAD, [[5, b"payload"]])
    assert read_head(data) == (HEAD, BOX)
    assert b"payload" not in data


@given(st.integers(OVERHEAD_BYTES + 1, 500), st.binary(max_size=400))
def test_a_large_body_is_cut_and_joined_again(limit_bytes: int, body: bytes) -> None:
    parts = SEALER.seal(HEAD, [body], limit_bytes)
    assert all(len(part) <= limit_bytes for part in parts)
    joiner = Joiner(SEALER, Kind.FRAME)
    # The first ones were sent twice, because the first time was broken off.
    found = [one for part in [*parts[: len(parts) // 2], *parts] for one in joiner.feed(part)]
    assert found[-1] == (HEAD, [body])


def test_a_missing_part_yields_nothing_and_the_next_body_is_whole() -> None:
    large = SEALER.seal(HEAD, [secrets.token_bytes(2000)], 500)
    (after,) = SEALER.seal(dataclasses.replace(HEAD, first=8, last=8), [8], 500)
    joiner = Joiner(SEALER, Kind.FRAME)
    assert [one for part in [large[0], *large[2:]] for one in joiner.feed(part)] == []
    assert [values for _, values in joiner.feed(after)] == [[8]]
    with pytest.raises(DamagedError, match="missing"):
        SEALER.open_whole(large[0], Kind.FRAME)


@given(st.data())
def test_every_flipped_bit_and_every_cut_is_refused(data: st.DataObject) -> None:
    (sealed,) = SEALER.seal(HEAD, [[5, b"payload"]], 4096)
    place = data.draw(st.integers(0, len(sealed) * 8 - 1))
    flipped = bytearray(sealed)
    flipped[place // 8] ^= 1 << place % 8
    for damaged in (bytes(flipped), sealed[: place // 8], sealed + b"x"):
        with pytest.raises((DamagedError, ForeignEnvelopeError)):
            SEALER.open(damaged, Kind.FRAME)


@given(st.binary(max_size=400))
def test_hostile_bytes_are_no_envelope(data: bytes) -> None:
    with pytest.raises((DamagedError, ForeignEnvelopeError)):
        SEALER.open_whole(data, Kind.BEAT)


def test_another_box_another_key_and_another_kind_are_told_apart() -> None:
    (sealed,) = SEALER.seal(HEAD, [1], 4096)
    with pytest.raises(ForeignEnvelopeError, match=BOX.hex()):
        Sealer(KEY, box_id(b"other" * 8)).open(sealed, Kind.FRAME)
    with pytest.raises(DamagedError, match="another standby key"):
        Sealer(b"K" * 32, BOX).open(sealed, Kind.FRAME)
    with pytest.raises(DamagedError, match="a frame where a beat belongs"):
        SEALER.open(sealed, Kind.BEAT)


def test_a_body_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = SEALER.seal(HEAD, [bytes(1_000_000)], 4096)
    monkeypatch.setattr("relay.delivery.standby.envelope.MAX_STANDBY_BODY_BYTES", 999_999)
    joiner = Joiner(SEALER, Kind.FRAME)
    with pytest.raises(DamagedError, match="999999"):
        [one for part in parts for one in joiner.feed(part)]


def test_the_largest_body_has_a_bound() -> None:
    with pytest.raises(ValueError, match="4096 entries"):
        SEALER.seal(HEAD, [secrets.token_bytes(5000)], OVERHEAD_BYTES + 1)


def test_checks_tell_payloads_apart() -> None:
    assert SEALER.check(b"a") == Sealer(KEY, BOX).check(b"a") != SEALER.check(b"b")
