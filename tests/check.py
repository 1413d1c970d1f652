"""All checks in one command: `python -m tests.check`, or `./box test`. One line a step, one verdict."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable

CRASH_TESTS = ("tests/crash", "tests/interop/test_block_power_cuts.py", "tests/interop/test_power_cuts.py")
PATIENTLY = ("-o", "faulthandler_timeout=3600")

STEPS: dict[str, Sequence[str]] = {
    "format": (PYTHON, "-m", "ruff", "format", "--check", "--quiet", "."),
    "lint": (PYTHON, "-m", "ruff", "check", "--quiet", "."),
    "types": (PYTHON, "-m", "mypy", "--no-error-summary"),
    "layers": (str(Path(PYTHON).with_name("lint-imports")), "--no-cache"),
    "tests": (PYTHON, "-m", "pytest", "-q", "-ra"),
    "interop": (PYTHON, "-m", "pytest", "-q", "-ra", "-m", "interop and not long", "tests/interop"),
}
# Only when asked for by name: they take many minutes. The last lines of each say what was tried and what it showed.
LONG_STEPS: dict[str, Sequence[str]] = {
    "crash-long": (PYTHON, "-m", "pytest", "-q", "-ra", "-m", "long", *PATIENTLY, *CRASH_TESTS),
    "guest": (PYTHON, "-m", "tests.guest"),
}


def main() -> int:
    """Run the steps asked for, all unless told; return 0 when every one passed."""
    parser = argparse.ArgumentParser(prog="./box test", description=__doc__)
    parser.add_argument(
        "steps",
        nargs="*",
        metavar="STEP",
        help=f"one or more of: {' '.join(STEPS)} (all of these unless given), or {' '.join(LONG_STEPS)} (many minutes)",
    )
    parser.add_argument("--pytest", default="", help="more arguments for pytest, e.g. --pytest='-k ledger'")
    arguments = parser.parse_args()
    unknown = [step for step in arguments.steps if step not in STEPS | LONG_STEPS]
    if unknown:
        parser.error(f"no step called {', '.join(unknown)}")
    failed = [step for step in arguments.steps or STEPS if not _run(step, arguments.pytest.split())]
    print(f"FAILED: {', '.join(failed)}" if failed else "All checks passed.", flush=True)
    return 1 if failed else 0


def _run(step: str, pytest_arguments: list[str]) -> bool:
    command = [*{**STEPS, **LONG_STEPS}[step]]
    if "pytest" in command:
        command += pytest_arguments
    begun = time.monotonic()
    outcome = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    print(f"{'ok  ' if outcome.returncode == 0 else 'FAIL'} {step} {time.monotonic() - begun:.0f} s", flush=True)
    return outcome.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
