"""Arbitrary damage to backups, and authentic backups with arbitrary content: a named error, and no folder."""

import contextlib
import random  # noqa: TID251 - a seeded generator: the same damage every time
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.app.house import Flash
from relay.app.restoring import Restorer
from relay.base.errors import RelayError
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import SEGMENT_BYTES, InlineWorkers
from tests.fakes.moving import back_up, keep_file, records_of, small_house, write_mail

pytestmark = pytest.mark.slow

FOLDER = Path("/boxes/new")
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
)
values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(max_size=4), scalars, max_size=3)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    async def make() -> bytes:
        async with small_house(tmp_path_factory.mktemp("box") / "old") as house:
            await house.ledger.run(write_mail, 0, 300)
            await keep_file(house, random.Random(1).randbytes(200_000))
            return (await back_up(house))[0]

    return trio.run(make)


class FixedSource:
    """A root key without a file."""

    def parameters(self) -> dict[str, Any]:
        return {"kind": "fixed"}

    def root_key(self, parameters: dict[str, Any]) -> bytes:
        return b"r" * 32


def restore(files: MemoryFiles, records: list[list[Any]]) -> None:
    flash = Flash(files=files, workers=InlineWorkers(), segment_bytes=SEGMENT_BYTES)
    with Restorer(FOLDER, {}, source=FixedSource(), flash=flash).building() as restorer:
        for record in records:
            restorer.take(record)
        restorer.finish()


@pytest.mark.parametrize("batch", range(4))
def test_a_damaged_archive_is_refused_whole(sealed: bytes, batch: int) -> None:
    for seed in range(batch * 75, (batch + 1) * 75):
        chance = random.Random(seed)
        damaged = damage(sealed, chance)
        with pytest.raises(RelayError, match=r"byte|begin like|another key"):
            records_of(damaged)


def damage(sealed: bytes, chance: random.Random) -> bytes:
    content = bytearray(sealed)
    place, other = sorted(chance.randrange(len(content)) for _ in range(2))
    match chance.choice(["flip", "cut", "drop", "double", "fill", "swap"]):
        case "flip":
            content[place] ^= chance.randint(1, 255)
        case "cut":
            del content[place:]
        case "drop":
            del content[place : other + 1]
        case "double":
            content[place:place] = content[place : other + 1]
        case "fill":
            content[place : place + 20] = chance.randbytes(chance.choice((19, 20, 21)))
        case "swap":
            middle = (place + other) // 2
            content[place : other + 1] = content[middle : other + 1] + content[place:middle] + b"x"
    return bytes(content)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_authentic_records_of_any_content_give_a_named_error_or_a_box(sealed: bytes, data: st.DataObject) -> None:
    records = [list(record) for record in records_of(sealed)]
    for _ in range(data.draw(st.integers(1, 3))):
        number = data.draw(st.integers(0, len(records) - 1))
        match data.draw(st.sampled_from(["field", "record", "drop", "double"])):
            case "field":
                place = data.draw(st.integers(0, len(records[number]) - 1))
                records[number][place] = data.draw(values)
            case "record":
                records[number] = data.draw(st.lists(values, min_size=1, max_size=6))
            case "drop" if len(records) > 1:
                del records[number]
            case "double":
                records.insert(data.draw(st.integers(0, len(records))), list(records[number]))
    files = MemoryFiles()
    try:
        with contextlib.suppress(RelayError):
            restore(files, records)
            return
        assert not files.contents
    finally:
        files.unregister()
