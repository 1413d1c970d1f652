"""A stolen card shows nothing: every file of a box that has lived is searched for what it is known to hold."""

import base64
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.interop.box_process import PASSWORD, BoxProcess
from tests.interop.peer_clients import quote
from tests.interop.synapse_peer import SynapsePeer
from tests.interop.waiting import wait_for_body, wait_for_invite

pytestmark = pytest.mark.interop

SECRET = 'Ünder the "third" stone, behind the well'
ROOM_NAME = "Grandmother's kitchen table"


def forms(secret: str) -> Iterable[bytes]:
    """Yield every form in which a text is likely to lie around: plain, JSON-escaped, hex, base64 at each alignment."""
    raw = secret.encode()
    yield raw
    yield json.dumps(secret)[1:-1].encode()
    yield raw.hex().encode()
    yield secret.encode("utf-16-le")
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + raw)
        # The first and last groups also hold neighbours' bits.
        yield whole[4:-4]
        yield whole[4:-4].replace(b"+", b"-").replace(b"/", b"_")


def find(folders: Iterable[Path], secrets: Iterable[str]) -> list[str]:
    """Return "file: secret" for every secret that some file holds in some form."""
    patterns = [(secret, form) for secret in secrets for form in set(forms(secret))]
    found = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                content = path.read_bytes()
                found += [f"{path.name}: {secret}" for secret, form in patterns if form in content]
    return found


def test_no_file_of_the_box_shows_a_message_a_person_a_room_or_a_token(
    box: BoxProcess, synapse: SynapsePeer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    box.stop()
    box.start()
    box.add_user("hidden-child")
    anna, berta = box.login(), synapse.register("hidden-berta", "berta's password")
    box.login("hidden-child")
    room = anna.call("POST", "v3/createRoom", {"invite": [f"@hidden-berta:{synapse.name}"], "name": ROOM_NAME})[
        "room_id"
    ]
    wait_for_invite(berta, room)
    berta.call("POST", f"v3/join/{quote(room)}?via={quote(box.name)}", {})
    event = anna.send(room, SECRET, "t1")
    wait_for_body(berta, room, SECRET)
    berta.send(room, "answer: " + SECRET, "t2")
    wait_for_body(anna, room, "answer: " + SECRET)
    anna.call("PUT", f"v3/profile/{quote('@anna:' + box.name)}/displayname", {"displayname": "Annabella the first"})
    assert anna.token
    secrets = [
        SECRET,
        ROOM_NAME,
        PASSWORD,
        anna.token,
        room[1:],
        event[1:],
        f"@anna:{box.name}",
        "hidden-child",
        "hidden-berta",
        "Annabella the first",
        synapse.name,
    ]
    logs = tmp_path / "logs"
    logs.mkdir()
    for moment in ("running", "killed", "stopped"):
        if moment == "killed":
            box.kill()
        elif moment == "stopped":
            box.start()
            box.stop()
        (logs / moment).write_bytes((box.folder / "log").read_bytes())
        assert find([box.state, scratch, logs], secrets) == [], moment
    for number, form in enumerate(forms(SECRET)):
        (scratch / f"planted-{number}").write_bytes(b"xyz" + form + b"xyz")
        assert find([scratch], [SECRET]), form
        (scratch / f"planted-{number}").unlink()


def test_the_wrong_key_changes_nothing(box: BoxProcess) -> None:
    box.stop()
    key = box.folder / "root.key"
    right = key.read_bytes()
    before = {path: path.read_bytes() for path in box.state.rglob("*") if path.is_file()}
    key.write_bytes(bytes(32) + right[:32])
    with pytest.raises(RuntimeError, match="key"):
        box.relay("user", "list")
    assert {path: path.read_bytes() for path in box.state.rglob("*") if path.is_file()} == before
    key.write_bytes(right)
    box.start()
    box.login()
