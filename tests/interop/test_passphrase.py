"""A box whose key is a passphrase: given as a service credential, it opens; another one changes nothing."""

import json
import threading
from pathlib import Path

import pytest
import trustme

from relay.base.errors import RelayError
from relay.cli.operate import operate
from tests.interop.box_process import BoxProcess
from tests.interop.waiting import wait_until

pytestmark = pytest.mark.interop

PHRASE = "a phrase that only we know"


def test_a_passphrase_opens_the_box_and_another_one_changes_nothing(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credential = tmp_path / "doorstep.passphrase"
    credential.write_text("a phrase that only we know\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with BoxProcess(tmp_path / "box", authority, settings={"store.key_source": "passphrase"}) as box:
        box.login()
        assert json.loads(box.relay("status", "--json"))["protection"] == "box theft"
        assert not (box.folder / "root.key").exists()
        box.stop()
        before = {path: path.read_bytes() for path in box.state.rglob("*") if path.is_file()}
        credential.write_text("a phrase that they guess\n")
        with pytest.raises(RuntimeError, match="key"):
            box.relay("user", "list")
        assert {path: path.read_bytes() for path in box.state.rglob("*") if path.is_file()} == before
        credential.write_text("a phrase that only we know\n")
        box.start()
        box.login()


def test_a_locked_box_waits_until_somebody_gives_its_passphrase(authority: trustme.CA, tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "doorstep.passphrase").write_text(f"{PHRASE}\n")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CREDENTIALS_DIRECTORY", str(credentials))
        box = BoxProcess(tmp_path / "box", authority, settings={"store.key_source": "passphrase"})
    outcomes = []

    def give() -> None:
        wait_until(lambda: "waits" in operate(box.state, {"verb": "status"}))
        outcomes.append(operate(box.state, {"verb": "status"})["waits"])
        with pytest.raises(RelayError, match="nothing was changed"):
            operate(box.state, {"verb": "passphrase", "passphrase": "a phrase that they guess"})
        outcomes.append(operate(box.state, {"verb": "passphrase", "passphrase": PHRASE}))

    giver = threading.Thread(target=give)
    giver.start()
    try:
        box.start()
        box.login()
    finally:
        giver.join()
        box.kill()
    waits, opened = outcomes
    assert str(waits).startswith("the box is locked, waiting for the passphrase: nobody gave the passphrase")
    assert opened == {"unlocked": True}
    seen = (box.folder / "log").read_text()
    assert "waiting for the passphrase" in seen
    assert PHRASE not in seen
