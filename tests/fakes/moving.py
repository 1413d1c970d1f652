"""A small house to back up, and the way from a house to the bytes of a backup without a command line."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from relay.admin.requests import CreateBackup
from relay.app.backup import Backups
from relay.app.house import MEDIA_FOLDER, TABLES, Flash, House, open_house
from relay.base.config import Config
from relay.base.ids import DeviceId, UserId
from relay.delivery import media as media_rows
from relay.household import accounts, device_keys, devices, to_device
from relay.store.archive import ArchiveReader
from relay.store.archive_key import Secret
from relay.store.catalogue import keep_catalogue
from relay.store.ledger import Change
from relay.store.media_files import MediaFiles, SealedFile
from tests.fakes.ledger import SEGMENT_BYTES

ANNA = UserId("@anna:box.example")
PHONE = DeviceId("PHONE")
__all__ = [
    "ANNA",
    "CONFIG",
    "PHONE",
    "SECRET",
    "TABLES",
    "back_up",
    "keep_file",
    "records_of",
    "small_house",
    "write_mail",
]

SECRET = Secret.from_file(b"the key of these backups, 32 bytes!")
CONFIG = Config.parse(
    {"server": {"name": "box.example"}, "store": {"journal_segments": 4, "checkpoint_journal_mib": 4}}
)


def small_flash() -> Flash:
    return Flash(segment_bytes=SEGMENT_BYTES)


@asynccontextmanager
async def small_house(folder: Path, flash: Flash | None = None) -> AsyncIterator[House]:
    """Open a house in `folder`; a new one has its settings, a certificate and one account."""
    new = not folder.exists()
    if new:
        (folder / "tls").mkdir(parents=True)
        (folder / "tls" / "cert.pem").write_text("a certificate")
        (folder / "relay.toml").write_text(CONFIG.render())
    async with open_house(folder, CONFIG, flash or small_flash()) as house:
        if new:
            await house.ledger.run(furnish)
        yield house


def furnish(change: Change) -> None:
    accounts.create(change, ANNA, "a hash", 1)
    devices.ensure(change, ANNA, PHONE, "phone", 1)
    keys = {f"signed_curve25519:AAA{number}": {"key": str(number)} for number in range(3)}
    device_keys.upload(change, ANNA, PHONE, None, keys, {"signed_curve25519:fallback": {"key": "f"}})
    to_device.enqueue(change, ANNA, PHONE, UserId("@bob:far.example"), "m.test", {"n": 1}, "message-1")


def write_mail(change: Change, first: int, count: int) -> None:
    for number in range(first, first + count):
        to_device.enqueue(change, ANNA, PHONE, UserId("@bob:far.example"), "m.test", {"n": number, "x": "y" * 200})


async def keep_file(house: House, content: bytes) -> SealedFile:
    files = MediaFiles(house.folder / MEDIA_FOLDER, quota_bytes=1 << 30)
    async with files.receive(1 << 30) as writer:
        await writer.write(content)
        sealed = await writer.keep()

    def add_row(change: Change) -> None:
        change.write(
            media_rows._KEEP,
            1,
            sealed.file_id,
            1,
            1,
            sealed.file_id,
            sealed.key,
            sealed.size_bytes,
            sealed.sha256,
            "",
            "",
        )

    await house.ledger.run(add_row)
    return sealed


async def back_up(
    house: House,
    *,
    since_last: bool = False,
    keep: bool = True,
    backups: Backups | None = None,
    on_piece: Callable[[], Any] = lambda: None,
) -> tuple[bytes, dict[str, Any]]:
    """Return the bytes of a backup, and what the house says of it; `on_piece` is called whenever some came."""
    key = SECRET.fresh()
    reader, writer = os.pipe()
    request = CreateBackup(key.key.hex(), key.parameters.pack().hex(), since_last, writer)
    found: list[bytes] = []
    result: dict[str, Any] = {}

    async def create() -> None:
        try:
            result.update(await (backups or Backups(house)).create(request))
        finally:
            os.close(writer)

    async with trio.open_nursery() as nursery, trio.lowlevel.FdStream(reader) as stream:
        nursery.start_soon(create)
        async for piece in stream:
            found.append(bytes(piece))
            on_piece()
    if keep:
        keep_catalogue(house.folder, bytes.fromhex(result["id"]))
    return b"".join(found), result


def records_of(sealed: bytes) -> list[list[Any]]:
    reader = ArchiveReader(SECRET.key)
    records = reader.feed(sealed)
    reader.close()
    return records
