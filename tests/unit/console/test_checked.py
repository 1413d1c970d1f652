import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.console.checked import DamagedLineError, add_checksum, take_checksum
from tests.fakes.console_operator import MemoryBox
from tests.fakes.console_person import Person


def test_the_checksum_is_of_what_stands_before_it() -> None:
    line = add_checksum(b'{"seq":1,"verb":"plan"}')
    assert line == b'{"seq":1,"verb":"plan","crc":"%08x"}' % zlib.crc32(b'{"seq":1,"verb":"plan"')
    assert take_checksum(line) == (b'{"seq":1,"verb":"plan"}', True)
    # A library that puts blanks between members is as good.
    text = json.dumps({"seq": 1, "verb": "plan"})[:-1]
    assert take_checksum(f'{text}, "crc": "{zlib.crc32(text.encode()):08X}"}}'.encode())[1]


def test_a_line_without_one_is_left_alone() -> None:
    for line in (b'{"seq":1,"verb":"plan"}', b'{"a":",\\"crc\\":\\"00000000\\"}"}', b"{"):
        assert take_checksum(line) == (line, False)


def test_a_checked_line_is_answered_by_a_checked_one() -> None:
    person = Person()
    (line,) = person.send(add_checksum(b'{"seq":1,"verb":"hello"}') + b"\n").splitlines()
    body, checked = take_checksum(line.encode())
    assert checked
    assert json.loads(body)["seq"] == 1
    (refused,) = person.send(b'{"seq":1,"verb":"hello","crc":"00000000"}\n').splitlines()
    body, checked = take_checksum(refused.encode())
    assert checked
    assert (json.loads(body)["seq"], json.loads(body)["code"]) == (None, "input.crc")


def test_a_damaged_line_is_refused_as_such() -> None:
    with pytest.raises(DamagedLineError):
        take_checksum(b'{"seq":2,"verb":"plan","crc":"00000000"}')


LINE = add_checksum(b'{"seq":1,"verb":"user_add","name":"otto","password":"correct horse"}') + b"\n"


@given(st.integers(0, len(LINE) - 1), st.sampled_from(["drop", "double", "flip"]), st.integers(0, 7))
def test_a_line_with_one_fault_is_never_acted_on(place: int, fault: str, bit: int) -> None:
    byte = LINE[place : place + 1]
    damaged = {"drop": b"", "double": byte * 2, "flip": bytes([byte[0] ^ 1 << bit])}[fault]
    line = LINE[:place] + damaged + LINE[place + 1 :]
    person = Person(MemoryBox(provisioned=True))
    person.send(line)
    # Doubling the newline, or a blank in front of the end, changes nothing of what was said.
    assert person.box.users in ({}, {"otto": "correct horse"})
    person.send(b"\x03\n" + LINE)
    assert person.box.users == {"otto": "correct horse"}
