import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.errors import DamagedError
from relay.box import tpm_commands as commands


def test_the_storage_root_key_is_the_one_of_tcgs_provisioning_guidance() -> None:
    # Header, owner, one session without a password, no secret of ours, the template, no data, no PCRs.
    assert commands.create_primary().hex(" ", -2) == (
        "8002 0000 0043 0000 0131 4000 0001 0000 0009 4000 0009 0000 0000 0000 0400 0000 0000 1a00 2300 0b00 0304"
        " 7200 0000 0600 8000 4300 1000 0300 1000 0000 0000 0000 0000 00"
    )


@given(st.binary(max_size=60))
def test_whatever_is_no_answer_is_refused_in_words(answer: bytes) -> None:
    for read in (commands.code_of, commands.handle_in, commands.public_in, commands.bytes_in):
        try:
            read(answer)
        except DamagedError as error:
            assert "TPM" in str(error)


def test_a_code_is_told_without_the_parameter_it_is_about() -> None:
    def answer(code: int) -> bytes:
        return struct.pack(">HII", 0x8001, 10, code)

    assert commands.code_of(answer(0)) == commands.SUCCESS
    assert commands.code_of(answer(0x1DF)) == commands.INTEGRITY
    assert commands.code_of(answer(0x99D)) == commands.POLICY_FAIL
    assert commands.code_of(answer(0x9A2)) == commands.BAD_AUTH
    assert commands.code_of(answer(0x921)) == commands.LOCKOUT


def test_registers_are_bits_from_the_right_of_the_first_byte() -> None:
    # TPMS_PCR_SELECT: register 0 is bit 0 of byte 0, register 9 is bit 1 of byte 1.
    assert commands.policy_pcr(1, [0, 9, 23])[-3:] == bytes([0x01, 0x02, 0x80])


def test_an_answer_longer_than_any_is_refused() -> None:
    with pytest.raises(DamagedError):
        commands.answer_size(struct.pack(">HII", 0x8001, commands.MAX_ANSWER_BYTES + 1, 0))
