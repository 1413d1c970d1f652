"""The stored folder of a release as a user meets it: started by `relay up`, killed meanwhile, refused when newer."""

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from relay.store.tables import STATE_FORMAT
from tests.interop.box_process import ROOT
from tests.interop.listening_process import ends_after
from tests.interop.peer_clients import Api
from tests.interop.waiting import wait_until
from tests.upgrades.test_stored_folders import STORED, about

pytestmark = pytest.mark.interop

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture(params=STORED, ids=lambda path: path.name)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return the release's folder, unpacked in `tmp_path` and told to listen where nobody else does."""
    folder: Path = request.param
    with tarfile.open(folder / "folder.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    settings = (tmp_path / "state" / "relay.toml").read_text()
    for pattern, value in (
        (r'(?m)^listen = ".*"$', 'listen = "127.0.0.1:0"'),
        (r"(?m)^tls = true$", "tls = false"),
        (r'(?m)^(cert|key|ca) = ".*"$', r'\1 = ""'),
        (r'(?m)^key_file = ".*"$', f'key_file = "{tmp_path / "root.key"}"'),
    ):
        settings = re.sub(pattern, value, settings)
    (tmp_path / "state" / "relay.toml").write_text(settings)
    return folder


def relay(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "relay", *words, "--state", str(tmp_path / "state")]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, env=ENVIRONMENT)


def test_an_old_folder_serves_again_even_after_kills_in_the_middle_of_its_upgrade(stored: Path, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "relay", "up", "--headless", "--state", str(tmp_path / "state")]
    for delay_s in (0.25, 0.35, 0.45):
        with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT) as process:
            try:
                process.wait(delay_s)
            except subprocess.TimeoutExpired:
                process.kill()
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT
    ) as process:
        try:
            assert process.stdout is not None
            ready = next(text for text in process.stdout if text.startswith("ready"))
            (base,) = re.findall(r"client=(\S+)", ready)
            for person in about(stored)["people"].values():
                api = Api(base, person["token"])
                was = next(one["answer"] for one in person["answers"] if one["path"] == "v3/joined_rooms")
                assert sorted(api.call("GET", "v3/joined_rooms")["joined_rooms"]) == sorted(was["joined_rooms"])
        finally:
            process.terminate()


def fault_of(folder: Path) -> object:
    status = json.loads(relay(folder, "status", "--json").stdout)
    return status.get("ledger", {}).get("fault_code")


def stays_up_saying(folder: Path, what: str) -> None:
    """See that `relay up` neither serves nor ends: whoever starts it would do that again and again."""
    command = [sys.executable, "-m", "relay", "up", "--headless", "--state", str(folder / "state")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        try:
            assert process.stderr is not None
            with ends_after(process):
                assert any(what in line for line in process.stderr)
            wait_until(lambda: fault_of(folder) == "storage.newer_format")
            assert process.poll() is None
        finally:
            process.terminate()


def test_a_newer_folder_is_refused_in_one_line_and_the_doctor_knows(stored: Path, tmp_path: Path) -> None:
    for name in ("root.a", "root.b"):
        page = tmp_path / "state" / "journal" / name
        content = bytearray(page.read_bytes())
        content[4:6] = (STATE_FORMAT + 1).to_bytes(2, "little")
        page.write_bytes(content)
    before = {path: path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()}
    what = f"newer release: format {STATE_FORMAT + 1}, this release knows {STATE_FORMAT}; install"
    outcome = relay(tmp_path, "user", "list")
    assert outcome.returncode == 1
    (line,) = outcome.stderr.splitlines()
    assert what in line
    stays_up_saying(tmp_path, what)
    outcome = relay(tmp_path, "doctor")
    assert outcome.returncode == 1
    assert f"format {STATE_FORMAT + 1}, this release knows {STATE_FORMAT}" in outcome.stdout
    assert "install that release or a later one, nothing was changed" in outcome.stdout
    assert {path: path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()} == before
