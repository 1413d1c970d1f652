from pathlib import Path

import pytest

from relay.base.errors import ConflictError, InvalidInputError
from relay.cli.release import UNIT, release_back

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    return tmp_path


def answer(folder: Path, code: int) -> None:
    path = folder / "systemctl"
    path.write_text(f'#!/bin/sh\necho "$@" >{folder}/asked\necho "Access denied" >&2\nexit {code}\n')
    path.chmod(0o755)


def test_the_one_unit_is_started_without_waiting_for_it(supervisor: Path) -> None:
    answer(supervisor, 0)
    assert release_back(supervisor, {}) == {"going_back": True}
    assert (supervisor / "asked").read_text() == f"--no-ask-password --no-block start {UNIT}\n"


def test_a_refusal_is_told_in_its_words(supervisor: Path) -> None:
    answer(supervisor, 4)
    with pytest.raises(ConflictError, match="Access denied"):
        release_back(supervisor, {})


def test_where_nothing_is_installed_nothing_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConflictError, match="no installed box"):
        release_back(tmp_path, {})
    with pytest.raises(InvalidInputError):
        release_back(tmp_path, {"to": "b"})


def test_the_unit_and_the_rule_for_it_name_the_same() -> None:
    assert "slots.sh back" in (ROOT / "systemd" / UNIT).read_text("utf-8")
    assert f'"{UNIT}"' in (ROOT / "hw/60-doorstep.polkit.rules").read_text("utf-8")
