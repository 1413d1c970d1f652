import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.transport.preamble import Preamble


@settings(deadline=None, max_examples=30)
@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=5), st.integers(1, 3), st.integers(0, 30))
def test_what_is_looked_at_and_not_dropped_is_received_in_order(pieces: list[bytes], looks: int, drop: int) -> None:
    async def run() -> bytes:
        ours, theirs = trio.testing.memory_stream_pair()
        preamble, received = Preamble(ours), b""
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                for piece in pieces:
                    await theirs.send_all(piece)
                await theirs.aclose()

            nursery.start_soon(send)
            for _ in range(looks):
                await preamble.look()
            seen = preamble.ahead
            preamble.drop(drop)
            received = seen[:drop]
            while data := await preamble.receive_some(7):
                assert len(data) <= 7
                received += data
        return received

    assert trio.run(run) == b"".join(pieces)


async def test_the_end_is_seen_and_everything_else_is_passed_on() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    preamble = Preamble(ours)
    await preamble.wait_send_all_might_not_block()
    await preamble.send_all(b"hello")
    assert await theirs.receive_some() == b"hello"
    await theirs.send_eof()
    assert not await preamble.look()
    assert await preamble.receive_some() == b""
    await preamble.aclose()
    assert await theirs.receive_some() == b""
