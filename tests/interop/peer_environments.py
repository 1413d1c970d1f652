"""Python environments of peers, made on demand under `.peers/` and kept between runs.

Peers are other people's programs: they never share an environment, an import or a process with ours.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PEERS = Path(__file__).resolve().parents[2] / ".peers"
DRIVERS = Path(__file__).parent / "drivers"
SYNAPSE = "matrix-synapse==1.163.*"
NIO = "matrix-nio[e2e]==0.26.0"
_INSTALL_TIMEOUT_S = 600


def synapse_python() -> Path:
    """Return the interpreter of an environment that has Synapse; skips the test where it cannot be had.

    Under `CI=true` it fails instead: there a missing peer is a defect.
    """
    return _python_environment("synapse", [SYNAPSE])


def nio_python() -> Path:
    """Return the interpreter of an environment that has matrix-nio with encryption; as `synapse_python` otherwise."""
    return _python_environment("nio", [NIO])


def js_node_modules() -> Path:
    """Return the node_modules folder that has matrix-js-sdk and its Rust crypto; as `synapse_python` otherwise."""
    locks = [DRIVERS / "package.json", DRIVERS / "package-lock.json"]

    def build(folder: Path) -> None:
        folder.mkdir()
        for lock in locks:
            shutil.copy(lock, folder)
        _run(["npm", "ci", "--silent", "--ignore-scripts"], folder)

    return _environment("js", "".join(lock.read_text() for lock in locks), build) / "node_modules"


def _python_environment(name: str, requirements: list[str]) -> Path:
    def build(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", str(folder)])
        python = str(folder / "bin" / "python")
        _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements])

    return _environment(name, "\n".join([sys.version, *requirements]), build) / "bin" / "python"


def _environment(name: str, made_of: str, build: Callable[[Path], None]) -> Path:
    folder = PEERS / name
    stamp = folder / "made-of.txt"
    PEERS.mkdir(exist_ok=True)
    with (PEERS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != made_of:
            shutil.rmtree(folder, ignore_errors=True)
            try:
                build(folder)
            except (OSError, subprocess.SubprocessError) as error:
                _cannot_be_had(name, error)
            stamp.write_text(made_of)
    return folder


def _run(command: list[str], folder: Path | None = None) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=_INSTALL_TIMEOUT_S, cwd=folder)


def _cannot_be_had(name: str, error: Exception) -> None:
    detail = getattr(error, "stderr", b"") or b""
    reason = f"peer {name} cannot be had: {error} {detail.decode(errors='replace')[-400:]}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
