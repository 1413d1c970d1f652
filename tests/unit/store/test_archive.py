import os
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.base.errors import DamagedError, RelayError, WrongKeyError
from relay.store import archive
from relay.store.archive import HEADER_BYTES, ArchiveReader, ArchiveWriter
from relay.store.archive_key import Secret

SECRET = Secret.from_file(b"s" * 32)
RECORDS: list[list[Any]] = [["backup", {"id": b"1"}], ["rows", "events", None, [7], b"r" * 500], ["media", b"m" * 100]]
scalars = st.none() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=8) | st.binary(max_size=40)
values = scalars | st.lists(scalars | st.lists(scalars, max_size=3), max_size=3)


def seal(records: list[list[Any]], squeeze: list[bool] | None = None) -> bytes:
    writer = ArchiveWriter(SECRET.fresh())
    parts = [
        writer.add(record, squeeze=(squeeze or [True])[n % len(squeeze or [True])]) for n, record in enumerate(records)
    ]
    return b"".join(parts) + writer.finish()


def open_all(sealed: bytes, secret: Secret = SECRET) -> list[list[Any]]:
    reader = ArchiveReader(secret.key)
    records = reader.feed(sealed)
    reader.close()
    return records


def offset_of(error: RelayError) -> int:
    found = re.search(r"bytes? (\d+)", str(error))
    assert found, str(error)
    return int(found[1])


SEALED = seal(RECORDS, [True, True, False])


@settings(max_examples=25, deadline=None)
@given(
    records=st.lists(st.lists(values, min_size=1, max_size=4), max_size=6),
    squeeze=st.lists(st.booleans(), min_size=1, max_size=3),
    data=st.data(),
)
def test_how_the_bytes_are_cut_never_matters(
    records: list[list[Any]], squeeze: list[bool], data: st.DataObject
) -> None:
    sealed = seal(records, squeeze)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sealed)), max_size=8)))
    reader = ArchiveReader(SECRET.key)
    found: list[list[Any]] = []
    for start, end in zip([0, *cuts], [*cuts, len(sealed)], strict=True):
        found += reader.feed(sealed[start:end])
    reader.close()
    assert found == records


def test_large_records_span_frames_and_come_out_bounded() -> None:
    large: list[list[Any]] = [["rows", os.urandom(700_000)], ["rows", b"0" * 700_000], ["end"]]
    sealed = seal(large)
    assert len(sealed) < 720_000
    reader = ArchiveReader(SECRET.key)
    assert [
        record for byte in range(0, len(sealed), 4093) for record in reader.feed(sealed[byte : byte + 4093])
    ] == large
    reader.close()


def test_every_flipped_byte_is_found_with_the_place_of_its_piece() -> None:
    for place in range(len(SEALED)):
        changed = bytearray(SEALED)
        changed[place] ^= 1 << place % 8
        with pytest.raises((DamagedError, WrongKeyError)) as caught:
            open_all(bytes(changed))
        offset = offset_of(caught.value)
        assert offset <= place
        if place >= HEADER_BYTES:
            assert offset >= HEADER_BYTES


def test_every_truncation_is_found_with_the_place_of_the_piece_that_is_not_whole() -> None:
    for length in range(len(SEALED)):
        with pytest.raises(DamagedError, match="cut off") as caught:
            open_all(SEALED[:length])
        assert offset_of(caught.value) <= length


def test_what_follows_the_end_is_refused() -> None:
    with pytest.raises(DamagedError, match=f"ended at byte {len(SEALED)}"):
        open_all(SEALED + b"\0")
    with pytest.raises(DamagedError, match="something follows"):
        open_all(SEALED + SEALED)


def test_pieces_of_one_archive_do_not_fit_into_another() -> None:
    other = seal(RECORDS, [True, True, False])
    with pytest.raises(DamagedError, match=f"begins at byte {HEADER_BYTES}"):
        open_all(SEALED[:HEADER_BYTES] + other[HEADER_BYTES:])


def test_another_key_is_told_from_damage() -> None:
    with pytest.raises(WrongKeyError):
        open_all(SEALED, Secret.from_file(b"t" * 32))


def test_what_never_was_a_backup_is_named_as_such() -> None:
    with pytest.raises(DamagedError, match="not a backup"):
        open_all(b"PK\3\4")


def test_a_newer_format_is_refused_by_its_number() -> None:
    header = SEALED[: HEADER_BYTES - 4]
    newer = header[:8] + b"\2\0" + header[10:]
    sealed = newer + archive._checksum(newer) + SEALED[HEADER_BYTES:]
    with pytest.raises(DamagedError, match="format 2"):
        open_all(sealed)


def test_authentic_bytes_that_are_no_records_are_damage() -> None:
    for plain in (b"\xc1", b"\x05", b"\x90", b"\x92\x01"):
        writer = ArchiveWriter(SECRET.fresh())
        writer._waiting += plain
        with pytest.raises(DamagedError):
            open_all(writer.finish())


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300))
def test_hostile_bytes_give_one_clear_error(data: bytes) -> None:
    for hostile in (data, SEALED[:HEADER_BYTES] + data):
        with pytest.raises(RelayError):
            open_all(hostile)
