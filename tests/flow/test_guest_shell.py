"""What the long run in a guest makes of its shell's words, which come in pieces."""

import pytest

from tests.guest.machine import printed_between


@pytest.mark.parametrize("rest", ["GUEST-READY# ", "ADY# ", "", "END-1a:0:\r\nGUEST-READY# "])
@pytest.mark.parametrize(("printed", "code"), [("0", "0"), ("", "1"), ("one\r\ntwo", "0"), ("> quoted", "0")])
def test_a_prompt_in_pieces_is_no_part_of_what_was_printed(rest: str, printed: str, code: str) -> None:
    line_end = "\r\n" if printed else ""
    said = f"{rest}> > BEGIN-2b\r\n{printed}{line_end}END-2b:{code}:".encode()
    assert printed_between(said, "2b") == (printed.replace("\r", ""), code)
