"""A card that answers each read and each sync after most of a second: whoever needs no flash waits for nobody."""

import threading
import time
from pathlib import Path

import trio

from relay.store.files import OsFile, OsFiles
from relay.store.ledger import Change, Index, Ledger, open_ledger
from relay.store.workers import ThreadWorkers
from relay.transport.message import Request, Response
from relay.transport.server import Server, listen
from tests.crash.killed_box import CONFIG, SEGMENT_BYTES
from tests.crash.workload import TABLES, put
from tests.fakes.ledger import KEYRING

DELAY_S = 0.25
SOON_S = 0.1


class SlowCard(OsFiles):
    """Real files whose reads and syncs take `DELAY_S` each while `slow`."""

    slow = False

    def open(self, path: Path, *, create: bool = False) -> OsFile:
        return _SlowFile(super().open(path, create=create), self)


class _SlowFile(OsFile):
    def __init__(self, file: OsFile, card: SlowCard) -> None:
        super().__init__(file._descriptor)
        self._card = card

    def read(self, size_bytes: int, offset: int) -> bytes:
        self._card_answers()
        return super().read(size_bytes, offset)

    def sync(self) -> None:
        self._card_answers()
        super().sync()

    def _card_answers(self) -> None:
        if self._card.slow:
            threading.Event().wait(DELAY_S)


async def test_other_connections_keep_moving_and_nothing_times_out_falsely(tmp_path: Path) -> None:
    card = SlowCard()
    async with open_ledger(
        tmp_path, KEYRING, (TABLES,), CONFIG, files=card, workers=ThreadWorkers(), segment_bytes=SEGMENT_BYTES
    ) as ledger:
        card.slow = True
        took_s: list[float] = []
        async with trio.open_nursery() as nursery:
            port = await serve(ledger, nursery)
            told: list[str] = []

            async def send(number: int) -> None:
                told.append(await asked(port, f"/put/{number}"))

            begun_s = time.monotonic()
            async with trio.open_nursery() as senders:
                for number in range(6):
                    senders.start_soon(send, number)
                while len(told) < 6:
                    at_s = time.monotonic()
                    assert await asked(port, "/static") == "200"
                    took_s.append(time.monotonic() - at_s)
            assert told == ["200"] * 6
            # Each was answered only after its sync, and few syncs were enough for all of them.
            assert DELAY_S <= time.monotonic() - begun_s < 6 * DELAY_S + 2
            nursery.cancel_scope.cancel()
        card.slow = False
        assert ledger.healthy
        assert await ledger.read(count) == 6
    # New connections with handshake of HTTP and all, while the card was at work.
    assert len(took_s) > 5
    assert sorted(took_s)[len(took_s) // 2] < SOON_S


async def serve(ledger: Ledger, nursery: trio.Nursery) -> str:
    async def answer(request: Request) -> Response:
        if request.path.startswith("/put/"):
            await ledger.run(put_note, int(request.path.removeprefix("/put/")))
        return Response.json({})

    door = await listen("127.0.0.1:0", None)
    await nursery.start(Server(answer).run, [door])
    return str(door.address)


async def asked(address: str, path: str) -> str:
    host, _, port = address.rpartition(":")
    stream = await trio.open_tcp_stream(host, int(port))
    async with stream:
        await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return (await stream.receive_some(1000)).split()[1].decode()


def put_note(change: Change, number: int) -> None:
    put(change, number, b"x" * 300)


def count(index: Index) -> int:
    found: int = index.value("SELECT count(*) FROM notes")
    return found
