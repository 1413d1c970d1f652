"""What the guest's kernel says: the tests that need devices of a board, run in the guest as they are."""

import importlib.metadata
import re
import shutil
from pathlib import Path

from tests.guest.findings import Findings
from tests.guest.image import ROOT
from tests.guest.machine import GuestMachine

TESTS = ("tests/interop/test_kernel_devices.py", "tests/interop/test_kernel_board.py")
# Pure Python, of the versions of the test lock: what this very process was installed from.
_RUNNER = ("pytest", "pluggy", "iniconfig", "packaging", "pygments")
_COMMAND = f"""\
modprobe uinput
cd /stick/kernel
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=.:runner:/usr/lib/doorstep/current:/usr/lib/doorstep/current/lib \
    python3 -m pytest -q -ra -m guest -c /dev/null --rootdir=. --noconftest -p no:cacheprovider -p no:warnings \
    -o markers=guest -o markers=interop --import-mode=importlib {" ".join(TESTS)}
"""


def carry(folder: Path) -> None:
    """Lay the tests, their fakes and what runs them into `folder`."""
    for distribution in _RUNNER:
        for file in importlib.metadata.files(distribution) or ():
            if file.suffix == ".py" and ".." not in file.parts:
                _copy(Path(str(file.locate())), folder / "runner" / file)
    for path in (*(ROOT / "tests/fakes").glob("*.py"), *(ROOT / name for name in TESTS)):
        _copy(path, folder / path.relative_to(ROOT))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def ask_the_kernel(machine: GuestMachine, findings: Findings) -> None:
    """Run them; nothing may be skipped."""
    said = machine.run(_COMMAND, within_s=600, check=False)
    outcome = re.search(r"(?m)^(\d+) passed(?:, \d+ deselected)? in", said)
    findings.expect(outcome, said[-3000:])
    assert outcome is not None
    findings.see(
        "what the kernel says of button, light, watchdog, clock, board: the fakes' tests", f"{outcome[1]} hold"
    )
