from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.errors import ConfigError
from relay.delivery.standby.key_file import read_key, render_key

KEY = bytes(range(32))


def test_a_key_comes_back_also_as_somebody_typed_it(tmp_path: Path) -> None:
    path = tmp_path / "standby.key"
    line = render_key(KEY)
    name, letters = line.split()
    for text in (line, f"{line}\n", f"{name} {letters.lower()}", f"{name} {letters.replace('-', ' ')}"):
        path.write_text(text)
        assert read_key(path) == KEY


@given(st.integers(0, 55), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_a_wrong_letter_is_noticed(place: int, letter: str) -> None:
    class Text:
        def __init__(self, text: str) -> None:
            self.text = text

        def read_text(self, _encoding: str) -> str:
            return self.text

    name, letters = render_key(KEY).split()
    plain = letters.replace("-", "")
    changed = plain[:place] + letter + plain[place + 1 :]
    if changed != plain:
        with pytest.raises(ConfigError) as caught:
            read_key(Text(f"{name} {changed}"))  # type: ignore[arg-type]
        assert changed not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "doorstep-standby-1", "doorstep-standby-1 ABC", "hush hush", "doorstep-standby-1 \u00e4"]
)
def test_what_is_no_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "standby.key"
    path.write_text(text)
    with pytest.raises(ConfigError):
        read_key(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_key(tmp_path / "gone")
