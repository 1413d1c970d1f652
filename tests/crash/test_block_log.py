"""The replay of a recorded block device keeps to what flushes promise."""

import io
import random  # noqa: TID251 - a seeded generator: the same states every time
import struct

import pytest

from tests.crash.block_log import SECTOR_BYTES, Replay, Weather, read_log

MAGIC = 0x6A736677736872


def entry(sector: int, data: bytes, flags: int = 0) -> bytes:
    return struct.pack("<QQQQ", sector, len(data) // SECTOR_BYTES, flags, 0).ljust(SECTOR_BYTES, b"\0") + data


def log_of(*entries: bytes) -> bytes:
    return struct.pack("<QQQI", MAGIC, 1, len(entries), SECTOR_BYTES).ljust(SECTOR_BYTES, b"\0") + b"".join(entries)


def four(letter: bytes) -> bytes:
    return letter * 4 * SECTOR_BYTES


LOG = log_of(entry(0, four(b"a")), entry(0, b"", 1), entry(0, four(b"b")), entry(4, four(b"c")))


def found(cut: int, weather: Weather, seed: int = 1) -> bytes:
    image = io.BytesIO(bytes(8 * SECTOR_BYTES))
    kept, _ = Replay(image, LOG, read_log(LOG)).cut(cut, weather, random.Random(seed))
    for place, data in kept:
        image.seek(place)
        image.write(data)
    return image.getvalue()


def test_requests_end_where_the_log_did_once_they_were_finished() -> None:
    assert [(request.at, request.size, request.flushes) for request in read_log(LOG)] == [
        (0, 2048, False), (0, 0, True), (0, 2048, False), (2048, 2048, False)
    ]  # fmt: skip
    assert read_log(LOG)[-1].end == len(LOG)
    assert read_log(LOG + bytes(4 * SECTOR_BYTES)) == read_log(LOG)


def test_another_file_is_no_log() -> None:
    with pytest.raises(ValueError, match="block log"):
        read_log(bytes(SECTOR_BYTES))


def test_what_was_flushed_is_always_there_and_the_rest_may_be() -> None:
    assert found(4, Weather.NOTHING) == four(b"a") + four(b"\0")
    assert found(4, Weather.LAST) == four(b"b") + four(b"\0")
    assert found(4, Weather.EVERYTHING) == four(b"b") + four(b"c")
    states = {found(4, Weather.MIXED, seed) for seed in range(200)}
    assert four(b"a") + four(b"c") in states, "the order of unflushed writes bound them"
    assert len(states) > 50, "writes are never torn"
    assert {byte for state in states for byte in state[:2048]} == set(b"ab")


def test_before_the_flush_nothing_is_certain() -> None:
    assert found(1, Weather.NOTHING) == bytes(8 * SECTOR_BYTES)
