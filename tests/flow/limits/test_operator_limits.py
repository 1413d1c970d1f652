"""At each limit of the local operator's socket."""

import inspect
from pathlib import Path

import trio
import trio.testing

from relay.admin.address import short_address
from relay.admin.client import ask
from relay.base.limits import ADMIN_CALL_TIMEOUT_S, MAX_ADMIN_CONNECTIONS
from tests.flow.test_admin_socket import asked, box


async def test_so_many_operators_are_served_at_once_and_the_next_waits_its_turn(tmp_path: Path) -> None:
    with trio.fail_after(10):
        async with box(tmp_path):
            held = []
            for _ in range(MAX_ADMIN_CONNECTIONS - 1):
                with short_address(tmp_path) as address:
                    held.append(await trio.open_unix_socket(str(address)))
            assert (await asked(tmp_path, verb="status"))["running"] is True
            with short_address(tmp_path) as address:
                held.append(await trio.open_unix_socket(str(address)))
            answers = []

            async def wait() -> None:
                answers.append(await asked(tmp_path, verb="status"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await trio.sleep(0.05)
                assert answers == []
                await held.pop().aclose()
            assert answers[0]["running"] is True
            for stream in held:
                await stream.aclose()


def test_a_call_is_waited_for_so_long_unless_told_otherwise() -> None:
    assert inspect.signature(ask).parameters["timeout_s"].default == ADMIN_CALL_TIMEOUT_S
