from pathlib import Path

import pytest

from relay.app.house import unlock
from relay.base.config import Config, StoreConfig, load
from relay.base.errors import ConflictError, KeyAbsentError, RelayError, WrongKeyError
from relay.base.trial import NETWORK_BEFORE
from relay.cli import key_move, settings
from relay.cli.key_move import is_moved
from relay.store import keyring
from relay.store.keyring import Keyring

FIRST = Config.parse({"server": {"name": "box.example"}})
PHRASE = "a phrase that only we know"


@pytest.fixture(autouse=True)
def cheap_argon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "_ARGON_MEMORY_KIB", 64)
    monkeypatch.setattr(keyring, "_ARGON_PASSES", 1)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


@pytest.fixture
def box(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "relay.toml").write_text(FIRST.render())
    return folder


def keys(folder: Path, phrase: str | None = None) -> Keyring:
    return unlock(folder, load(folder).store, phrase)


def test_only_what_says_where_the_key_is_moves_it() -> None:
    file, tpm = StoreConfig(), StoreConfig(key_source="tpm")
    assert not is_moved(file, StoreConfig(media_quota_mib=99, tpm_pcrs="7"))
    assert not is_moved(tpm, StoreConfig(key_source="tpm", key_file="other"))
    assert is_moved(file, tpm)
    assert is_moved(file, StoreConfig(key_file="other"))
    assert is_moved(tpm, StoreConfig(key_source="tpm", tpm_pcrs="7"))


def test_a_key_moves_to_a_passphrase_and_back_and_the_box_stays_what_it_is(box: Path, tmp_path: Path) -> None:
    made = keys(box)
    changed = settings.change(box, {"store.key_source": "passphrase"}, None, phrases=(None, PHRASE))
    assert changed["changed"]
    assert keys(box, PHRASE) == made
    # What opened it before opens nothing any more, and is gone.
    assert sorted(path.name for path in box.iterdir()) == ["keyring", "relay.toml"]
    with pytest.raises(WrongKeyError):
        keys(box, "a phrase that they guess")
    stick = tmp_path / "stick.key"
    onto = {"store.key_source": "file", "store.key_file": str(stick)}
    with pytest.raises(KeyAbsentError, match="nobody gave"):
        settings.change(box, onto, None)
    with pytest.raises(WrongKeyError):
        settings.change(box, onto, None, phrases=("a phrase that they guess", None))
    assert load(box).store.key_source == "passphrase"
    settings.change(box, onto, None, phrases=(PHRASE, None))
    assert keys(box) == made
    stick.rename(tmp_path / "pulled")
    with pytest.raises(KeyAbsentError, match=r"stick\.key"):
        keys(box)


def test_a_place_that_does_not_work_changes_nothing(box: Path) -> None:
    made = keys(box)
    before = {path.name: path.read_bytes() for path in box.iterdir()}
    with pytest.raises(RelayError, match="no TPM"):
        settings.change(box, {"store.key_source": "tpm", "store.tpm_device": str(box / "none")}, None)
    assert {path.name: path.read_bytes() for path in box.iterdir()} == before
    assert keys(box) == made


def test_a_move_that_is_refused_leaves_what_could_be_gone_back_to(box: Path) -> None:
    keys(box)
    settings.change(box, {"log.level": "debug"}, None)
    with pytest.raises(RelayError, match="no TPM"):
        settings.change(box, {"store.key_source": "tpm", "store.tpm_device": str(box / "none")}, None)
    settings.go_back(box)
    assert load(box).log.level == "info"


def test_a_move_is_not_tried_and_not_taken_back(box: Path) -> None:
    keys(box)
    settings.change(box, {"log.level": "debug"}, None)
    with pytest.raises(ConflictError, match="cannot be tried"):
        settings.change(box, {"store.key_source": "passphrase"}, 60.0, phrases=(None, PHRASE))
    # Where the network went back to before that is another change's.
    (box / NETWORK_BEFORE).write_text("[]")
    settings.change(box, {"store.key_source": "passphrase"}, None, phrases=(None, PHRASE))
    assert not (box / NETWORK_BEFORE).exists()
    with pytest.raises(ConflictError, match="no earlier settings"):
        settings.go_back(box)


class PowerCutError(Exception):
    """The power went."""


@pytest.mark.parametrize("step", ["move_key", "write_whole", "settle_key", "forget"])
def test_a_power_cut_leaves_a_box_that_its_settings_open(
    step: str, box: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = keys(box)

    def cut(*_: object) -> None:
        raise PowerCutError

    place = "relay.cli.house" if step in ("move_key", "settle_key") else key_move.__name__
    monkeypatch.setattr(f"{place}.{step}", cut)
    with pytest.raises(PowerCutError):
        settings.change(box, {"store.key_file": str(tmp_path / "stick.key")}, None)
    monkeypatch.undo()
    assert keys(box) == made
    assert not (box / "keyring.before").exists()
    assert keys(box) == made
