"""The admin socket from end to end: a real socket in a real folder, the blocking client in a thread."""

import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from relay.admin.address import SOCKET_NAME, short_address
from relay.admin.client import NotRunningError, ask
from relay.admin.operations import HouseOperator
from relay.admin.server import serve_admin
from relay.base.errors import UnreachableError
from relay.base.limits import MAX_ADMIN_LINE_BYTES
from relay.base.lines import AnsweredError
from tests.fakes.people import MemoryPeople, MemoryReport


class Breaking(MemoryReport):
    async def status(self) -> dict[str, Any]:
        raise ZeroDivisionError("swordfish")


@asynccontextmanager
async def box(folder: Path, report: MemoryReport | None = None) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        operator = HouseOperator(MemoryPeople(), report or MemoryReport(), stop=lambda _: nursery.cancel_scope.cancel())
        await nursery.start(serve_admin, folder, operator)
        yield
        nursery.cancel_scope.cancel()


async def asked(folder: Path, **fields: Any) -> dict[str, Any]:
    return await trio.to_thread.run_sync(lambda: ask(folder, fields, timeout_s=5))


async def test_an_operator_is_answered_over_the_socket(tmp_path: Path) -> None:
    async with box(tmp_path):
        assert stat.S_IMODE((tmp_path / SOCKET_NAME).stat().st_mode) == 0o600
        assert await asked(tmp_path, verb="user_add", name="anna", password="x") == {"user": "@anna:box.example"}
        assert (await asked(tmp_path, verb="status"))["running"] is True
        with pytest.raises(AnsweredError, match="taken"):
            await asked(tmp_path, verb="user_add", name="anna", password="x")
        with pytest.raises(AnsweredError, match="no such verb"):
            await asked(tmp_path, verb="dance")
    assert not (tmp_path / SOCKET_NAME).exists()


async def test_nobody_listening_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError):
        await asked(tmp_path, verb="status")
    with pytest.raises(NotRunningError):
        await asked(tmp_path / "nowhere", verb="status")


async def test_a_socket_left_by_a_power_cut_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as old, short_address(tmp_path) as address:
        old.bind(address)
    with pytest.raises(NotRunningError):
        await asked(tmp_path, verb="status")
    async with box(tmp_path):
        assert (await asked(tmp_path, verb="status"))["running"] is True


async def test_the_path_of_the_folder_may_be_longer_than_a_socket_address(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120) / ("e" * 120)
    deep.mkdir(parents=True)
    async with box(deep):
        assert (await asked(deep, verb="status"))["running"] is True


async def test_the_order_to_stop_is_answered_before_the_box_stops(tmp_path: Path) -> None:
    async with box(tmp_path):
        assert await asked(tmp_path, verb="stop") == {"stopping": True}


async def test_a_bug_in_one_answer_is_an_error_without_details_and_the_box_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with box(tmp_path, Breaking()):
        with pytest.raises(AnsweredError, match="the box failed"):
            await asked(tmp_path, verb="status")
        assert await asked(tmp_path, verb="user_list") == {"users": []}
    captured = capsys.readouterr()
    assert "swordfish" not in captured.out + captured.err


async def test_an_endless_line_ends_the_connection_with_a_reason(tmp_path: Path) -> None:
    async with box(tmp_path):
        with socket.socket(socket.AF_UNIX) as raw, short_address(tmp_path) as address:
            raw.connect(address)
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(raw))
            with trio.fail_after(5):
                await stream.send_all(b"x" * (MAX_ADMIN_LINE_BYTES + 1))
                reply = await stream.receive_some(4096)
                assert b"input.too_large" in reply
                assert await stream.receive_some(4096) == b""


async def test_a_box_that_goes_away_while_asked_is_unreachable(tmp_path: Path) -> None:
    listener = trio.socket.socket(socket.AF_UNIX)
    with short_address(tmp_path) as address:
        await listener.bind(address)
    listener.listen(1)

    async def hang_up() -> None:
        connection, _ = await listener.accept()
        connection.close()

    with listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hang_up)
            with pytest.raises(UnreachableError):
                await asked(tmp_path, verb="status")
