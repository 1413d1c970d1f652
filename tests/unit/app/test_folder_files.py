import os
from pathlib import Path

import pytest

from relay.app.folder_files import folder_files
from relay.base.config import Config
from relay.base.errors import StorageError


def config(**tls: str) -> Config:
    return Config.parse({"server": {"name": "box.example"}, "tls": tls})


def test_settings_and_certificates_go_along_and_what_is_held_otherwise_does_not(tmp_path: Path) -> None:
    box = tmp_path / "box"
    for name in ("relay.toml", "tls/cert.pem", "tls/old/ca.pem", "notes.txt"):
        (box / name).parent.mkdir(parents=True, exist_ok=True)
        (box / name).write_text(name)
    for name in ("keyring", "root.key", "index.db", "index.db-wal", "journal/root.a", "media/00", "backup.catalogue"):
        (box / name).parent.mkdir(parents=True, exist_ok=True)
        (box / name).write_text("secret")
    for name in ("relay.toml.before", "relay.toml.trial", "network.before", "failed-starts", "room.part"):
        (box / name).write_text("of this machine and this moment")
    (box / "index.db.lost-0").write_text("old")
    (box / "tls/cert.pem.part").write_text("half")
    (box / "link").symlink_to("/etc/passwd")
    (box / "large").write_bytes(bytes((1 << 20) + 1))
    (box / "tls/cert.pem").chmod(0o640)
    files, settings, left_out = folder_files(box, config())
    assert [file.name for file in files] == ["notes.txt", "relay.toml", "tls/cert.pem", "tls/old/ca.pem"]
    assert files[2].mode == 0o640
    assert files[2].content == b"tls/cert.pem"
    assert (settings, left_out) == ({}, ["large: larger than 1 MiB"])


def test_a_key_file_of_another_name_stays_too(tmp_path: Path) -> None:
    (tmp_path / "other.key").write_text("secret")
    given = Config.parse({"server": {"name": "box.example"}, "store": {"key_file": "other.key"}})
    assert folder_files(tmp_path, given)[0] == []


def test_certificates_elsewhere_are_brought_into_the_folder(tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    (tmp_path / "cert.pem").write_text("mine")
    files, settings, _ = folder_files(tmp_path / "box", config(cert=str(tmp_path / "cert.pem"), key="../cert.pem"))
    assert settings == {"tls.cert": "tls/brought-cert.pem", "tls.key": "tls/brought-key.pem"}
    assert [(file.name, file.content) for file in files] == [
        ("tls/brought-cert.pem", b"mine"),
        ("tls/brought-key.pem", b"mine"),
    ]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nowhere"):
        folder_files(tmp_path, config(cert="/nowhere/cert.pem"))


def test_sockets_and_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert folder_files(tmp_path, config())[0] == []
