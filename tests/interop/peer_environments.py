"""Python environments of peers, made on demand under `.peers/` and kept between runs.

Peers are other people's programs: they never share an environment, an import or a process with ours.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PEERS = Path(__file__).resolve().parents[2] / ".peers"
SYNAPSE = "matrix-synapse==1.163.*"
_INSTALL_TIMEOUT_S = 600


def synapse_python() -> Path:
    """Return the interpreter of an environment that has Synapse; skips the test where it cannot be had.

    Under `CI=true` it fails instead: there a missing peer is a defect.
    """
    return _environment("synapse", [SYNAPSE])


def _environment(name: str, requirements: list[str]) -> Path:
    folder = PEERS / name
    python = folder / "bin" / "python"
    stamp = folder / "made-of.txt"
    wanted = "\n".join([sys.version, *requirements])
    PEERS.mkdir(exist_ok=True)
    with (PEERS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if python.exists() and stamp.exists() and stamp.read_text() == wanted:
            return python
        shutil.rmtree(folder, ignore_errors=True)
        try:
            _run([sys.executable, "-m", "venv", str(folder)])
            _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements])
        except (OSError, subprocess.SubprocessError) as error:
            _cannot_be_had(name, error)
        stamp.write_text(wanted)
    return python


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=_INSTALL_TIMEOUT_S)


def _cannot_be_had(name: str, error: Exception) -> None:
    detail = getattr(error, "stderr", b"") or b""
    reason = f"peer {name} cannot be had: {error} {detail.decode(errors='replace')[-400:]}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
