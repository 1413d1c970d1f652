import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.base.errors import StateLockedError
from relay.base.limits import RESET_WAIT_S
from relay.box.light import Shown
from relay.cli import reset
from relay.cli.operate import operate
from tests.fakes.kernel_light import KernelLight


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


class PowerCutError(Exception):
    """The power went."""


def test_wherever_the_power_is_cut_the_next_start_finishes_or_finds_the_box_untouched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cuts, finished = Path.unlink, 0, False
    while not finished:
        folder, left = tmp_path / str(cuts), iter(range(cuts))
        folder.mkdir()
        a_box(folder)

        def unlink_until_cut(path: Path, *, missing_ok: bool = False, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise PowerCutError
            whole(path, missing_ok=missing_ok)

        monkeypatch.setattr(Path, "unlink", unlink_until_cut)
        try:
            reset.wipe(folder)
            finished = True
        except PowerCutError:
            monkeypatch.undo()
            begun = (folder / reset.MARKER).exists()
            reset.finish(folder)
            assert len(list(folder.iterdir())) == (0 if begun else 3)
        cuts += 1
    assert cuts > 3


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


@pytest.mark.parametrize("ended", [False, True])
def test_the_wait_before_a_reset_is_seen_in_the_room_and_its_end_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    light = KernelLight(tmp_path)
    before, seen, waited, handler = light.look(), [], [], signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(reset, "status_light", lambda _folder: light)

    def wait(_event: threading.Event, seconds: float) -> bool:
        seen.append(light.look())
        waited.append(seconds)
        if ended:
            os.kill(os.getpid(), signal.SIGTERM)
        return False

    monkeypatch.setattr(threading.Event, "wait", wait)
    if ended:
        with pytest.raises(SystemExit):
            operate(tmp_path, {"verb": "reset_wait"})
    else:
        assert operate(tmp_path, {"verb": "reset_wait"}) == {"waited_s": RESET_WAIT_S}
    assert waited == [RESET_WAIT_S]
    assert seen == [light.look_of(Shown.RESETTING)]
    assert light.look() == before
    assert signal.getsignal(signal.SIGTERM) is handler


def test_the_button_needs_no_typed_word(tmp_path: Path) -> None:
    a_box(tmp_path)
    assert operate(tmp_path, {"verb": "button_reset"}) == {"reset": True}
    assert list(tmp_path.iterdir()) == []
    assert operate(tmp_path / "never", {"verb": "button_reset"}) == {"reset": True}
