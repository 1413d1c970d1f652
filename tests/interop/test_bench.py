"""`relay bench flash` runs and leaves nothing behind; what it measures with so little is no figure."""

import json
import subprocess
from pathlib import Path

import pytest

from relay.cli.bench import figures, report
from relay.cli.bench.crowd import CrowdedBox
from relay.cli.bench.disk import LoopDisk
from relay.cli.bench.flash import QUICK
from relay.cli.bench.servers import BoxServer

pytestmark = pytest.mark.interop


def test_memory_is_measured_while_a_crowded_room_is_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CrowdedBox, "members", 50)
    peak, after = figures.large_join(BoxServer, tmp_path / "join")
    assert peak.note.startswith("51 members")
    assert 20 < (after.value or 0) <= (peak.value or 0) < 200


@pytest.mark.skipif(bool(LoopDisk.unavailable()), reason=LoopDisk.unavailable() or "-")
def test_flash_is_measured_from_a_message_to_a_year(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    rows = json.loads(report.run("flash", None, as_json=True, scale=QUICK))
    for name in (
        "flash.small.four_80b.flushes_per_commit",
        "flash.large.four_80b",
        "hurried_day.bytes",
        "day.messages",
        "day.receipts",
        "day_commit300.flushes",
        "year.card_years_worst",
    ):
        assert rows[name]["doorstep"] > 0, name
    assert rows["idle.bytes_per_hour"]["doorstep"] >= 0
    assert rows["day_commit300.bytes"]["doorstep"] < rows["day.bytes"]["doorstep"]
    attached = subprocess.run(["losetup", "-l", "-n", "-O", "BACK-FILE"], capture_output=True, text=True, check=True)
    assert str(tmp_path) not in attached.stdout
