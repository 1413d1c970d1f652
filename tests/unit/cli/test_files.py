import os
import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest

from relay.cli.files import act_as_owner, write_whole


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    write_whole(tmp_path / "f", b"old")
    write_whole(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"new"
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_what_a_power_cut_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(b"half")
    write_whole(tmp_path / "f", b"whole")
    assert (tmp_path / "f").read_bytes() == b"whole"


@pytest.mark.parametrize(("users", "groups"), [({}, []), ({990: "doorstep"}, [991, 107])])
def test_root_acts_as_the_owner_of_the_folder_with_the_owners_groups(
    users: dict[int, str], groups: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    became: list[tuple[str, object]] = []
    for name in ("setgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, lambda number, name=name: became.append((name, number)))
    monkeypatch.setattr(pwd, "getpwuid", lambda user: SimpleNamespace(pw_name=users[user]))
    monkeypatch.setattr(os, "getgrouplist", lambda name, group: {"doorstep": [group, 107]}[name])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(Path, "stat", lambda _path, **_: SimpleNamespace(st_mode=0o40700, st_uid=990, st_gid=991))
    act_as_owner(tmp_path)
    assert became == [("setgroups", groups), ("setgid", 991), ("setuid", 990)]


def test_nobody_else_changes_who_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "setuid", lambda _number: pytest.fail("became somebody else"))
    act_as_owner(tmp_path / "not-there")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    act_as_owner(tmp_path)
