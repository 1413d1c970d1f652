"""A reset while the box runs: the holder of the folder is stopped first, then everything goes."""

import fcntl
import os
from pathlib import Path

import trio

from relay.admin.operations import HouseOperator
from relay.admin.server import serve_admin
from relay.base.config import Config
from relay.cli.operate import operate
from tests.fakes.people import MemoryPeople, MemoryReport


async def test_a_running_box_is_stopped_and_then_forgotten(tmp_path: Path) -> None:
    (tmp_path / "relay.toml").write_text(Config.parse({"server": {"name": "box.example"}}).render())
    (tmp_path / "root.key").write_bytes(b"k" * 32)
    stopped = trio.Event()

    async def serve(task_status: trio.TaskStatus[None]) -> None:
        descriptor = os.open(tmp_path, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        operator = HouseOperator(MemoryPeople(), MemoryReport(), stop=lambda _restart: stopped.set())
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_admin, tmp_path, operator)
            task_status.started()
            await stopped.wait()
            nursery.cancel_scope.cancel()
        os.close(descriptor)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve)
            request = {"verb": "factory_reset", "confirm": "box.example"}
            result = await trio.to_thread.run_sync(operate, tmp_path, request)
    assert result == {"reset": True}
    assert list(tmp_path.iterdir()) == []
