import fcntl
import os
from pathlib import Path

import pytest

from relay.base.errors import StateLockedError
from relay.cli import reset


def a_box(folder: Path) -> None:
    (folder / "journal").mkdir()
    (folder / "journal" / "segment").write_bytes(b"sealed")
    (folder / "root.key").write_bytes(b"k" * 32)
    (folder / "relay.toml").write_text("")


def test_nothing_is_left_after_a_reset(tmp_path: Path) -> None:
    a_box(tmp_path)
    reset.wipe(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_reset_cut_short_is_finished_at_the_next_start(tmp_path: Path) -> None:
    a_box(tmp_path)
    (tmp_path / "reset").touch()
    (tmp_path / "root.key").unlink()
    reset.finish(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_start_without_a_reset_touches_nothing(tmp_path: Path) -> None:
    a_box(tmp_path)
    reset.finish(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_held_folder_is_seen_without_touching_the_lock_and_not_wiped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reset, "_STOP_WITHIN_S", 0.0)
    a_box(tmp_path)
    assert not reset.is_locked(tmp_path)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert reset.is_locked(tmp_path)
        with pytest.raises(StateLockedError):
            reset.wipe(tmp_path)
    finally:
        os.close(descriptor)
    assert (tmp_path / "root.key").exists()
    assert not reset.is_locked(tmp_path)
