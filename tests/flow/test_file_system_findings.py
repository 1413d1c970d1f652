"""The doctor looks at how the state folder is mounted: at a household's pace that is most of what flash bears."""

from pathlib import Path

import pytest

from relay.app.health import HouseReport
from relay.app.house import Flash, open_house
from relay.base.config import Config
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import SEGMENT_BYTES, InlineWorkers


@pytest.mark.parametrize(
    ("options", "said"),
    [("rw", "its own journal 5 s after"), ("rw,commit=30", "its own journal 30 s after"), ("rw,commit=300", "")],
)
async def test_a_file_system_that_writes_after_each_message_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, said: str
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/x / ext4 {options} 0 0\n")
    monkeypatch.setattr("relay.app.health.MOUNTS", mounts)
    flash = Flash(files=MemoryFiles(), workers=InlineWorkers(), segment_bytes=SEGMENT_BYTES)
    async with open_house(tmp_path, Config.parse({"server": {"name": "box.test"}}), flash) as house:
        found = [finding for finding in await HouseReport(house, {}).findings() if "file system" in finding.what]
    assert [said in finding.what for finding in found] == ([True] if said else [])
    assert all("commit=300" in finding.next_step for finding in found)
