"""A file system of its own under a state folder, that is full or takes no writes; mounting one takes root."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.interop.peer_environments import cannot_be_had


@contextlib.contextmanager
def card(box: Path, how: str) -> Iterator[None]:
    """Have the folder `box` on a card that is `full` or `read-only`; skips where none can be mounted, fails in CI."""
    sound = box.with_name(f"{box.name}.sound")
    box.rename(sound)
    box.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(box)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        cannot_be_had("file system", error)
    try:
        shutil.copytree(sound, box, dirs_exist_ok=True)
        if how == "full":
            subprocess.run(["dd", "if=/dev/zero", f"of={box}/fill", "bs=64k"], check=False, capture_output=True)
        else:
            subprocess.run(["mount", "-o", "remount,ro", str(box)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(box)], check=True)
        box.rmdir()
        sound.rename(box)
