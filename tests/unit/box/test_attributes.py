from pathlib import Path

import pytest

from relay.box.attributes import number, text


@pytest.mark.parametrize(
    ("content", "words", "value"),
    [
        (b"14\n", "14", 14),
        (b"-5\n", "-5", -5),
        (b"active\n", "active", None),
        (b"", "", None),
        (b"\xff\n", "\ufffd", None),
    ],
)
def test_an_attribute_is_one_value_and_a_newline(tmp_path: Path, content: bytes, words: str, value: int | None) -> None:
    (tmp_path / "it").write_bytes(content)
    assert (text(tmp_path / "it"), number(tmp_path / "it")) == (words, value)


def test_what_is_not_there_or_no_file_says_nothing(tmp_path: Path) -> None:
    for path in (tmp_path / "it", tmp_path):
        assert (text(path), number(path)) == ("", None)
