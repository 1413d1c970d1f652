"""How the house is: what `relay status` shows, and what `relay doctor` finds while it is open."""

import contextlib
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from relay.admin.advice import next_step
from relay.admin.operations import Finding
from relay.app import holdings
from relay.app.house import House
from relay.app.theft import NOTHING_PROTECTED, theft
from relay.box.mounts import MOUNTS, mount_of
from relay.delivery.bounds.admission import Admission
from relay.delivery.pruning.shown import shown
from relay.household import accounts
from relay.store.ledger import Index

# What is said at the pace of a household shares few commits of the file system below this.
_COMMIT_S = 60
_WORST_FIRST = ("fault", "warning", "note")

Watcher = Callable[[], tuple[dict[str, Any], list[Finding]]]
"""What one worker of the house says of itself: its part of the status, and what it finds wrong."""


class HouseReport:
    """`relay.admin.operations.Report`: what runs, what waits, what is wrong."""

    def __init__(
        self,
        house: House,
        listening: dict[str, str],
        admission: Admission | None = None,
        watchers: Sequence[Watcher] = (),
    ) -> None:
        self._house = house
        self._admission = admission
        self._watchers = watchers
        self._listening = listening
        self._begun_s = time.monotonic()

    async def status(self) -> dict[str, Any]:
        """Return the state of the house as JSON values."""
        house = self._house
        users = await house.ledger.read(_count)
        stolen = theft(house.folder, house.config.store)
        return {
            "server": house.server,
            "listening": self._listening,
            "protection": stolen.protection,
            "theft_reveals": {"of_the_card": stolen.card, "of_the_box": stolen.box},
            "users": users,
            "ledger": asdict(house.ledger.status()),
            "uptime_s": round(time.monotonic() - self._begun_s, 1),
            "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            **await holdings.show(house, self._admission),
            **await house.ledger.read(shown, house.server),
            **{name: value for watch in self._watchers for name, value in watch()[0].items()},
        }

    async def findings(self) -> list[Finding]:
        """Return what is wrong, worst first."""
        found = [finding for look in _LOOKS for finding in look(self._house)]
        found += await holdings.find(self._house)
        found += [finding for watch in self._watchers for finding in watch()[1]]
        return sorted(found, key=lambda finding: _WORST_FIRST.index(finding.level))


def _count(index: Index) -> int:
    return sum(account.active for account in accounts.list_accounts(index))


def _look_at_the_flash(house: House) -> Iterator[Finding]:
    ledger = house.ledger.status()
    if not ledger.healthy:
        what = f"{ledger.fault or 'flash failed'}: nothing new is taken in, what is intact can be read"
        yield Finding("fault", what, next_step(ledger.fault_code))
    if ledger.lost_page:
        what = f"the root page {ledger.lost_page} of the journal cannot be written, the other one can"
        yield Finding("warning", what, "copy the state folder to another card soon, and start the box there")
    if ledger.loose_end:
        yield Finding(
            "warning",
            f"the journal ended in something unreadable at the last start: {ledger.loose_end}",
            "if the power was cut then, nothing is missing: it was never acknowledged; if not, check the card",
        )
    if ledger.failed_checkpoints:
        what = f"{ledger.failed_checkpoints} checkpoints of the index failed"
        yield Finding("warning", what, "look at free space and at the kernel log for I/O errors")


def _look_at_the_key(house: House) -> Iterator[Finding]:
    if theft(house.folder, house.config.store).protection == NOTHING_PROTECTED:
        yield Finding(
            "note",
            "the key lies beside what it seals: a stolen card can be read",
            "keep the key elsewhere: on a stick (store.key_file), or store.key_source passphrase, otp or tpm",
        )


def _look_at_the_file_system(house: House) -> Iterator[Finding]:
    with contextlib.suppress(OSError):
        mount = mount_of(house.folder.resolve(), MOUNTS.read_text("utf-8", "replace"))
        if mount is not None and mount.commit_s is not None and mount.commit_s < _COMMIT_S:
            yield Finding(
                "note",
                f"the file system writes its own journal {mount.commit_s} s after each message: thrice the flash",
                f"mount {mount.place} with noatime,commit=300; what is acknowledged is synced all the same",
            )


# Each look reads what the running house knows anyway; what needs the files alone is in `relay.cli.doctor`.
_LOOKS: tuple[Callable[[House], Iterator[Finding]], ...] = (
    _look_at_the_flash,
    _look_at_the_key,
    _look_at_the_file_system,
)
