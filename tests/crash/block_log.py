"""A recorded block device: what each moment of a cut may leave on it.

The format is that of the kernel's dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst), which QEMU's
`blklogwrites` driver writes too: a superblock of one sector, then for each request one sector of header and its data.

The model. What came before the last flush is on flash. Every later write may have reached flash or not, whole or each
512-byte sector for itself; the order they came in binds nobody.
"""

import dataclasses
import enum
import random  # noqa: TID251 - a seeded generator: the same states every time
import struct
from collections.abc import Iterator
from typing import BinaryIO

SECTOR_BYTES = 512
_SUPERBLOCK = struct.Struct("<QQQI")
_ENTRY = struct.Struct("<QQQQ")
_MAGIC = 0x6A736677736872
_FLUSH, _FUA, _DISCARD = 1, 2, 4


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One request to the device.

    Attributes:
        end: the size of the log, in bytes, once this request was in it.
        at: the first byte it wrote.
        source: where its data begins in the log.
        size: bytes written, 0 for a bare flush.
        flushes: whether everything up to here was made durable.
        lasting: whether its own data was made durable with it.
    """

    end: int
    at: int
    source: int
    size: int
    flushes: bool
    lasting: bool


class Weather(enum.Enum):
    """How cruel one cut is to what was not flushed."""

    MIXED = "each write is there, missing or torn"
    SECTORS = "each sector of each write is there or not"
    LAST = "only the last write is missing"
    NOTHING = "nothing is there"
    EVERYTHING = "everything is there"


def read_log(log: bytes) -> list[Request]:
    """Return the requests of a recording, in the order the device finished them.

    Raises:
        ValueError: this is no such log.
    """
    magic, _version, _count, sector_bytes = _SUPERBLOCK.unpack_from(log)
    if magic != _MAGIC or sector_bytes != SECTOR_BYTES:
        raise ValueError("not a block log with 512-byte sectors")
    requests: list[Request] = []
    place = SECTOR_BYTES
    while place + SECTOR_BYTES <= len(log):
        sector, sectors, flags, _ = _ENTRY.unpack_from(log, place)
        if not (sectors or flags):
            break
        place += SECTOR_BYTES
        # A discard promises nothing about what is read afterwards: the old bytes are as good as any.
        size = 0 if flags & _DISCARD else sectors * SECTOR_BYTES
        flushes, lasting = bool(flags & _FLUSH), bool(flags & _FUA)
        requests.append(Request(place + size, sector * SECTOR_BYTES, place, size, flushes, lasting))
        place += size
    return requests


class Replay:
    """The device as it may be found after a cut, for cuts in rising order.

    `image` holds what was there before the first request, and is brought forward as cuts go by.
    """

    def __init__(self, image: BinaryIO, log: bytes, requests: list[Request]) -> None:
        self._image = image
        self._log = memoryview(log)
        self._requests = requests
        self._applied = 0

    def cut(self, after: int, weather: Weather, chance: random.Random) -> tuple[list[tuple[int, bytes]], bool]:
        """Bring the image to the last flush among the first `after` requests.

        Returns the (place, bytes) of the later ones that survive, and whether any of them was torn.
        """
        flushed = next((n for n in range(after, self._applied, -1) if self._requests[n - 1].flushes), self._applied)
        for request in self._requests[self._applied : flushed]:
            self._put(request)
        self._applied = flushed
        kept: list[tuple[int, bytes]] = []
        torn = False
        for number in range(flushed, after):
            request = self._requests[number]
            fate = Weather.EVERYTHING if request.lasting else _fate(weather, chance, last=number == after - 1)
            if fate is Weather.EVERYTHING:
                kept.append((request.at, bytes(self._data(request))))
            elif fate is Weather.SECTORS:
                torn = torn or request.size > SECTOR_BYTES
                kept += self._some_sectors(request, chance)
        return kept, torn

    def _put(self, request: Request) -> None:
        if request.size:
            self._image.seek(request.at)
            self._image.write(self._data(request))

    def _data(self, request: Request) -> memoryview:
        return self._log[request.source : request.source + request.size]

    def _some_sectors(self, request: Request, chance: random.Random) -> Iterator[tuple[int, bytes]]:
        data = self._data(request)
        for start in range(0, request.size, SECTOR_BYTES):
            if chance.random() < 0.5:
                yield request.at + start, bytes(data[start : start + SECTOR_BYTES])


def _fate(weather: Weather, chance: random.Random, *, last: bool) -> Weather:
    match weather:
        case Weather.LAST:
            return Weather.NOTHING if last else Weather.EVERYTHING
        case Weather.MIXED:
            return chance.choices((Weather.NOTHING, Weather.SECTORS, Weather.EVERYTHING), (0.35, 0.25, 0.4))[0]
        case _:
            return weather
