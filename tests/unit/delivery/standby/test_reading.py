import contextlib

import pytest

from relay.base.errors import NotFoundError
from relay.delivery.standby.envelope import Head, Kind, Sealer, box_id
from relay.delivery.standby.reading import DamagedCopyError, Reader, list_copies
from tests.fakes.files import MemoryFiles
from tests.fakes.standby_target import MemoryTarget
from tests.fakes.standing_by import BOX, key_in, note, restore, standing_by


async def filled() -> tuple[MemoryTarget, bytes]:
    target = MemoryTarget()
    async with standing_by(target, MemoryFiles()) as house:
        await house.ledger.run(note, "in the base")
        await house.settle()
        for number in range(5):
            await house.ledger.run(note, f"note {number}")
            await house.settle()
        return target, await key_in(house.ledger)


def frames_of(target: MemoryTarget) -> dict[str, bytes]:
    return target.logs[max(log for log in target.logs if "/frames/" in log)]


def flip(data: bytes, place: int = -1) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


async def test_a_damaged_frame_is_refused_and_named_with_what_is_before_it(autojump_clock: object) -> None:
    target, key = await filled()
    frames = frames_of(target)
    names = sorted(frames)
    whole = await restore(target, key)
    frames[names[-2]] = flip(frames[names[-2]])
    with pytest.raises(DamagedCopyError, match=f"after commit {whole.held - 2}, at the target: it is") as caught:
        await restore(target, key)
    assert caught.value.held == whole.held - 2


async def test_another_boxs_frame_is_refused_as_such(autojump_clock: object) -> None:
    target, key = await filled()
    frames = frames_of(target)
    foreign = Sealer(key, box_id(b"x" * 32)).seal(Head(kind=Kind.FRAME, first=3, last=3), [[3, b""]], 4096)
    frames[max(frames)] = foreign[0]
    with pytest.raises(DamagedCopyError, match=r"put there by somebody else: it is of box [0-9a-f]{16}"):
        await restore(target, key)


async def test_a_frame_that_is_missing_ends_the_commits_before_it(autojump_clock: object) -> None:
    target, key = await filled()
    frames = frames_of(target)
    held = (await restore(target, key)).held
    del frames[sorted(frames)[-2]]
    second = await restore(target, key)
    assert second.held == held - 2
    assert second.reader.newest == held
    assert second.notes[-1] == "note 2"


async def test_frames_of_another_history_are_left_out(autojump_clock: object) -> None:
    target, key = await filled()
    held = (await restore(target, key)).held
    other = Head(kind=Kind.FRAME, chain=b"another!", first=held + 1, last=held + 1, newest=held + 1)
    frames_of(target)[f"{held + 1:016x}-0000"] = Sealer(key, BOX).seal(other, [[held + 1, b"\x91\x01"]], 4096)[0]
    assert (await restore(target, key)).held == held


@pytest.mark.parametrize("log", ["whole", "beat", "base"])
async def test_a_damaged_base_or_seal_is_refused(log: str, autojump_clock: object) -> None:
    target, key = await filled()
    name = max(name for name in target.logs if name.startswith(f"{BOX.hex()}/{log}"))
    entry = min(target.logs[name])
    target.logs[name][entry] = flip(target.logs[name][entry])
    with pytest.raises(DamagedCopyError, match="at the target: it is damaged, or was sealed with another standby key"):
        await restore(target, key)


async def test_a_piece_too_few_is_noticed(autojump_clock: object) -> None:
    target, key = await filled()
    name = max(name for name in target.logs if "/base/" in name)
    target.logs[name].pop(max(target.logs[name]))
    with pytest.raises(DamagedCopyError, match=r"base \d+ has 0 pieces of 1"):
        await restore(target, key)


async def test_another_key_opens_nothing(autojump_clock: object) -> None:
    target, _ = await filled()
    with pytest.raises(DamagedCopyError, match="another standby key"):
        await restore(target, b"wrong" * 6 + b"ky")


async def test_boxes_are_listed_by_their_last_sign_of_life(autojump_clock: object) -> None:
    target, key = await filled()
    later = Head(kind=Kind.BEAT, at_ms=1_900_000_000_000)
    other = box_id(b"o" * 32)
    await target.replace(f"{other.hex()}/beat", Sealer(key, other).seal(later, ["b", 0], 4096)[0])
    await target.replace("rubbish/beat", b"rubbish")
    await target.replace(f"{'0' * 16}/whole", b"rubbish")
    first, second = await list_copies(target)
    assert (first.box, first.base, first.at_ms) == (other, None, 1_900_000_000_000)
    assert second.box == BOX
    assert second.base is not None
    with pytest.raises(NotFoundError, match="has not sent a whole base"):
        await Reader(target, key, other).open()


async def test_a_file_with_a_piece_missing_is_refused(autojump_clock: object) -> None:
    target, key = await filled()
    async with standing_by(target, MemoryFiles()) as house:
        await house.keep_file("aa", b"sealed" * 3000)
        await house.settle()
        key = await key_in(house.ledger)
    target.logs[f"{BOX.hex()}/media/aa"].popitem()
    reader = Reader(target, key, BOX)
    await reader.open()
    with pytest.raises(DamagedCopyError, match="file aa has"):
        async with contextlib.aclosing(reader.file("aa")) as pieces:
            [piece async for piece in pieces]
