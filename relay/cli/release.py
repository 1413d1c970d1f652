"""Going back to the release before: done by a unit of its own as root, which the console's user may start.

What may start it is a rule for polkit (`hw/60-doorstep.polkit.rules`), by the unit's name and for that verb alone
(org.freedesktop.systemd1(5), "Security").
"""

import shutil
import subprocess
from pathlib import Path
from typing import Any

from relay.base.errors import ConflictError, InvalidInputError, UnreachableError

UNIT = "relay-back.service"
_WITHIN_S = 20.0


def release_back(_folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """Have the release before this one come back; this console starts anew with it.

    Raises:
        ConflictError: nobody here changes releases, or may be asked to.
        UnreachableError: whoever does so did not answer.
    """
    if fields:
        raise InvalidInputError("release_back takes no fields")
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        raise ConflictError("this is no installed box: releases are changed where it was unpacked")
    command = [systemctl, "--no-ask-password", "--no-block", "start", UNIT]
    try:
        ended = subprocess.run(command, capture_output=True, timeout=_WITHIN_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        raise UnreachableError("the system's own supervisor does not answer") from None
    if ended.returncode:
        why = ended.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it gives no reason"]
        raise ConflictError(f"the release cannot be changed from here: {why[0][:200]}")
    return {"going_back": True}
