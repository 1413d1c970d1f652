import hashlib
import zlib

import pytest

from relay.base.errors import InvalidInputError
from relay.base.limits import MAX_DIAGNOSTICS_PIECE_BYTES
from relay.console.pieces import Pieces
from tests.fakes.console_operator import MemoryBox
from tests.fakes.console_person import Person


@pytest.mark.parametrize("size", [1, MAX_DIAGNOSTICS_PIECE_BYTES, MAX_DIAGNOSTICS_PIECE_BYTES + 1])
def test_the_pieces_make_the_text_again(size: int) -> None:
    pieces, text = Pieces(), ("0123456789abcdef\n" * size)[:size]
    pieces.put(text)
    found, piece = "", pieces.at(0)
    while len(found) < size:
        piece = pieces.at(len(found))
        assert len(piece["text"]) <= MAX_DIAGNOSTICS_PIECE_BYTES
        assert piece["crc32"] == f"{zlib.crc32(piece['text'].encode()):08x}"
        assert piece == pieces.at(len(found))
        found += piece["text"]
        assert piece["next_offset"] == (len(found) if len(found) < size else None)
    assert (found, len(found)) == (text, piece["bytes"])
    assert piece["sha256"] == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("offset", [-1, 3, 1.5, True, "0", None])
def test_what_is_no_place_in_the_text_is_refused(offset: object) -> None:
    pieces = Pieces()
    pieces.put("abc")
    with pytest.raises(InvalidInputError, match="offset 0 makes a new text"):
        pieces.at(offset)


def test_a_program_on_a_locked_box_gets_the_text_piece_by_piece_and_the_next_one_does_not() -> None:
    person = Person(MemoryBox(provisioned=True, locks=True))
    person.box.long_text = ["x" * 70] * 60
    person.ask(seq=1, verb="set", settings={"log.level": "something private"})
    piece = person.ask(seq=2, verb="diagnostics")["result"]
    text = piece["text"]
    while piece["next_offset"]:
        piece = person.ask(seq=3, verb="diagnostics", offset=len(text))["result"]
        text += piece["text"]
    assert len(text) == piece["bytes"] > 2 * MAX_DIAGNOSTICS_PIECE_BYTES
    assert "> set\n< console.locked\n> diagnostics\n" in text
    assert "private" not in text
    assert sum(request["verb"] == "diagnostics" for request in person.box.asked) == 1
    person.act(person.session.unplugged())
    assert person.ask(seq=9, verb="diagnostics", offset=2048)["code"] == "input.invalid"


def test_a_person_on_a_locked_box_reads_it_and_it_is_not_kept() -> None:
    person = Person(MemoryBox(provisioned=True, locks=True))
    shown = person.type("", "status", "diagnostics")
    assert "== diagnostics ==" in shown
    assert "relay> status" in shown
    assert "== diagnostics" not in person.type("show transcript").partition("\n")[2]
