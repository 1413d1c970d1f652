import pytest
import trio

from relay.base.lone_errors import unwrapped


async def test_a_lone_error_comes_out_as_it_was_raised() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with unwrapped(), trio.open_nursery():
            raise KeyError("mine")


async def test_several_stay_together(autojump_clock: object) -> None:
    async def fail() -> None:
        raise ValueError("theirs")

    with pytest.RaisesGroup(KeyError, ValueError):
        async with unwrapped(), trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            raise KeyError("mine")
