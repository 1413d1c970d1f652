import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.errors import DamagedError, NewerFormatError
from relay.base.limits import MAX_PASSWORD_BYTES
from relay.household.accounts import hash_password
from relay.household.ownership import proves, seal, unseal

KEY = b"k" * 32


@given(st.lists(st.text(st.characters(codec="ascii"), max_size=100), max_size=3))
def test_what_is_sealed_comes_back_with_the_same_key_only(hashes: list[str]) -> None:
    content = seal(KEY, hashes)
    assert unseal(KEY, content) == hashes
    assert json.loads(content)["claimed"] is bool(hashes)
    with pytest.raises(DamagedError):
        unseal(b"x" * 32, content)


def test_nobody_without_the_key_gets_a_hash_to_guess_at() -> None:
    content = seal(KEY, ["$argon2id$v=19$m=19456"])
    assert b"argon2id" not in content
    assert bytes("$argon2id", "ascii").hex().encode() not in content


def test_a_box_cannot_be_made_to_look_as_if_nobody_had_claimed_it() -> None:
    fields = json.loads(seal(KEY, ["$argon2id$"]))
    with pytest.raises(DamagedError):
        unseal(KEY, json.dumps({**fields, "claimed": False}).encode())


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"format": "x"}', b"\xff", b"5", b'{"format": 1, "sealed": 5}']
)
def test_what_is_no_such_file_is_said_to_be_damaged(content: bytes) -> None:
    with pytest.raises(DamagedError):
        unseal(KEY, content)


def test_a_file_of_a_newer_release_is_left_to_that() -> None:
    with pytest.raises(NewerFormatError):
        unseal(KEY, b'{"format": 2}')


async def test_the_password_of_any_admin_proves_and_no_other() -> None:
    hashes = [await hash_password("correct horse"), await hash_password("battery staple")]
    assert proves(hashes, "correct horse")
    assert proves(hashes, "battery staple")
    assert not proves(hashes, "correct horsf")
    assert not proves(hashes, "x" * (MAX_PASSWORD_BYTES + 1))
    assert not proves([], "")
