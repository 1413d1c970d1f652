import json
from pathlib import Path

import pytest

from relay.base.limits import MAX_DIAGNOSTICS_LOG_LINES
from relay.cli.machine_log import log_lines, unit_states

STATES = """Id=relay.service
ActiveState=failed
Result=exit-code
NRestarts=3
StateChangeTimestamp=

Id=relay-board.service
ActiveState=active
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    return tmp_path


def make(folder: Path, name: str, output: str, code: int = 0) -> None:
    (folder / f"{name}.out").write_text(output)
    (folder / name).write_text(f'#!/bin/sh\necho "$@" >{folder}/{name}.args\ncat {folder}/{name}.out\nexit {code}\n')
    (folder / name).chmod(0o755)


def test_each_unit_is_one_line(tools: Path) -> None:
    make(tools, "systemctl", STATES)
    assert unit_states() == [
        "relay-board.service: active",
        "relay.service: failed, result exit-code, restarts 3",
    ]


def test_the_last_lines_come_with_their_time_and_unit(tools: Path) -> None:
    entries = [
        {"__REALTIME_TIMESTAMP": "1795471200000000", "_SYSTEMD_UNIT": "relay.service", "MESSAGE": "hello"},
        {"__REALTIME_TIMESTAMP": "1795471200000000", "UNIT": "relay.service", "MESSAGE": [1, 2]},
        {"MESSAGE": "without a time"},
        [],
    ]
    make(tools, "journalctl", "\n".join(map(json.dumps, entries)) + "\nnonsense\n")
    assert log_lines() == [
        ("2026-11-23T22:00:00Z relay.service", "hello"),
        ("2026-11-23T22:00:00Z relay.service", "(no text)"),
    ]
    asked = (tools / "journalctl.args").read_text()
    assert f"--lines {MAX_DIAGNOSTICS_LOG_LINES} " in asked


def test_without_systemd_there_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (unit_states(), log_lines()) == ([], [])


def test_a_tool_that_fails_says_nothing(tools: Path) -> None:
    make(tools, "systemctl", "", 1)
    make(tools, "journalctl", "", 1)
    assert (unit_states(), log_lines()) == ([], [])
