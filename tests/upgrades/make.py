"""Make the stored data folder of a release: `python -m tests.upgrades.make [--relay CHECKOUT]`.

Run once for each release, from its own checkout, before the version number moves on; the outcome is committed and never
made again. A box of that release is provisioned and lived in over its real doors: two people, rooms, a neighbour's box,
messages, files, end-to-end keys; part of it is checkpointed, the rest is only in the journal when the box is killed.
What its apps saw just before stands beside it, for later releases to show again.
"""

import argparse
import hashlib
import json
import os
import re
import ssl
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import trustme

from relay.base.ids import DeviceId, UserId
from tests.interop.box_process import PASSWORD, BoxProcess
from tests.interop.peer_clients import Api, quote
from tests.interop.waiting import wait_for_body, wait_for_invite
from tests.unit.household.signing import Signer

HERE = Path(__file__).resolve().parent
DESCRIBE = """
import json
from relay.app.house import TABLES
from relay.store.tables import STORE_TABLES, layout_digest, number_operations
try:
    from relay.store.tables import STATE_FORMAT as number
except ImportError:
    number = 1
every = (STORE_TABLES, *TABLES)
operations = sorted(number_operations(every))
print(json.dumps({"format": number, "layout": layout_digest(every).hex(), "operations": operations}))
"""


class ReleasedBox(BoxProcess):
    """A box that runs another checkout."""

    checkout = Path()

    @classmethod
    def _environment(cls) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(cls.checkout)}


class Person:
    """One app of one family member, and what it asks at the end."""

    def __init__(self, box: BoxProcess, name: str) -> None:
        self.api = Api(box.base)
        self.name = name
        self.user = self.api.login(name, PASSWORD)
        self.filter_id = ""
        self.device = DeviceId(self.api.call("GET", "v3/account/whoami")["device_id"])

    def put(self, path: str, body: Any) -> Any:
        return self.api.call("PUT", f"v3/{path}", body)

    def post(self, path: str, body: Any) -> Any:
        return self.api.call("POST", f"v3/{path}", body)


def prepare_keys(person: Person) -> None:
    """Upload device keys, one-time keys, a fallback key, cross-signing keys and a key backup."""
    signer = Signer(UserId(person.user))
    one_time = {f"signed_curve25519:{number}": {"key": f"{person.name}{number}"} for number in "AB"}
    fallback = {"signed_curve25519:F": {"key": f"{person.name}F", "fallback": True}}
    keys = {"device_keys": signer.device(person.device), "one_time_keys": one_time, "fallback_keys": fallback}
    person.post("keys/upload", keys)
    auth = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": person.name}, "password": PASSWORD}
    crossed = {f"{usage}_key": key for usage, key in signer.keys().items()}
    person.post("keys/device_signing/upload", {**crossed, "auth": auth})
    signed = signer.sign(signer.device(person.device), "self_signing")
    assert person.post("keys/signatures/upload", {person.user: {person.device: signed}})["failures"] == {}


def back_up(person: Person, room: str) -> None:
    auth_data = {"public_key": "Rv7f+0q2rQ7C8j1iY3G7k5p0Zb0oZs1S8S0U9o3b1hA"}
    backup = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": auth_data}
    version = person.post("room_keys/version", backup)["version"]
    session = {"first_message_index": 0, "forwarded_count": 0, "is_verified": True, "session_data": {"ciphertext": "c"}}
    sessions = {f"session{number}": session for number in range(3)}
    person.put(f"room_keys/keys?version={version}", {"rooms": {room: {"sessions": sessions}}})


def upload(person: Person, content: bytes) -> str:
    request = urllib.request.Request(
        f"{person.api.base}/_matrix/media/v3/upload?filename=a.png", content, method="POST"
    )
    request.add_header("Authorization", f"Bearer {person.api.token}")
    request.add_header("Content-Type", "image/png")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(json.load(answer)["content_uri"])


