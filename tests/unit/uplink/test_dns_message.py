import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.limits import MAX_MDNS_BYTES, MAX_MDNS_RECORDS
from relay.uplink.dns_message import (
    ANY,
    PTR,
    SRV,
    TXT,
    A,
    DnsMessageError,
    Message,
    Name,
    Question,
    Record,
    cost,
    pack_message,
    pack_name,
    read_message,
)

HOST: Name = (b"box", b"local")
KIND: Name = (b"_doorstep", b"_tcp", b"local")
LABELS = st.binary(min_size=1, max_size=12)
NAMES = st.lists(LABELS, max_size=4).map(tuple)
RECORDS = st.builds(Record, NAMES, st.sampled_from([A, TXT]), st.binary(max_size=20), st.integers(0, 1 << 31))


@given(
    st.lists(st.builds(Question, NAMES, st.just(ANY), st.booleans()), max_size=3),
    st.lists(RECORDS, max_size=4),
    st.lists(RECORDS, max_size=4),
    st.booleans(),
)
def test_what_is_packed_is_read_back(
    questions: list[Question], answers: list[Record], more: list[Record], truncated: bool
) -> None:
    sent = Message(
        response=True,
        truncated=truncated,
        number=7,
        questions=tuple(questions),
        answers=tuple(answers),
        additionals=tuple(more),
    )
    assert read_message(pack_message(sent)) == sent


def test_names_in_rdata_are_written_out_however_they_were_compressed() -> None:
    plain = pack_message(Message(response=True, answers=(Record(KIND, PTR, pack_name((b"x", *KIND)), 1),)))
    # The same record with a pointer to its owner, which stands right behind the header.
    head = plain[: plain.index(b"\0", 13) + 9]
    squeezed = head + (4).to_bytes(2) + b"\x01x\xc0\x0c"
    assert read_message(squeezed).answers == read_message(plain).answers
    srv = head.replace((12).to_bytes(2) + b"\0\1", SRV.to_bytes(2) + b"\0\1") + (8).to_bytes(2) + bytes(6) + b"\xc0\x0c"
    assert read_message(srv).answers[0].data[6:] == pack_name(KIND)


def test_owners_are_compressed() -> None:
    once = pack_message(Message(answers=(Record(KIND, TXT, b"\0", 1),)))
    twice = pack_message(Message(answers=(Record(KIND, TXT, b"\0", 1),) * 2))
    assert len(twice) - len(once) == 2 + 10 + 1


def name_at(data: bytes) -> bytes:
    return bytes(4) + (1).to_bytes(2) + bytes(6) + data + b"\0\x01\0\x01"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(11),
        bytes(MAX_MDNS_BYTES + 1),
        bytes([0, 0, 0x28, 0]) + bytes(8),
        bytes([0, 0, 0x84, 3]) + bytes(8),
        bytes(4) + MAX_MDNS_RECORDS.to_bytes(2) + (1).to_bytes(2) + bytes(4),
        name_at(b"\xc0\x0c"),
        name_at(b"\xc0\x0e\x00"),
        name_at(b"\x40" + b"x" * 64 + b"\0"),
        name_at((b"\x3f" + b"x" * 63) * 4 + b"\0"),
        name_at(b"\x05ab"),
        name_at(b""),
        pack_message(Message(answers=(Record(HOST, A, bytes(4), 1),)))[:-1],
        pack_message(Message(answers=(Record(KIND, PTR, b"\x09abc", 1),))),
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(DnsMessageError):
        read_message(data)


@given(st.binary(max_size=200), st.integers(0, 60))
def test_hostile_bytes_are_refused_or_read(data: bytes, place: int) -> None:
    good = pack_message(Message(questions=(Question(KIND, PTR),), answers=(Record(KIND, PTR, pack_name(HOST), 1),)))
    for hostile in (data, good[:place] + data[:4] + good[place + 4 :], bytes(4) + b"\0\1\0\1\0\0\0\0" + data):
        try:
            read_message(hostile)
        except DnsMessageError:
            continue


@pytest.mark.parametrize(("pointers", "good"), [(1, True), (126, True), (127, False), (4000, False)])
def test_a_chain_of_pointers_is_not_walked_to_its_end(pointers: int, good: bool) -> None:
    # The data of a first record are pointers, each to the one before it; a second one's owner leads to the last.
    header = bytes(4) + bytes(2) + (1).to_bytes(2) + bytes(2) + (1).to_bytes(2)
    data = b"".join((0xC000 | place).to_bytes(2) for place in [12, *range(23, 21 + 2 * pointers, 2)])
    first = b"\0" + TXT.to_bytes(2) + b"\0\1" + bytes(4) + len(data).to_bytes(2) + data
    last = (0xC000 | 21 + 2 * pointers).to_bytes(2) + A.to_bytes(2) + b"\0\1" + bytes(4) + bytes(2)
    if good:
        assert read_message(header + first + last).additionals[0].name == ()
        return
    with pytest.raises(DnsMessageError, match="too often"):
        read_message(header + first + last)


def test_what_a_datagram_costs_is_seen_without_reading_it() -> None:
    assert cost(b"") == 1
    assert cost(pack_message(Message(questions=(Question(HOST, A),)))) == pytest.approx(1.1, abs=0.05)
    assert cost(b"\xff" * MAX_MDNS_BYTES) == pytest.approx(1 + MAX_MDNS_RECORDS / 16 + MAX_MDNS_BYTES / 1024)
