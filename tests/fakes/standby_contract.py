"""What every standby's target does: run on the fake in the unit tests, on real engines in the interop tests."""

from relay.delivery.standby.target import Target, entries


async def check_target(target: Target) -> None:
    """Fail where `target` does not do what `relay.delivery.standby.target.Target` says."""
    await target.remove("b0")
    assert await target.names("b0") == []
    assert await target.last("b0/frames/01") is None
    assert await target.page("b0/frames/01", "") == ([], "")
    await _check_logs(target)
    await _check_replacing(target)
    await _check_removing(target)
    await target.remove("b0")
    assert await target.names("b0") == []
    assert "b0" not in await target.names("")


async def _check_logs(target: Target) -> None:
    sent = [b"%d" % number * 50 for number in range(8)]
    for number, data in enumerate(sent):
        await target.append("b0/frames/01", f"{number:04}", data)
    largest = bytes(range(256)) * (target.piece_bytes // 256)
    await target.append("b0/frames/02", "0008", largest)
    assert [data async for data in entries(target, "b0/frames/01")] == sent
    assert [data async for data in entries(target, "b0/frames/02")] == [largest]
    assert await target.last("b0/frames/01") == sent[-1]
    assert await target.names("b0") == ["frames"]
    assert await target.names("b0/frames") == ["01", "02"]
    assert "b0" in await target.names("")


async def _check_replacing(target: Target) -> None:
    for data in (b"one", b"two"):
        await target.replace("b0/beat", data)
        assert await target.last("b0/beat") == data
        assert [found async for found in entries(target, "b0/beat")] == [data]


async def _check_removing(target: Target) -> None:
    await target.remove("b0/frames/01")
    assert await target.names("b0/frames") == ["02"]
    # What was removed may be sent again, the very same bytes too.
    for number in range(3):
        await target.append("b0/frames/01", f"{number:04}", b"%d" % number * 50)
    assert [data async for data in entries(target, "b0/frames/01")] == [b"%d" % number * 50 for number in range(3)]
    await target.remove("b0/frames")
    assert await target.names("b0") == ["beat"]
