"""The board's button and line for a process that stays small: the profile that names them is read by another one."""

import os
from collections.abc import Callable
from pathlib import Path

from relay.console.presence import Found

_MOST_BYTES = 4096


def find_board_button(state: Path, root: Path = Path("/")) -> Found | None:
    """Return the button of this board and the light beside it; None where there is none, or none that may be read."""
    from relay.box.button import EventDevice, PushButton
    from relay.box.light import StatusLight

    told = _told_apart(_look, state, root)
    if not told:
        return None
    device, key, *lights = told
    try:
        button = PushButton(EventDevice(Path(device)), int(key))
    except OSError:
        return None
    return Found(button, Path(device), StatusLight(lights, root / "sys/class/leds"))


def shares_its_line(state: Path, root: Path = Path("/")) -> bool:
    """Return whether this board's console may be on a line that the kernel writes to as well."""
    return bool(_told_apart(_look_at_line, state, root))


def _told_apart(look: Callable[[Path, Path], list[str]], state: Path, root: Path) -> list[str]:
    """Return what `look` does, found by a process of its own: profiles take more memory than consoles."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, "\n".join(look(state, root)).encode()[:_MOST_BYTES])
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        told = pipe.read().decode()
    os.waitpid(child, 0)
    return told.split("\n") if told else []


def _look_at_line(state: Path, root: Path) -> list[str]:
    from relay.base.errors import ConfigError
    from relay.box.board import own_profile

    try:
        _, profile = own_profile(state, root)
    except ConfigError:
        return []
    return ["shared"] if profile.shared_console else []


def _look(state: Path, root: Path) -> list[str]:
    from relay.base.errors import ConfigError
    from relay.box.board import own_profile
    from relay.box.button import find_button

    try:
        _, profile = own_profile(state, root)
    except ConfigError:
        return []
    device = find_button(profile.button, root)
    return [] if device is None else [str(device), str(profile.button.key), *profile.leds.status]
