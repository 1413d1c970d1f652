from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from relay.base import trial
from relay.base.config import Config, load
from relay.base.errors import ConfigError, ConflictError
from relay.base.trial import BEFORE, Uptime
from relay.cli import settings
from relay.cli.files import write_whole


class Machine:
    def __init__(self) -> None:
        self.boot, self.seconds = 1, 1000.0

    def __call__(self) -> Uptime:
        return Uptime(str(self.boot), self.seconds)

    def start_again(self) -> None:
        self.boot, self.seconds = self.boot + 1, 10.0


@pytest.fixture
def box(tmp_path: Path) -> Path:
    (tmp_path / "relay.toml").write_text(Config.parse({"server": {"name": "box.example"}}).render())
    return tmp_path


DEBUG = {"log.level": "debug"}


def test_a_change_that_is_said_right_in_time_stays(box: Path) -> None:
    machine = Machine()
    assert settings.change(box, DEBUG, 60, machine)["goes_back_in_s"] == 60
    machine.seconds += 59
    assert settings.settle(box, machine) == {"went_back": False, "left_s": 1.0}
    settings.commit(box, machine)
    machine.start_again()
    assert settings.settle(box, machine) == {"went_back": False, "left_s": None}
    assert load(box).log.level == "debug"


def test_a_change_that_nobody_says_is_right_goes_back(box: Path) -> None:
    machine = Machine()
    settings.change(box, DEBUG, 60, machine)
    machine.seconds += 60
    assert settings.settle(box, machine) == {"went_back": True, "left_s": None}
    assert load(box).log.level == "info"
    assert not (box / trial.FILE_NAME).exists()


def test_a_machine_that_starts_anew_goes_back_at_once(box: Path) -> None:
    machine = Machine()
    settings.change(box, DEBUG, 3600, machine)
    machine.start_again()
    assert settings.settle(box, machine, starting=True)["went_back"]
    assert load(box).log.level == "info"


def test_saying_it_too_late_goes_back_and_says_so(box: Path) -> None:
    machine = Machine()
    settings.change(box, DEBUG, 60, machine)
    machine.seconds += 61
    with pytest.raises(ConflictError, match="time was up"):
        settings.commit(box, machine)
    assert load(box).log.level == "info"


def test_one_change_at_a_time_is_on_trial(box: Path) -> None:
    machine = Machine()
    settings.change(box, DEBUG, 60, machine)
    for confirm_s in (None, 60):
        with pytest.raises(ConflictError, match="on trial"):
            settings.change(box, {"log.level": "error"}, confirm_s, machine)
    # Planning what is already so is no second change.
    assert not settings.change(box, DEBUG, None, machine)["changed"]
    machine.seconds += 61
    assert settings.change(box, {"log.level": "error"}, None, machine)["changed"]
    assert load(box).log.level == "error"
    settings.go_back(box)
    assert load(box).log.level == "info"


def test_the_settings_before_the_last_change_can_be_had_again_even_if_the_present_ones_cannot_be_read(
    box: Path,
) -> None:
    settings.change(box, DEBUG, None)
    settings.change(box, {"log.level": "error"}, None)
    (box / "relay.toml").write_bytes(b"\xff\x00[")
    with pytest.raises(ConfigError):
        settings.change(box, DEBUG, None)
    settings.go_back(box)
    assert load(box).log.level == "debug"
    with pytest.raises(ConflictError, match="already"):
        settings.go_back(box)


def test_what_does_not_fit_puts_nothing_on_trial(box: Path) -> None:
    for wrong, error in (({"x.y": "1"}, ConfigError), ({"server.name": "other.example"}, ConflictError)):
        with pytest.raises(error):
            settings.change(box, wrong, 60)
    assert [path.name for path in box.iterdir()] == ["relay.toml"]


def test_a_change_beside_one_that_is_being_made_is_refused_and_undoes_nothing(
    box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(*_: object) -> None:
        with pytest.raises(ConflictError, match="somebody else"):
            settings.change(box, {"log.level": "error"}, None)
        with pytest.raises(ConflictError, match="somebody else"):
            settings.go_back(box)

    settings.change(box, {"log.level": "warning"}, None)
    monkeypatch.setattr(settings, "_make_own_ca", meanwhile)
    assert settings.change(box, DEBUG, None)["changed"]
    assert load(box).log.level == "debug"
    monkeypatch.undo()
    settings.go_back(box)
    assert load(box).log.level == "warning"


class PowerCutError(Exception):
    """The power went."""


@pytest.mark.parametrize("after", range(8))
def test_a_power_cut_at_any_write_leaves_a_box_that_goes_back(
    box: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    machine, writes = Machine(), 0

    def step() -> None:
        nonlocal writes
        writes += 1
        if writes > after:
            raise PowerCutError

    def cut_whole(path: Path, data: bytes) -> None:
        step()
        write_whole(path, data)
        step()

    monkeypatch.setattr(settings, "write_whole", cut_whole)
    cut = False
    try:
        settings.change(box, DEBUG, 60, machine)
    except PowerCutError:
        cut = True
    monkeypatch.undo()
    assert cut == (after < 6)
    machine.start_again()
    settings.settle(box, machine, starting=True)
    assert load(box).log.level == "info"
    assert not (box / trial.FILE_NAME).exists()


@pytest.mark.parametrize("after", range(3))
def test_a_power_cut_while_it_goes_back_is_gone_back_from_again(
    box: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    machine, writes = Machine(), 0
    settings.change(box, DEBUG, 60, machine)

    def cut(*arguments: Any) -> None:
        nonlocal writes
        writes += 1
        if writes > after:
            raise PowerCutError
        (write_whole if len(arguments) > 1 else lambda _folder: None)(*arguments)

    monkeypatch.setattr(settings, "write_whole", cut)
    monkeypatch.setattr(settings, "sync_folder", cut)
    with suppress(PowerCutError):
        settings.go_back(box)
    monkeypatch.undo()
    machine.start_again()
    settings.settle(box, machine)
    assert load(box).log.level == "info"
    assert (box / BEFORE).exists()
