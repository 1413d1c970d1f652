import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.base.errors import ConfigError, DamagedError, KeyAbsentError, WrongKeyError
from relay.box import tpm as tpm_module
from relay.box.tpm import Exchange, Tpm
from tests.fakes.tpm import FakeTpm, local_cipher
from tests.fakes.tpm_contract import SECRET, check_chip


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tpm_module, "_PAUSE_S", 0.0)


def test_a_secret_is_kept_for_this_chip_in_this_condition() -> None:
    check_chip(FakeTpm(), FakeTpm())


def test_nobody_on_the_wires_learns_the_secret() -> None:
    chip = FakeTpm()
    for pcrs in ((), (7,)):
        assert chip.tpm().unseal(chip.tpm(pcrs).seal(SECRET)) == SECRET
    assert len(chip.wire) > 30
    assert not any(SECRET in said for said in chip.wire)


@contextlib.contextmanager
def between(exchange: Exchange) -> Iterator[Exchange]:
    yield exchange


def test_an_impostor_with_a_storage_key_of_its_own_is_not_told_anything() -> None:
    chip, impostor = FakeTpm(), FakeTpm()
    sealed = chip.tpm().seal(SECRET)

    def exchange(command: bytes) -> bytes:
        answer = chip.exchange(command)
        return impostor.exchange(command) if command[6:10] == b"\0\0\x01\x31" else answer

    tpm = Tpm(Path("/dev/fake"), opens=lambda _: between(exchange), cipher=local_cipher)
    with pytest.raises(WrongKeyError, match="did not seal"):
        tpm.unseal(sealed)
    assert chip.loaded == {}
    # Only the name finds an impostor that opens the session itself; one that cannot is found by the chip.
    with pytest.raises(ConfigError):
        tpm.unseal({name: value for name, value in sealed.items() if name != "parent"})


@pytest.mark.parametrize("at", [14, 16, 20, 47, -1, -20])
def test_an_answer_that_somebody_changed_is_not_believed(at: int) -> None:
    chip = FakeTpm()
    sealed = chip.tpm().seal(SECRET)

    def exchange(command: bytes) -> bytes:
        answer = bytearray(chip.exchange(command))
        if command[6:10] == b"\0\0\x01\x5e":
            answer[at] ^= 1
        return bytes(answer)

    with pytest.raises(DamagedError, match=r"between the box and its TPM|ends too early"):
        Tpm(Path("/dev/fake"), opens=lambda _: between(exchange), cipher=local_cipher).unseal(sealed)


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


@pytest.mark.parametrize("error", [OSError(62, "Timer expired"), OSError(5, "Input/output error"), TimeoutError()])
def test_a_chip_that_does_not_answer_now_may_later(error: OSError) -> None:
    chip = FakeTpm()
    sealed = chip.tpm().seal(SECRET)

    def exchange(command: bytes) -> bytes:
        if command[6:10] == b"\0\0\x01\x5e":
            raise error
        return chip.exchange(command)

    with pytest.raises(KeyAbsentError, match="does not answer"):
        Tpm(Path("/dev/fake"), opens=lambda _: between(exchange), cipher=local_cipher).unseal(sealed)
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
