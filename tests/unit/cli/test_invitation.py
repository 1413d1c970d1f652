import pytest

from relay.base.config import Config
from relay.cli.invitation import describe_invitation, draw_qr, public_url


def config(**settings: str) -> Config:
    return Config.parse({"server": {"name": "box.example"}}).with_settings(
        {f"client.{name}": value for name, value in settings.items()}
    )


@pytest.mark.parametrize(
    ("settings", "listening", "url"),
    [
        ({}, "", "http://127.0.0.1:8008"),
        ({"listen": "127.0.0.1:0"}, "127.0.0.1:4711", "http://127.0.0.1:4711"),
        ({"listen": "[::]:443", "tls": "true"}, "[::]:443", "https://box.example"),
        ({"listen": "[2001:db8::1]:443", "tls": "true"}, "", "https://[2001:db8::1]"),
        ({"public_url": "https://chat.example/"}, "127.0.0.1:1", "https://chat.example"),
    ],
)
def test_apps_are_told_an_address_they_can_reach(settings: dict[str, str], listening: str, url: str) -> None:
    assert public_url(config(**settings), listening) == url


def test_the_token_stands_where_no_server_sees_it() -> None:
    assert describe_invitation("https://chat.example", "abc")["url"] == "https://chat.example/#invite=abc"


def test_a_qr_code_fits_a_terminal_of_80_columns_and_24_lines() -> None:
    drawn = draw_qr("http://192.168.100.200:8008/#invite=abcdefghijklmnopqrstuvwxyz012345")
    assert len(drawn["qr"]) <= 22
    assert all(len(line) < 80 for line in drawn["qr"] + drawn["qr_ascii"])
    assert all(line.isascii() for line in drawn["qr_ascii"])


@pytest.mark.parametrize(("length", "drawn_in_ascii"), [(20, True), (106, True), (107, False), (230, False)])
def test_a_code_in_ascii_never_wraps_and_one_that_would_is_left_out(length: int, drawn_in_ascii: bool) -> None:
    rows = draw_qr("x" * length)["qr_ascii"]
    assert bool(rows) is drawn_in_ascii
    assert all(len(row) < 80 and row.startswith("##") for row in rows)
