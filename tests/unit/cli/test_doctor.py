import datetime
import fcntl
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme

from relay.base import clock
from relay.base.config import Config
from relay.base.ids import ServerName
from relay.base.limits import MIB
from relay.cli import doctor
from relay.cli.own_ca import make_own_ca
from relay.store.catalogue import FILE_NAME as CATALOGUE
from relay.store.files import OS_FILES
from relay.store.root_page import Root, seal_root
from relay.store.upgrade import MARK

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture
def box(tmp_path: Path) -> Path:
    (tmp_path / "relay.toml").write_text(Config.parse({"server": {"name": "box.example"}}).render())
    (tmp_path / "root.key").touch()
    make_own_ca(tmp_path, ServerName("box.example"), NOW)
    (tmp_path / CATALOGUE).touch()
    return tmp_path


def found(folder: Path) -> set[tuple[str, str]]:
    return {(finding.level, finding.what) for finding in doctor.find_in_files(folder)}


def test_a_fresh_box_has_notes_only(box: Path) -> None:
    assert found(box) == {("note", "the box made its own CA")}


def test_a_backup_that_was_never_made_or_long_ago_is_noticed(box: Path) -> None:
    os.utime(box / CATALOGUE, (NOW.timestamp(), NOW.timestamp() - 31 * 24 * 3600 - 60))
    assert ("warning", "the last backup is 31 days old") in found(box)
    (box / CATALOGUE).unlink()
    assert ("note", "no backup of this box was kept yet") in found(box)


def test_files_that_are_gone_are_faults(box: Path) -> None:
    (box / "root.key").unlink()
    (box / "tls" / "key.pem").unlink()
    assert found(box) == {("fault", "the key file is missing"), ("fault", "the TLS file tls/key.pem is missing")}


@pytest.mark.parametrize(("days", "level"), [(5, "warning"), (-5, "fault")])
def test_a_certificate_near_its_end_is_named(box: Path, days: int, level: str) -> None:
    ends = NOW + datetime.timedelta(days=days, hours=1)
    leaf = trustme.CA().issue_cert("box.example", not_before=NOW - datetime.timedelta(days=90), not_after=ends)
    leaf.cert_chain_pems[0].write_to_path(box / "tls" / "cert.pem")
    assert any(a_level == level and "certificate" in what for a_level, what in found(box))


def test_a_certificate_that_is_none_is_a_fault(box: Path) -> None:
    (box / "tls" / "cert.pem").write_text("rubbish")
    assert ("fault", "the certificate cannot be read") in found(box)


@pytest.mark.parametrize(("free_mib", "level"), [(512, "fault"), (513, "warning"), (1536, "warning"), (1537, None)])
def test_a_card_is_full_where_nothing_new_is_taken_in_and_warned_of_before(
    box: Path, monkeypatch: pytest.MonkeyPatch, free_mib: int, level: str | None
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=free_mib * MIB))
    found = [finding for finding in doctor.find_in_files(box) if "MiB are free" in finding.what]
    assert [finding.level for finding in found] == ([level] if level else [])


def test_a_clock_before_the_box_was_built_is_a_fault(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "EARLIEST", NOW + datetime.timedelta(days=1))
    words = "the clock was never set: other servers, certificates and the copy elsewhere wait, and nothing expires"
    assert ("fault", words) in found(box)


def test_a_box_that_holds_its_folder_in_silence_is_named(box: Path) -> None:
    descriptor = os.open(box, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        (finding,) = doctor.find_without_box(box)
    finally:
        os.close(descriptor)
    assert "does not answer" in finding.what


def test_a_reset_cut_short_is_named_before_anything_else(box: Path) -> None:
    (box / "reset").touch()
    (finding,) = doctor.find_without_box(box)
    assert "reset was interrupted" in finding.what


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    (finding,) = doctor.find_without_box(tmp_path / "nowhere")
    assert "does not exist" in finding.what


def test_a_state_folder_of_a_newer_release_is_named_without_its_key(box: Path) -> None:
    (box / "journal").mkdir()
    (box / "journal" / "root.a").write_bytes(seal_root(Root(1, 1, 1, 1, 1, (), 99), b"k" * 32, b"n" * 24))
    (finding,) = doctor.find_without_box(box)
    assert (finding.level, finding.next_step) == ("fault", "install that release or a later one, nothing was changed")
    assert "format 99" in finding.what
    (box / "journal" / "root.b").write_bytes(seal_root(Root(1, 1, 1, 1, 1, ()), b"k" * 32, b"n" * 24))
    assert [finding.what for finding in doctor.find_without_box(box)][-1] == "the box is not running"


def test_a_box_under_upgrade_is_to_be_left_alone(box: Path) -> None:
    (box / MARK).write_text("2 of 3")
    assert [finding.what for finding in doctor.find_without_box(box)][-1] == "the box is not running"
    with OS_FILES.lock(box):
        (finding,) = doctor.find_without_box(box)
    assert finding.level == "note"
    assert "step 2 of 3" in finding.what
