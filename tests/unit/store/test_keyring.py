from pathlib import Path

import pytest

from relay.base.errors import ConfigError, ConflictError, DamagedError, KeyAbsentError, WrongKeyError
from relay.store import keyring as keyring_module
from relay.store.keyring import KeyFile, Passphrase, create_keyring, open_keyring, rewrap_keyring, settle_keyring
from relay.store.packing import pack


@pytest.fixture(autouse=True)
def cheap_argon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring_module, "_ARGON_MEMORY_KIB", 64)
    monkeypatch.setattr(keyring_module, "_ARGON_PASSES", 1)


def key_file(tmp_path: Path, name: str = "root.key") -> KeyFile:
    source = KeyFile(tmp_path / name)
    source.create()
    return source


def test_a_key_file_opens_what_it_sealed_and_no_other_does(tmp_path: Path) -> None:
    state, source, other = tmp_path / "state", key_file(tmp_path), key_file(tmp_path, "other.key")
    made = create_keyring(state, source)
    assert open_keyring(state, source) == made
    before = (state / "keyring").read_bytes()
    with pytest.raises(WrongKeyError, match="nothing was changed"):
        open_keyring(state, other)
    assert (state / "keyring").read_bytes() == before
    assert [path.name for path in state.iterdir()] == ["keyring"]


def test_a_passphrase_opens_what_it_sealed_and_a_near_one_does_not(tmp_path: Path) -> None:
    made = create_keyring(tmp_path, Passphrase(b"correct horse"))
    assert open_keyring(tmp_path, Passphrase(b"correct horse")) == made
    with pytest.raises(WrongKeyError):
        open_keyring(tmp_path, Passphrase(b"correct Horse"))


def test_the_costs_of_a_passphrase_are_those_it_was_made_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = create_keyring(tmp_path, Passphrase(b"x"))
    monkeypatch.setattr(keyring_module, "_ARGON_PASSES", 2)
    assert open_keyring(tmp_path, Passphrase(b"x")) == made


def test_a_key_file_does_not_open_what_a_passphrase_sealed(tmp_path: Path) -> None:
    create_keyring(tmp_path, Passphrase(b"x"))
    with pytest.raises(ConfigError, match="sealed with a passphrase"):
        open_keyring(tmp_path, key_file(tmp_path))


def test_a_keyring_is_never_replaced_by_a_fresh_one(tmp_path: Path) -> None:
    source = key_file(tmp_path)
    create_keyring(tmp_path, source)
    with pytest.raises(FileExistsError):
        create_keyring(tmp_path, source)
    with pytest.raises(FileExistsError):
        source.create()


def test_a_missing_short_or_garbled_source_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not been provisioned"):
        open_keyring(tmp_path, Passphrase(b"x"))
    with pytest.raises(ConfigError, match="cannot be read"):
        create_keyring(tmp_path, KeyFile(tmp_path / "missing"))
    (tmp_path / "short").write_bytes(b"short")
    with pytest.raises(ConfigError, match="has 5 bytes"):
        create_keyring(tmp_path, KeyFile(tmp_path / "short"))
    (tmp_path / "keyring").write_bytes(b"\x00nonsense")
    with pytest.raises(DamagedError):
        open_keyring(tmp_path, Passphrase(b"x"))


def test_a_key_file_on_a_stick_that_is_not_in_may_still_come(tmp_path: Path) -> None:
    source = key_file(tmp_path)
    made = create_keyring(tmp_path / "state", source)
    awaited = KeyFile(tmp_path / "stick" / "root.key", awaited=True)
    with pytest.raises(KeyAbsentError, match="is not there"):
        open_keyring(tmp_path / "state", awaited)
    (tmp_path / "stick").mkdir()
    source.path.rename(awaited.path)
    assert open_keyring(tmp_path / "state", awaited) == made


def test_a_keyring_whose_parameters_are_garbled_is_said_to_be_none(tmp_path: Path) -> None:
    for parameters in ({"kind": "passphrase"}, {"kind": "passphrase", "salt": b"", "passes": 1, "memory_kib": 8}, 7):
        (tmp_path / "keyring").write_bytes(pack([1, b"s" * 16, parameters, b"n" * 24, b"sealed"]))
        with pytest.raises(DamagedError, match="not a keyring"):
            open_keyring(tmp_path, Passphrase(b"x"))


def test_a_change_of_sources_that_did_not_end_is_not_followed_by_another(tmp_path: Path) -> None:
    state, named, second, third = tmp_path / "state", *(key_file(tmp_path, name) for name in "abc")
    made = create_keyring(state, named)
    # The power goes before the settings name the second, and then the card refuses to be written to for a while.
    rewrap_keyring(state, made, second)
    with pytest.raises(ConflictError, match="did not end"):
        rewrap_keyring(state, made, third)
    assert open_keyring(state, named) == made
    settle_keyring(state, named)
    rewrap_keyring(state, made, third)
    settle_keyring(state, third)
    assert open_keyring(state, third) == made
