import json
from pathlib import Path

import pytest

from relay.base.errors import InvalidInputError
from relay.cli.bench import report
from relay.cli.bench.figures import Build, Row
from relay.cli.bench.flash import QUICK


def one_row(_build: Build, _folder: Path) -> list[Row]:
    return [Row("idle.bytes_per_hour", "bytes", 4096.0, "a note"), Row("idle.other", "1", 1234.5)]


@pytest.mark.parametrize(
    ("name", "value", "met"),
    [
        ("idle.bytes_per_hour", 0.0, True),
        ("idle.bytes_per_hour", 1.0, False),
        ("flash.small.one_80b.flushes_per_commit", 1.1, True),
        ("flash.large.sixteen_1kib.flushes_per_commit", 1.11, False),
        ("local.sends_per_s.one", 400, True),
        ("local.sends_per_s.one", 399, False),
        ("start.clean", None, None),
        ("there.is.no.target", 1.0, None),
    ],
)
def test_a_figure_meets_its_target_or_not(name: str, value: float | None, met: bool | None) -> None:
    assert report.met(name, value) is met


def test_every_target_and_verdict_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "BENCHES", {"some": [one_row]})
    shown = report.run("some", None, as_json=False, scale=QUICK)
    line = next(line for line in shown.splitlines() if line.startswith("idle.bytes_per_hour"))
    assert line.split() == ["idle.bytes_per_hour", "bytes", "<=", "0", "4,096", "MISSED", "a", "note"]
    rows = json.loads(report.run("some", None, as_json=True, scale=QUICK))
    assert rows["idle.bytes_per_hour"] == {
        "unit": "bytes",
        "note": "a note",
        "target": "<=0",
        "met": False,
        "doorstep": 4096.0,
    }
    assert rows["idle.other"]["target"] is None


def test_an_unknown_bench_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInputError, match=r"known are .*flash"):
        report.run("flush", None, as_json=False, scale=QUICK)
