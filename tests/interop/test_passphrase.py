"""A box whose key is a passphrase: given as a service credential, it opens; another one changes nothing."""

import json
from pathlib import Path

import pytest
import trustme

from tests.interop.box_process import BoxProcess

pytestmark = pytest.mark.interop


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
