"""A backup goes straight into an S3-compatible store, and comes straight back, through a client that others wrote."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.box_process import BoxProcess
from tests.interop.peer_environments import s3cmd
from tests.interop.standby_peers import ACCESS_KEY, BUCKET, SECRET_KEY, Store

pytestmark = pytest.mark.interop


def client(store: Store) -> list[str]:
    """Return the client's command, with everything it needs to know of the store."""
    place = f"127.0.0.1:{store.port}"
    options = [f"--host={place}", f"--host-bucket={place}", "--no-ssl", "--region=us-east-1", "--config=/dev/null"]
    return [*s3cmd(), *options, f"--access_key={ACCESS_KEY}", f"--secret_key={SECRET_KEY}"]


def piped(first: list[str], second: list[str], box: BoxProcess) -> str:
    """Run `first | second`; both must end well. Return what the second said."""
    making = subprocess.Popen(first, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=box.environment())
    taking = subprocess.run(
        second, stdin=making.stdout, capture_output=True, text=True, timeout=60, check=False, env=box.environment()
    )
    assert making.stdout is not None
    assert making.stderr is not None
    making.stdout.close()
    said = making.stderr.read().decode()
    making.stderr.close()
    assert making.wait(30) == 0, said
    assert taking.returncode == 0, taking.stderr
    return taking.stdout


def test_a_backup_lives_in_an_s3_store_and_a_box_is_made_of_it(box: BoxProcess, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"k" * 32)
    relay = [sys.executable, "-m", "relay", "backup"]
    key = ["--key-file", str(tmp_path / "key")]
    state = ["--state", str(box.state)]
    names = [f"s3://{BUCKET}/full.bak", f"s3://{BUCKET}/later.bak"]
    anna = box.login()
    room = anna.call("POST", "v3/createRoom", {})["room_id"]
    with Store(tmp_path / "store") as store:
        for number, name in enumerate(names):
            for message in range(50):
                anna.send(room, f"message {number} {message}", f"{number}-{message}")
            piped([*relay, "create", *state, *key, "--since-last"], [*client(store), "put", "-", name], box)
        fetched = [str(tmp_path / "full.bak"), str(tmp_path / "later.bak")]
        for name, file in zip(names, fetched, strict=True):
            subprocess.run([*client(store), "get", name, file], check=True, capture_output=True, timeout=60)
        said = piped([*client(store), "get", names[0], "-"], [*relay, "verify", "-", *key], box)
        assert "good: " in said
    box.kill()
    box.state = tmp_path / "new"
    box.relay("backup", "restore", *fetched, *key, "--root-key-file", tmp_path / "root.key")
    box.start()
    assert len([event for event in anna.messages(room) if event["type"] == "m.room.message"]) == 100
