import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BOX = Path(__file__).parents[2] / "box"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder with the script, a complete environment and a small relay."""
    shutil.copy(BOX, tmp_path / "box")
    for name in ("requirements.lock", "requirements-test.lock"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    stamp = subprocess.run(["cksum"], input=b"", capture_output=True, check=True).stdout.split()
    (tmp_path / ".venv" / "locked").write_bytes(b"-".join(stamp))
    (tmp_path / "relay").mkdir()
    (tmp_path / "relay" / "__init__.py").touch()
    (tmp_path / "relay" / "__main__.py").write_text("from relay.work import answer\nprint(answer)\n")
    write(tmp_path, 1)
    # Compiled files know their source by whole seconds.
    os.utime(tmp_path / "relay" / "work.py", (1_700_000_000, 1_700_000_000))
    return tmp_path


def write(place: Path, answer: int) -> None:
    (place / "relay" / "work.py").write_text(f"answer = {answer}\n")


def run(place: Path) -> bytes:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(place)}
    command = [str(place / "box"), "relay", "status"]
    return subprocess.run(command, capture_output=True, check=True, cwd=place, env=environment, timeout=20).stdout


def compiled(place: Path) -> list[Path]:
    return list((place / "relay" / "__pycache__").glob("work.*.pyc"))


def test_the_code_is_compiled_ahead_and_again_when_it_changes(place: Path) -> None:
    assert run(place) == b"1\n"
    (file,) = compiled(place)
    first = file.stat().st_mtime_ns
    run(place)
    assert file.stat().st_mtime_ns == first
    write(place, 22)
    assert run(place) == b"22\n"
    assert file.stat().st_mtime_ns > first


def test_compiled_code_that_was_removed_is_made_again(place: Path) -> None:
    run(place)
    shutil.rmtree(place / "relay" / "__pycache__")
    run(place)
    assert compiled(place)
