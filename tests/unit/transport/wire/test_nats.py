import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.errors import InvalidInputError
from relay.base.limits import MAX_NATS_LINE_BYTES, MAX_NATS_MESSAGE_BYTES
from relay.transport.wire.nats import (
    Event,
    Info,
    Message,
    NatsProtocolError,
    NatsReader,
    Okay,
    Ping,
    Pong,
    Refusal,
    connect,
    publish,
    subscribe,
)

SESSION = (
    b'INFO {"server_id":"A","version":"2.14.9","proto":1,"max_payload":1048576}\r\n'
    b"+OK\r\nPONG\r\nping\r\n"
    b"MSG FOO.BAR 9 11\r\nHello World\r\n"
    b"MSG \t FOO.BAR\t9  GREETING.34   0 \r\n\r\n"
    b"HMSG FOO.BAR 9 BAZ.69 34 45\r\nNATS/1.0\r\nFoodGroup: vegetable\r\n\r\nHello World\r\n"
    b"HMSG inbox.1 2 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"
    b"HMSG inbox.2 2 45 45\r\nNATS/1.0 204 EOB\r\nNats-Num-Pending: 00012\r\n\r\n\r\n"
    b"-ERR 'Authorization Violation'\r\n"
)
SAID: list[Event] = [
    Info({"server_id": "A", "version": "2.14.9", "proto": 1, "max_payload": 1048576}),
    Okay(),
    Pong(),
    Ping(),
    Message("FOO.BAR", "9", "", b"Hello World"),
    Message("FOO.BAR", "9", "GREETING.34", b""),
    Message("FOO.BAR", "9", "BAZ.69", b"Hello World", headers=[("FoodGroup", "vegetable")]),
    Message("inbox.1", "2", "", b"", status=503, headers=[]),
    Message("inbox.2", "2", "", b"", status=204, description="EOB", headers=[("Nats-Num-Pending", "00012")]),
    Refusal("Authorization Violation"),
]


@given(st.lists(st.integers(0, len(SESSION)), max_size=12))
def test_however_the_bytes_are_cut_the_server_says_the_same(cuts: list[int]) -> None:
    reader, said = NatsReader(), []
    edges = [0, *sorted(cuts), len(SESSION)]
    for start, end in itertools.pairwise(edges):
        said += reader.feed(SESSION[start:end])
    assert said == SAID
    assert reader.waiting_bytes == 0


def test_byte_by_byte_too() -> None:
    reader = NatsReader()
    assert [event for byte in SESSION for event in reader.feed(bytes([byte]))] == SAID


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_hostile_bytes_give_a_clear_error_or_wait_for_more(pieces: list[bytes]) -> None:
    reader = NatsReader()
    try:
        for piece in pieces:
            reader.feed(piece)
    except NatsProtocolError as error:
        assert str(error).startswith("the NATS server sent ")
        with pytest.raises(NatsProtocolError):
            reader.feed(SESSION)


@given(st.data())
def test_a_session_with_flipped_bytes_never_breaks_the_reader(data: st.DataObject) -> None:
    garbled = bytearray(SESSION)
    for place in data.draw(st.lists(st.integers(0, len(SESSION) - 1), min_size=1, max_size=4)):
        garbled[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(NatsProtocolError):
        NatsReader().feed(bytes(garbled))


@pytest.mark.parametrize(
    "said",
    [
        b"HELLO\r\n",
        b"INFO [1]\r\n",
        b"INFO {\r\n",
        b"MSG a 1\r\n",
        b"MSG a 1 -5\r\n",
        b"MSG a 1 b c 5\r\n",
        b"MSG a 1 %d\r\n" % (MAX_NATS_MESSAGE_BYTES + 1),
        b"MSG a 1 99999999999999999999\r\n",
        b"MSG a 1 2\r\nabc\r\n",
        b"MSG \xff 1 0\r\n\r\n",
        b"HMSG a 1 9 5\r\n",
        b"HMSG a 1 4 4\r\nabcd\r\n",
        b"HMSG a 1 15 15\r\nNATS/1.0\r\nab\r\n\r\n\r\n",
        b"x" * (MAX_NATS_LINE_BYTES + 2),
        b"+OK" + b" " * MAX_NATS_LINE_BYTES + b"\r\n",
    ],
)
def test_what_the_protocol_does_not_know_ends_it(said: bytes) -> None:
    with pytest.raises(NatsProtocolError):
        NatsReader().feed(said)


def test_a_message_at_the_limit_is_taken() -> None:
    payload = b"x" * MAX_NATS_MESSAGE_BYTES
    (message,) = NatsReader().feed(b"MSG a 1 %d\r\n%s\r\n" % (len(payload), payload))
    assert isinstance(message, Message)
    assert message.payload == payload


def test_what_the_documentation_shows_is_what_is_sent() -> None:
    assert publish("FOO", b"Hello NATS!") == b"PUB FOO 11\r\nHello NATS!\r\n"
    assert publish("FRONT.DOOR", b"Knock Knock", reply="JOKE.22") == b"PUB FRONT.DOOR JOKE.22 11\r\nKnock Knock\r\n"
    assert publish("NOTIFY", b"") == b"PUB NOTIFY 0\r\n\r\n"
    assert (
        publish("FOO", b"Hello NATS!", headers=[("Bar", "Baz")])
        == b"HPUB FOO 22 33\r\nNATS/1.0\r\nBar: Baz\r\n\r\nHello NATS!\r\n"
    )
    assert (
        publish("FRONT.DOOR", b"Knock Knock", reply="JOKE.22", headers=[("BREAKFAST", "donut"), ("LUNCH", "burger")])
        == b"HPUB FRONT.DOOR JOKE.22 45 56\r\nNATS/1.0\r\nBREAKFAST: donut\r\nLUNCH: burger\r\n\r\nKnock Knock\r\n"
    )
    assert subscribe("FOO.*", "1") == b"SUB FOO.* 1\r\n"
    assert connect({"verbose": False}) == b'CONNECT {"verbose":false}\r\n'


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPUB b 0", "a..b", ".a", "a.*", "a.>", "a\u00e4"])
def test_a_subject_that_would_break_the_line_is_not_sent(subject: str) -> None:
    with pytest.raises(InvalidInputError):
        publish(subject, b"")


@pytest.mark.parametrize("header", [("a:b", "c"), ("a b", "c"), ("a", "b\r\nc: d"), ("", "c")])
def test_a_header_that_would_break_the_block_is_not_sent(header: tuple[str, str]) -> None:
    with pytest.raises(InvalidInputError):
        publish("a", b"", headers=[header])
