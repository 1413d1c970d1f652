from pathlib import Path

import pytest

from relay.base.errors import ConfigError, DamagedError, KeyAbsentError
from relay.box import tpm as tpm_module
from relay.box.tpm import Tpm
from tests.fakes.tpm import FakeTpm
from tests.fakes.tpm_contract import SECRET, check_chip


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tpm_module, "_PAUSE_S", 0.0)


def test_a_secret_is_kept_for_this_chip_in_this_condition() -> None:
    check_chip(FakeTpm(), FakeTpm())


def test_changed_parameters_open_nothing() -> None:
    chip = FakeTpm()
    sealed = chip.tpm((7,)).seal(SECRET)
    with pytest.raises(DamagedError, match="0x12f"):
        chip.tpm().unseal({**sealed, "pcrs": []})
    assert chip.loaded == {}


def test_a_chip_that_is_testing_itself_is_asked_again() -> None:
    chip = FakeTpm()
    sealed = chip.tpm().seal(SECRET)
    chip.codes = [0x90A, 0x922, 0x908]
    assert chip.tpm().unseal(sealed) == SECRET
    chip.codes = [0x922] * 100
    with pytest.raises(KeyAbsentError, match="busy"):
        chip.tpm().unseal(sealed)


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (0x921, KeyAbsentError, "left alone"),
        (0x100, KeyAbsentError, "not started"),
        (0x9A2, ConfigError, "password"),
        (0x98E, ConfigError, "password"),
        (0x101, DamagedError, "0x101"),
    ],
)
def test_a_refusal_is_said_in_words_and_leaves_nothing_in_the_chip(
    code: int, error: type[Exception], words: str
) -> None:
    chip = FakeTpm()
    chip.codes = [code]
    with pytest.raises(error, match=words):
        chip.tpm().seal(SECRET)
    assert chip.loaded == {}


def test_a_chip_that_is_not_there_may_come_and_one_that_is_none_does_not(tmp_path: Path) -> None:
    with pytest.raises(KeyAbsentError, match="no TPM"):
        Tpm(tmp_path / "tpmrm0").seal(SECRET)
    (tmp_path / "tpmrm0").touch()
    with pytest.raises(DamagedError, match="nonsense"):
        Tpm(tmp_path / "tpmrm0").seal(SECRET)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="cannot be used"):
        Tpm(tmp_path / "folder").seal(SECRET)
