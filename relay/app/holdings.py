"""What the box holds and what it still takes in, as `relay status` shows it and `relay doctor` judges it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relay.admin.operations import Finding
from relay.app.house import House
from relay.base.errors import RelayError
from relay.base.limits import MAX_SHOWN_HOLDERS, MIB, REFUSE_SHARE, SLOW_SHARE
from relay.delivery.account import Holder, account
from relay.delivery.bounds.admission import Admission
from relay.delivery.bounds.gauges import INDEX, INDEX_STEP
from relay.delivery.bounds.intake import Intake
from relay.delivery.bounds.levels import Level


def free_bytes(folder: Path) -> int:
    """Return what this process may still write to the file system of `folder`."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


async def show(house: House, admission: Admission | None) -> dict[str, Any]:
    """Return the account as flat tables; where the box does not run there is no `admission`, and nobody is let in."""
    held = await house.ledger.read(account, house.config)
    shown: dict[str, Any] = {
        "free_mib": free_bytes(house.folder) // MIB,
        "free_mib_kept": house.config.limits.free_mib,
        "holds": _lines("what", [Holder(_index(house)), *held.wholes]),
        "waiting_in_rooms": _lines("room", held.rooms),
        "waiting_from_servers": _lines("server", held.servers),
        "waiting_for_devices": _lines("device", held.devices),
        "outboxes": _lines("server", held.outboxes),
        "files": _lines("user", held.people),
    }
    if admission is not None:
        shown["intake"] = admission.mode
        shown["intake_refused"] = admission.refused_count
        shown["intake_slowed_down"] = admission.slowed_count
        shown["sent_in_a_day"] = [*_sent("server", admission.servers), *_sent("user", admission.people)]
    return shown


async def find(house: House) -> list[Finding]:
    """Return what is nearly full, or full, and what was dropped because too much waited."""
    findings: list[Finding] = []
    try:
        held = await house.ledger.read(account, house.config)
    except RelayError:
        # An index that cannot be read is somebody else's finding.
        return findings
    for holder in [Holder(_index(house)), *held.all()]:
        level = holder.level
        if level.share >= REFUSE_SHARE:
            findings.append(Finding("fault", f"{level.what}: full, {_sizes(level)}", level.next_step))
        elif level.share >= SLOW_SHARE:
            findings.append(Finding("warning", f"{level.what}: nearly full, {_sizes(level)}", level.next_step))
        if holder.dropped:
            what = f"{level.what}: {holder.dropped} of the oldest messages were dropped, as too many waited"
            findings.append(Finding("warning", what, level.next_step))
    return findings


def _index(house: House) -> Level:
    return Level(INDEX, house.ledger.index_bytes, house.config.limits.index_mib * MIB, INDEX_STEP)


def _lines(name: str, holders: Sequence[Holder]) -> list[dict[str, Any]]:
    return [_line(name, holder) for holder in holders]


def _line(name: str, holder: Holder) -> dict[str, Any]:
    level = holder.level
    dropped = {"dropped": holder.dropped} if holder.dropped else {}
    return {name: level.what, "bytes": level.held_bytes, "limit_bytes": level.limit_bytes, **dropped}


def _sent(name: str, intake: Intake) -> list[dict[str, Any]]:
    return [
        _line(name, Holder(Level(source, size_bytes, intake.day_bytes)))
        for source, size_bytes in intake.fullest(MAX_SHOWN_HOLDERS)
    ]


def _sizes(level: Level) -> str:
    return f"{level.held_bytes} of {level.limit_bytes} bytes; from {REFUSE_SHARE:.0%} on no more is taken"
