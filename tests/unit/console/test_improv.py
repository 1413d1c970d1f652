from hypothesis import given
from hypothesis import strategies as st

from relay.console.improv import (
    AskInfo,
    AskNetwork,
    AskState,
    Begun,
    Command,
    DeviceName,
    Error,
    Event,
    Hostname,
    ImprovReader,
    Refused,
    Scan,
    SendWifi,
    State,
    Text,
    render_error,
    render_result,
    render_state,
)

# As logged from a browser asking for the current state.
ASK_STATE = bytes.fromhex("494D50524F5601030202 00E50A")


def rpc(number: int, payload: bytes = b"") -> bytes:
    packet = b"IMPROV\x01\x03" + bytes([len(payload) + 2, number, len(payload)]) + payload
    return packet + bytes([sum(packet) & 0xFF])


def commands(data: bytes) -> list[Event]:
    return [event for event in ImprovReader().receive(data) if not isinstance(event, Text | Begun)]


def test_a_request_that_a_browser_sent_is_read() -> None:
    assert ImprovReader().receive(ASK_STATE) == [Text(b"IMPROV"), Begun(), AskState(), Text(b"\n")]


def test_every_command_is_read() -> None:
    assert commands(rpc(1, b"\x0cMyWirelessAP\x10mysecurepassword")) == [SendWifi("MyWirelessAP", "mysecurepassword")]
    assert commands(rpc(1, b"\x04cafe\x00")) == [SendWifi("cafe", "")]
    assert commands(rpc(2) + rpc(3) + rpc(4) + rpc(7)) == [AskState(), AskInfo(), Scan(), AskNetwork()]
    assert commands(rpc(5) + rpc(5, b"box") + rpc(6, "bücher".encode())) == [
        Hostname(""),
        Hostname("box"),
        DeviceName("bücher"),
    ]


def test_a_password_is_not_shown_by_repr() -> None:
    assert "hunter2" not in repr(SendWifi("home", "hunter2"))


def test_what_is_no_command_is_refused_with_the_protocols_own_error() -> None:
    for payload in (b"", b"\x05abc\x00", b"\x00\x00", b"\x01a\x01b!", b"\x01\xff\x00"):
        assert commands(rpc(1, payload)) == [Refused(Error.INVALID_PACKET)], payload
    assert commands(rpc(4, b"why")) == [Refused(Error.INVALID_PACKET)]
    assert commands(rpc(8)) == [Refused(Error.UNKNOWN_COMMAND)]
    assert commands(render_state(State.READY)) == [Refused(Error.INVALID_PACKET)]


def test_a_packet_whose_sum_is_wrong_is_refused_and_the_next_is_read() -> None:
    garbled = bytearray(rpc(3))
    garbled[-1] ^= 1
    assert commands(bytes(garbled) + b"\n" + rpc(4)) == [Refused(Error.INVALID_PACKET), Scan()]


def test_a_lost_byte_costs_only_its_own_packet() -> None:
    whole = rpc(6, b"the doorstep")
    for lost in range(len(b"IMPROV\x01"), len(whole)):
        torn = whole[:lost] + whole[lost + 1 :]
        found = commands(torn + b"\n" + rpc(4) + b"\n" + rpc(3) + b"\n" * 300)
        assert found[-2:] == [Scan(), AskInfo()], lost


def test_the_rest_of_a_torn_packet_can_be_given_up() -> None:
    reader = ImprovReader()
    reader.receive(rpc(3)[:-2])
    assert reader.inside
    assert reader.give_up() == [Refused(Error.INVALID_PACKET)]
    assert reader.receive(b"help") == [Text(b"help")]
    assert reader.give_up() == []


def test_text_is_handed_on_as_it_arrives() -> None:
    reader = ImprovReader()
    assert reader.receive(b"IMP") == [Text(b"IMP")]
    assert reader.receive(b"IMPROVE\r") == [Text(b"IMPROVE\r")]


def test_packets_written_stand_between_newlines_with_their_sum() -> None:
    assert render_state(State.PROVISIONED) == b"\nIMPROV\x01\x01\x01\x04\xe4\n"
    assert render_error(Error.NONE) == b"\nIMPROV\x01\x02\x01\x00\xe1\n"
    assert render_result(Command.SCAN, []) == b"\nIMPROV\x01\x04\x02\x04\x00\xe8\n"
    packet = render_result(Command.SCAN, ["home", "-60", "YES"])
    assert packet[9:-2] == b"\x0f\x04\x0d\x04home\x03-60\x03YES"


def test_a_text_that_does_not_fit_is_left_out_with_those_after_it() -> None:
    packet = render_result(Command.DEVICE_INFO, ["a" * 200, "b" * 60, "c"])
    assert packet[10:-2] == bytes([3, 201, 200]) + b"a" * 200


stream = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from([b"I", b"IMP", b"IMPROV", b"IMPROV\x01", b"IIMPROV\x01\x03\x02\x02\x00"]),
        st.builds(rpc, st.integers(0, 9), st.binary(max_size=40)),
        st.builds(lambda packet, at: packet[:at] + packet[at + 1 :], st.just(rpc(6, b"name")), st.integers(0, 14)),
    ),
    max_size=8,
).map(b"".join)


def joined(events: list[Event]) -> list[Event]:
    whole: list[Event] = []
    for event in events:
        if isinstance(event, Text) and whole and isinstance(whole[-1], Text):
            whole[-1] = Text(whole[-1].data + event.data)
        else:
            whole.append(event)
    return whole


@given(stream, st.lists(st.integers(0, 200)))
def test_how_the_stream_is_split_never_matters(data: bytes, cuts: list[int]) -> None:
    reader, events, start = ImprovReader(), list[Event](), 0
    for cut in [*sorted(cut for cut in cuts if cut <= len(data)), len(data)]:
        events += reader.receive(data[start:cut])
        start = cut
    assert joined(events) == joined(ImprovReader().receive(data))


@given(stream)
def test_whatever_arrives_a_whole_packet_after_silence_is_read(data: bytes) -> None:
    reader = ImprovReader()
    reader.receive(data)
    reader.give_up()
    assert Scan() in reader.receive(b"\n" + rpc(4))
