"""What leaves the box for a helper, and what is logged, names nobody and tells nothing that was planted."""

import hashlib
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.interop.box_process import PASSWORD, BoxProcess
from tests.interop.serial_person import SerialPerson
from tests.interop.test_sealed_at_rest import find
from tests.interop.test_trial import ask

pytestmark = pytest.mark.interop

ROOM, MESSAGE = "Grandmother's kitchen table", "under the third stone behind the well"
WIFI_NAME, WIFI_SECRET = "Zebediah's attic", "wifi-hunter22-secret"
TSIG, ACCOUNT, STANDBY = "dHNpZy1zZWNyZXQtdGhhdC1pcw==", "acme-account-0b5e55ed", "S3CRETstandbyKEY"
SETTINGS = {
    "acme.contact": "zebediah@hidden-mail.example",
    "dns.server": "ns.hidden-provider.example",
    "dns.user": "hidden-dyndns-user",
    "dns.key_file": "tsig.key",
    "standby.credentials_file": "standby.credentials",
}
PRIVATE = [ROOM, MESSAGE, WIFI_NAME, WIFI_SECRET, TSIG, ACCOUNT, STANDBY, PASSWORD, "another secret typed"]
# Too short to be looked for in every form.
NAMES = [b"zebediah", b"Zebediah", b"hidden-", b"@anna", b"Annabella", b"Traceback"]


def collect(person: SerialPerson, seq: int) -> str:
    """Return the text as a program puts it together."""
    text = ""
    piece: dict[str, Any] = {"bytes": 1}
    while len(text) < piece["bytes"]:
        piece = ask(person, seq=f"{seq}-{len(text)}", verb="diagnostics", offset=len(text))["result"]
        assert piece["crc32"] == f"{zlib.crc32(piece['text'].encode()):08x}"
        text += piece["text"]
    assert piece["next_offset"] is None
    assert piece["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    return text


def plant(box: BoxProcess) -> None:
    (box.state / "tsig.key").write_text(f'key "hidden-key" {{ algorithm hmac-sha256; secret "{TSIG}"; }};')
    (box.state / "standby.credentials").write_text(f"password: {STANDBY}\n")
    (box.state / "acme").mkdir(exist_ok=True)
    (box.state / "acme" / "account.json").write_text(json.dumps({"kid": ACCOUNT}))


def live(box: BoxProcess, person: SerialPerson) -> list[str]:
    """Have everything happen that must not be told; return what else nobody may hear of."""
    box.add_user("zebediah")
    anna = box.login()
    room = anna.call("POST", "v3/createRoom", {"name": ROOM})["room_id"]
    event = anna.send(room, MESSAGE, "t1")
    anna.call("PUT", f"v3/profile/@anna:{box.name}/displayname", {"displayname": "Annabella"})
    person.settle()
    person.say("unlock", "leaves): ")
    person.say(PASSWORD)
    person.say("user list")
    person.say("set acme.contact zebediah@hidden-mail.example")
    person.say("show")
    person.say("another secret typed")
    person.say(f"wifi join {WIFI_NAME}", "network: ")
    person.say(WIFI_SECRET)
    person.say("user passwd zebediah", "Password: ")
    person.say("another secret typed", "again: ")
    person.say("another secret typed")
    ask(person, seq=1, verb="wifi_join", ssid=WIFI_NAME, password=WIFI_SECRET)
    return [anna.token, room[1:], event[1:]]


def test_nothing_that_was_planted_is_in_the_text_the_transcript_or_a_log(authority: trustme.CA, tmp_path: Path) -> None:
    out, port = tmp_path / "out", tmp_path / "ttyBOX"
    out.mkdir()
    box = BoxProcess(tmp_path / "box", authority, settings=SETTINGS)
    plant(box)
    command = [sys.executable, "-m", "relay", "console", "--state", str(box.state), "--port", str(port)]
    with SerialPerson(port) as person, (out / "console.log").open("wb") as log:
        console = subprocess.Popen(command, stdout=log, stderr=log, env=box.environment())
        try:
            box.start()
            private = PRIVATE + live(box, person)
            person.settle()
            kept = person.say("show transcript", "relay> show transcript\r\n")
            assert "relay> wifi join" in kept
            # Whoever is at the cable sees settings and networks there; no secret, and nobody's name.
            secret = [MESSAGE, WIFI_SECRET, TSIG, ACCOUNT, STANDBY, PASSWORD, "@zebediah", "another secret typed"]
            assert [text for text in secret if text in kept.replace("show transcript", "")] == []
            person.say("lock")
            (out / "running.person").write_text(person.say("diagnostics", "== end =="))
            (out / "running.program").write_text(collect(person, 1))
            box.stop()
            with (box.state / "index.db").open("r+b") as index:
                index.write(os.urandom(65_536))
            (box.folder / "root.key").unlink()
            (out / "broken.program").write_text(collect(person, 2))
            box.relay("diagnostics", "--to", out / "broken.shell")
            assert console.poll() is None
        finally:
            console.terminate()
            console.wait(15)
    (out / "relay.log").write_bytes((box.folder / "log").read_bytes())
    for path in out.glob("*.*"):
        assert [name for name in NAMES if name in path.read_bytes()] == [], path
    assert find([out], private) == []
    for path in [*out.glob("*.program"), out / "broken.shell"]:
        text = path.read_text()
        assert text.isascii()
        assert text.endswith("== end ==\n")
        for said in ("== settings ==", "acme.contact = <mail-", "segment-00: ", "== doctor ==\n"):
            assert said in text, (path, said)
        assert "could not be looked at" not in text
    assert "relay> wifi join ***" in (out / "broken.program").read_text()
    assert (out / "running.person").read_text().count("\n") > 100
