from hypothesis import given
from hypothesis import strategies as st

from relay.transport.wire.outgoing import Outgoing


@given(st.lists(st.binary(max_size=8)))
def test_everything_is_taken_once_and_in_order(pieces: list[bytes]) -> None:
    outgoing = Outgoing()
    outgoing._out.extend(pieces)
    assert outgoing.unsent_bytes == len(b"".join(pieces))
    assert outgoing.take() == b"".join(pieces)
    assert outgoing.unsent_bytes == 0
    assert outgoing.take() == b""
