from pathlib import Path
from typing import Any

import pytest

from relay.base.errors import ConfigError, DamagedError, WrongKeyError
from relay.box.otp import Fuses
from relay.store.board_keys import FusedKey, VaultKey
from relay.store.keyring import KeyFile, create_keyring, open_keyring
from tests.fakes.mailbox import CUSTOMER, PRIVATE, FakeMailbox
from tests.fakes.tpm import FakeTpm

ROWS, OTHER_ROWS = tuple(range(1, 9)), tuple(range(2, 10))


def fused(tmp_path: Path, rows: tuple[int, ...], tag: int = PRIVATE) -> FusedKey:
    (tmp_path / "vcio").touch()
    return FusedKey(Fuses(tmp_path / "vcio", FakeMailbox({tag: rows})))


def test_the_fuses_of_one_board_open_what_they_sealed_and_another_boards_do_not(tmp_path: Path) -> None:
    state = tmp_path / "state"
    made = create_keyring(state, fused(tmp_path, ROWS))
    assert open_keyring(state, fused(tmp_path, ROWS)) == made
    before = (state / "keyring").read_bytes()
    with pytest.raises(WrongKeyError, match="nothing was changed"):
        open_keyring(state, fused(tmp_path, OTHER_ROWS))
    with pytest.raises(ConfigError, match="not the board"):
        open_keyring(state, fused(tmp_path, (0,) * 8))
    assert (state / "keyring").read_bytes() == before


def test_the_rows_that_counted_go_on_counting(tmp_path: Path) -> None:
    state = tmp_path / "state"
    made = create_keyring(state, fused(tmp_path, ROWS, CUSTOMER))
    (tmp_path / "vcio").touch()
    both = FusedKey(Fuses(tmp_path / "vcio", FakeMailbox({PRIVATE: OTHER_ROWS, CUSTOMER: ROWS})))
    assert open_keyring(state, both) == made


def test_the_key_is_not_the_rows_and_differs_from_box_to_box(tmp_path: Path) -> None:
    source = fused(tmp_path, ROWS)
    first, second = source.parameters(), source.parameters()
    keys = {source.root_key(first), source.root_key(second), source.fuses.read("private")}
    assert len(keys) == 3


def test_a_chip_opens_what_it_sealed_and_another_chip_does_not(tmp_path: Path) -> None:
    chip = FakeTpm()
    made = create_keyring(tmp_path, VaultKey(chip.tpm()))
    assert open_keyring(tmp_path, VaultKey(chip.tpm())) == made
    # All of it is in the one file: overwriting that forgets the key.
    assert [path.name for path in tmp_path.iterdir()] == ["keyring"]
    before = (tmp_path / "keyring").read_bytes()
    with pytest.raises(WrongKeyError):
        open_keyring(tmp_path, VaultKey(FakeTpm().tpm()))
    assert (tmp_path / "keyring").read_bytes() == before


def test_a_box_sealed_in_another_way_is_told_apart(tmp_path: Path) -> None:
    key = KeyFile(tmp_path / "root.key")
    key.create()
    create_keyring(tmp_path / "state", key)
    with pytest.raises(ConfigError, match="sealed with a file, not with a tpm"):
        open_keyring(tmp_path / "state", VaultKey(FakeTpm().tpm()))
    with pytest.raises(ConfigError, match="sealed with a file, not with a otp"):
        open_keyring(tmp_path / "state", fused(tmp_path, ROWS))


class OddVault:
    def seal(self, secret: bytes) -> dict[str, Any]:
        return {"private": secret, "public": b"", "pcrs": []}

    def unseal(self, parameters: dict[str, Any]) -> bytes:
        return b"short"


def test_a_key_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match="5 bytes"):
        create_keyring(tmp_path, VaultKey(OddVault()))
