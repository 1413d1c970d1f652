import os
from pathlib import Path

import pytest
import trustme

from relay.base.errors import ConfigError
from relay.uplink.served import ServedFiles


def put(folder: Path, name: str) -> None:
    issued = trustme.CA().issue_cert(name)
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))


@pytest.fixture
def served(tmp_path: Path) -> ServedFiles:
    put(tmp_path, "a.example")
    return ServedFiles(lambda: (tmp_path / "cert.pem", tmp_path / "key.pem"))


def test_files_that_stay_are_not_read_again(served: ServedFiles) -> None:
    context = served.identity.context
    assert not served.look_again()
    assert served.identity.context is context


def test_changed_files_are_shown_from_then_on(tmp_path: Path, served: ServedFiles) -> None:
    context = served.identity.context
    put(tmp_path, "b.example")
    assert served.look_again()
    assert served.identity.context is not context
    assert served.fault == ""


def test_a_pair_that_does_not_fit_yet_is_looked_at_again(tmp_path: Path, served: ServedFiles) -> None:
    context = served.identity.context
    key = (tmp_path / "key.pem").read_bytes()
    put(tmp_path, "b.example")
    new_key = (tmp_path / "key.pem").read_bytes()
    (tmp_path / "key.pem").write_bytes(key)
    assert not served.look_again()
    assert served.fault
    assert served.identity.context is context
    (tmp_path / "key.pem").write_bytes(new_key)
    assert served.look_again()
    assert served.fault == ""


def test_what_links_lead_to_is_followed(tmp_path: Path) -> None:
    live = tmp_path / "live"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        put(tmp_path / name, f"{name}.example")
    live.symlink_to("one")
    served = ServedFiles(lambda: (live / "cert.pem", live / "key.pem"))
    live.unlink()
    live.symlink_to("two")
    assert served.look_again()


def test_files_that_vanish_leave_what_was_shown(tmp_path: Path, served: ServedFiles) -> None:
    os.unlink(tmp_path / "cert.pem")
    assert not served.look_again()
    assert "cert.pem" in served.fault


def test_there_is_no_box_without_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        ServedFiles(lambda: (tmp_path / "cert.pem", tmp_path / "key.pem"))


async def test_it_looks_by_itself(tmp_path: Path, served: ServedFiles, autojump_clock: object) -> None:
    import trio

    context = served.identity.context
    async with trio.open_nursery() as nursery:
        nursery.start_soon(served.watch)
        put(tmp_path, "b.example")
        await trio.sleep(31)
        assert served.identity.context is not context
        nursery.cancel_scope.cancel()
