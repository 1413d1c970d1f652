from dataclasses import dataclass
from pathlib import Path

import pytest

from relay.base.errors import ConfigError
from relay.base.typed_toml import parse_table, read_toml


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    dev: str
    baud: int = 115_200


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    name: str
    ports: tuple[Port, ...] = ()
    compatible: tuple[str, ...] = ()
    volts: float = 5.0


def test_tables_lists_of_tables_and_lists_of_texts_become_dataclasses() -> None:
    board = parse_table(Board, {"name": "pi", "ports": [{"dev": "/dev/a"}], "compatible": ["a", "b"], "volts": 3})
    assert board == Board(name="pi", ports=(Port(dev="/dev/a"),), compatible=("a", "b"), volts=3.0)
    assert type(board.volts) is float


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "name is missing"),
        ({"name": 5}, "name is 5; it must be str"),
        ({"name": "pi", "nam": "x"}, "unknown section nam; known are compatible, name, ports, volts"),
        ({"name": "pi", "ports": {}}, "ports is {}; it must be a list"),
        ({"name": "pi", "ports": [5]}, r"ports\[0\] is not a table"),
        ({"name": "pi", "ports": [{"dev": "a"}, {}]}, r"ports\[1\].dev is missing"),
        ({"name": "pi", "ports": [{"dev": "a", "baud": True}]}, r"ports\[0\].baud is True; it must be int"),
        ({"name": "pi", "ports": [{"dev": "a", "speed": 1}]}, r"unknown setting in ports\[0\] speed"),
        ({"name": "pi", "compatible": ["a", 1]}, r"compatible\[1\] is 1; it must be str"),
    ],
)
def test_what_is_wrong_is_named_with_its_key(table: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_table(Board, table)


def test_a_file_that_is_no_toml_or_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    with pytest.raises(ConfigError, match="cannot be read"):
        read_toml(path)
    for content in (b"name = ", b"\xff", b"a=" + b"[" * 5000):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="is not TOML"):
            read_toml(path)
