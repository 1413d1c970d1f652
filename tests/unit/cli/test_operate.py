import datetime
from pathlib import Path
from typing import Any

import pytest

from relay.base.config import Config, load
from relay.base.errors import ConfigError, ConflictError, ForbiddenError, InvalidInputError
from relay.base.limits import MAX_TRIAL_S, MIN_TRIAL_S
from relay.cli.operate import operate, parse_utc
from relay.store.root_page import Root, seal_root
from relay.store.tables import STATE_FORMAT


@pytest.fixture
def box(tmp_path: Path) -> Path:
    (tmp_path / "relay.toml").write_text(Config.parse({"server": {"name": "box.example"}}).render())
    return tmp_path


def test_a_folder_that_is_no_box_says_so(tmp_path: Path) -> None:
    assert operate(tmp_path, {"verb": "status"}) == {"provisioned": False, "running": False}
    assert operate(tmp_path / "nowhere", {"verb": "status"}) == {"provisioned": False, "running": False}


def test_a_box_that_is_off_says_where_it_would_be(box: Path) -> None:
    status = operate(box, {"verb": "status"})
    assert status == {
        "provisioned": True,
        "running": False,
        "locked": False,
        "server": "box.example",
        "url": "http://127.0.0.1:8008",
    }


def test_settings_change_and_the_same_change_twice_is_the_same(box: Path) -> None:
    request = {"verb": "set", "settings": {"delivery.retry_first_s": "0.5"}}
    assert operate(box, request) == {"changed": True, "restart_needed": True, "restarting": False}
    assert load(box).delivery.retry_first_s == 0.5
    assert operate(box, request) == {"changed": False, "restart_needed": False, "restarting": False}


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        ({"verb": "set", "settings": {"server.name": "other.example"}}, ConflictError),
        ({"verb": "set", "settings": {"client.listen": "0.0.0.0:80"}}, ConfigError),
        ({"verb": "set", "settings": {"x.y": "1"}}, ConfigError),
        ({"verb": "set", "settings": {"log.level": 5}}, InvalidInputError),
        ({"verb": "set"}, InvalidInputError),
        ({"verb": "set", "settings": {}, "confirm_s": True}, InvalidInputError),
        ({"verb": "set", "settings": {}, "confirm_s": MIN_TRIAL_S - 1}, InvalidInputError),
        ({"verb": "set", "settings": {}, "confirm_s": MAX_TRIAL_S + 1}, InvalidInputError),
        ({"verb": "commit"}, ConflictError),
        ({"verb": "rollback"}, ConflictError),
        ({"verb": "set", "settings": {}, "more": 1}, InvalidInputError),
        ({"verb": "factory_reset", "confirm": "other.example"}, ForbiddenError),
        ({"verb": "factory_reset"}, ForbiddenError),
        ({"verb": "time_set", "utc": "noon"}, InvalidInputError),
        ({"verb": "provision", "name": "other.example"}, ConflictError),
        ({"verb": 5}, InvalidInputError),
        ({"verb": ["status"]}, InvalidInputError),
    ],
)
def test_wrong_requests_are_refused_and_change_nothing(
    box: Path, request_: dict[str, Any], kind: type[Exception]
) -> None:
    before = (box / "relay.toml").read_bytes()
    with pytest.raises(kind):
        operate(box, request_)
    assert (box / "relay.toml").read_bytes() == before


def test_a_reset_needs_the_name_of_the_box(box: Path) -> None:
    operate(box, {"verb": "factory_reset", "confirm": "box.example"})
    assert list(box.iterdir()) == []


def test_the_time_is_utc_and_plausible() -> None:
    assert parse_utc("2026-11-23T12:00:00Z") == datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)
    for text in ("2026-11-23T12:00:00", "2026-11-23T12:00:00+01:00", "1970-01-01T00:00:00Z", 5, None):
        with pytest.raises(InvalidInputError):
            parse_utc(text)


def test_the_doctor_names_what_is_wrong_with_a_box_that_is_off(box: Path) -> None:
    findings = operate(box, {"verb": "doctor"})["findings"]
    assert {"the box is not running", "the key file is missing"} <= {finding["what"] for finding in findings}
    assert all(finding["next_step"] for finding in findings)


def test_whoever_asks_how_the_box_is_hears_of_a_change_on_trial(box: Path) -> None:
    operate(box, {"verb": "set", "settings": {"log.level": "debug"}, "confirm_s": 60})
    assert 50 < operate(box, {"verb": "status"})["goes_back_in_s"] <= 60
    assert 50 < operate(box, {"verb": "show"})["goes_back_in_s"] <= 60
    assert operate(box, {"verb": "settle"})["left_s"] > 50
    assert "a change is on trial" in str(operate(box, {"verb": "doctor"}))
    assert operate(box, {"verb": "commit"}) == {"kept": True}
    assert "goes_back_in_s" not in operate(box, {"verb": "status"})


@pytest.mark.parametrize(("content", "what"), [(None, ["not been set up"]), ("[", ["is not running", "not TOML"])])
def test_the_doctor_names_a_box_without_usable_settings(tmp_path: Path, content: str | None, what: list[str]) -> None:
    if content is not None:
        (tmp_path / "relay.toml").write_text(content)
    findings = operate(tmp_path, {"verb": "doctor"})["findings"]
    assert len(findings) == len(what)
    assert all(part in finding["what"] for part, finding in zip(what, findings, strict=True))


def test_a_release_says_whether_it_can_read_a_state_folder(tmp_path: Path) -> None:
    assert operate(tmp_path, {"verb": "format"}) == {"found": 0, "known": STATE_FORMAT, "readable": True}
    (tmp_path / "journal").mkdir()
    for number, readable in ((STATE_FORMAT, True), (STATE_FORMAT + 1, False)):
        page = seal_root(Root(1, 1, 1, 1, 1, (), number), b"k" * 32, b"n" * 24)
        (tmp_path / "journal" / "root.a").write_bytes(page)
        assert operate(tmp_path, {"verb": "format"}) == {"found": number, "known": STATE_FORMAT, "readable": readable}