def live_before_the_checkpoint(anna: Person, otto: Person) -> tuple[str, str]:
    """Return the family's room and its encrypted one."""
    for person in (anna, otto):
        prepare_keys(person)
        person.put(f"profile/{quote(person.user)}/displayname", {"displayname": f"{person.name.title()} ✿"})
    picture = upload(anna, hashlib.shake_256(b"picture").digest(20_000))
    anna.put(f"profile/{quote(anna.user)}/avatar_url", {"avatar_url": picture})
    family = anna.post("createRoom", {"name": "Family", "invite": [otto.user], "room_alias_name": "family"})["room_id"]
    otto.post(f"join/{quote(family)}", {})
    sealed = anna.post(
        "createRoom",
        {
            "preset": "trusted_private_chat",
            "is_direct": True,
            "invite": [otto.user],
            "initial_state": [{"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}],
        },
    )["room_id"]
    otto.post(f"join/{quote(sealed)}", {})
    back_up(anna, sealed)
    last = ""
    for number in range(20):
        sender = (anna, otto)[number % 2]
        last = sender.api.send(family, f"{sender.name} says {number}: " + "grüezi " * number, f"t{number}")
    anna.put(f"rooms/{quote(family)}/send/m.room.message/p", {"msgtype": "m.image", "body": "a", "url": picture})
    otto.post(f"rooms/{quote(family)}/receipt/m.read/{quote(last)}", {})
    anna.put(f"user/{quote(anna.user)}/account_data/m.direct", {otto.user: [sealed]})
    anna.put(f"user/{quote(anna.user)}/rooms/{quote(family)}/tags/m.favourite", {"order": 0.25})
    anna.put(f"user/{quote(anna.user)}/account_data/m.ignored_user_list", {"ignored_users": {"@spam:far.test": {}}})
    anna.put("pushrules/global/room/" + quote(sealed), {"actions": []})
    anna.filter_id = anna.post(f"user/{quote(anna.user)}/filter", {"room": {"timeline": {"limit": 3}}})["filter_id"]
    return family, sealed


def live_after_it(anna: Person, otto: Person, rooms: tuple[str, str]) -> None:
    family, sealed = rooms
    gone = anna.api.send(family, "this one is taken back", "g1")
    anna.put(f"rooms/{quote(family)}/redact/{quote(gone)}/r1", {"reason": "typo"})
    anna.put(f"rooms/{quote(family)}/state/m.room.topic", {"topic": "what is for dinner"})
    for number in range(6):
        cipher = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": f"c{number}", "session_id": "session0"}
        otto.put(f"rooms/{quote(sealed)}/send/m.room.encrypted/e{number}", cipher)
    otto.put("sendToDevice/m.room_key/d1", {"messages": {anna.user: {anna.device: {"algorithm": "x", "n": 1}}}})
    left = otto.post("createRoom", {"name": "left again"})["room_id"]
    otto.post(f"rooms/{quote(left)}/leave", {})
    otto.post("createRoom", {"name": "waits for an answer", "invite": [anna.user]})


def meet_the_neighbour(anna: Person, neighbour: BoxProcess) -> str:
    with neighbour:
        bob = Person(neighbour, "anna")
        street = bob.post("createRoom", {"name": "Street", "invite": [anna.user]})["room_id"]
        wait_for_invite(anna.api, street)
        anna.post(f"join/{quote(street)}", {})
        for number in range(5):
            bob.api.send(street, f"from over the fence {number}", f"n{number}")
            anna.api.send(street, f"to over the fence {number}", f"a{number}")
        wait_for_body(anna.api, street, "from over the fence 4")
        wait_for_body(bob.api, street, "to over the fence 4")
    anna.api.send(street, "nobody is there to hear this yet", "late")
    anna.put("sendToDevice/m.wave/w1", {"messages": {bob.user: {bob.device: {"wave": 1}}}})
    return str(street)


def questions(person: Person, rooms: list[str]) -> list[tuple[str, str, Any]]:
    """Return every (method, path, body) whose answer shows something that is stored."""
    own = f"v3/user/{quote(person.user)}"
    asked: list[tuple[str, str, Any]] = [
        ("GET", "v3/account/whoami", None),
        ("GET", f"v3/profile/{quote(person.user)}", None),
        ("GET", "v3/joined_rooms", None),
        ("GET", "v3/pushrules/", None),
        ("GET", "v3/devices", None),
        ("GET", "v3/sync?full_state=true", None),
        ("POST", "v3/keys/query", {"device_keys": {person.user: []}}),
    ]
    if person.name == "anna":
        asked += [
            ("GET", f"{own}/filter/{person.filter_id}", None),
            ("GET", f"{own}/account_data/m.direct", None),
            ("GET", "v3/room_keys/version", None),
            ("GET", "v3/room_keys/keys?version=1", None),
        ]
    for room in rooms:
        asked += [
            ("GET", f"v3/rooms/{quote(room)}/messages?dir=b&limit=100", None),
            ("GET", f"v3/rooms/{quote(room)}/state", None),
        ]
    return asked


def fill(folder: Path) -> dict[str, Any]:
    """Leave a killed box in `folder`; return what it knew."""
    authority = trustme.CA()
    settings = {"store.journal_segments": "4"}
    neighbour = ReleasedBox(folder / "neighbour", authority, settings=settings)
    box = ReleasedBox(folder / "box", authority, settings=settings)
    box.add_user("otto")
    with box:
        anna, otto = Person(box, "anna"), Person(box, "otto")
        rooms = live_before_the_checkpoint(anna, otto)
    box.start()
    street = meet_the_neighbour(anna, neighbour)
    live_after_it(anna, otto, rooms)
    seen = {}
    for person, own_rooms in ((anna, [*rooms, street]), (otto, list(rooms))):
        answers = [
            {"method": method, "path": path, "body": body, "answer": person.api.call(method, path, body)}
            for method, path, body in questions(person, own_rooms)
        ]
        seen[person.name] = {"user": person.user, "token": person.api.token, "answers": answers}
    trust = ssl.create_default_context(cafile=str(box.folder / "ca.crt"))
    with urllib.request.urlopen(f"https://{box.name}/_matrix/key/v2/server", context=trust, timeout=10) as answer:
        signing_key = json.load(answer)["verify_keys"]
    status = json.loads(box.relay("status", "--json"))
    box.kill()
    return {
        "server": box.name,
        "password": PASSWORD,
        "neighbour": neighbour.name,
        "signing_key": signing_key,
        "position": status["ledger"]["durable_position"],
        "boot": status["ledger"]["boot"],
        # What waits for the neighbour: the one wave that was sent while it was off.
        "outboxes": [{"server": neighbour.name, "to_device_bytes": 1}],
        "people": seen,
    }


def pack(folder: Path, target: Path) -> None:
    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(target, "w:xz", preset=9) as archive:
        archive.add(folder / "box" / "state", "state", filter=plain)
        archive.add(folder / "box" / "root.key", "root.key", filter=plain)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--relay", type=Path, default=HERE.parents[1], help="the checkout of the release")
    ReleasedBox.checkout = parser.parse_args().relay.resolve()
    found = re.search(r'VERSION = "([^"]+)"', (ReleasedBox.checkout / "relay/app/version.py").read_text())
    assert found
    environment = ReleasedBox._environment()
    described = subprocess.run([sys.executable, "-c", DESCRIBE], env=environment, capture_output=True, check=True)
    target = HERE / found[1]
    with tempfile.TemporaryDirectory() as scratch:
        known = fill(Path(scratch))
        target.mkdir()
        pack(Path(scratch), target / "folder.tar.xz")
    about = {"version": found[1], **json.loads(described.stdout), **known}
    (target / "about.json").write_text(json.dumps(about, ensure_ascii=False) + "\n")
    print(target, (target / "folder.tar.xz").stat().st_size, "bytes")


if __name__ == "__main__":
    main()
