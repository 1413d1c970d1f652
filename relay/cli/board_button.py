"""The board's button for a process that stays small: the profile that names it is read by another one."""

import os
from pathlib import Path

from relay.console.presence import Found

_MOST_BYTES = 4096


def find_board_button(state: Path, root: Path = Path("/")) -> Found | None:
    """Return the button of this board and the light beside it; None where there is none, or none that may be read."""
    from relay.box.button import EventDevice, PushButton
    from relay.box.light import StatusLight

    told = _told_apart(state, root)
    if not told:
        return None
    device, key, *lights = told
    try:
        button = PushButton(EventDevice(Path(device)), int(key))
    except OSError:
        return None
    return Found(button, Path(device), StatusLight(lights, root / "sys/class/leds"))


def _told_apart(state: Path, root: Path) -> list[str]:
    """Return device, key and names of lights, read by a process of its own: profiles take more memory than consoles."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, "\n".join(_look(state, root)).encode()[:_MOST_BYTES])
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        told = pipe.read().decode()
    os.waitpid(child, 0)
    return told.split("\n") if told else []


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
