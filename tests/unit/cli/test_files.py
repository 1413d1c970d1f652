from pathlib import Path

from relay.cli.files import write_whole


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
