"""All checks in one command: `python -m tests.check`, or `./box test`. One line a step, one verdict."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
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
    "crash": (PYTHON, "-m", "pytest", "-q", "-ra", "tests/crash"),
    "tests": (PYTHON, "-m", "pytest", "-q", "-ra", "--ignore=tests/crash"),
    "interop": (PYTHON, "-m", "pytest", "-q", "-ra", "-m", "interop and not long and not guest", "tests/interop"),
}
# Half of the work, and none of it in a hurry: it runs beside the others, and what it said stands behind theirs.
BESIDE = "crash"
# Its peers look at the clock: it begins when everything else is done.
PEACEFUL = "interop"
# Only when asked for by name: they take many minutes. The last lines of each say what was tried and what it showed.
LONG_STEPS: dict[str, Sequence[str]] = {
    "crash-long": (PYTHON, "-m", "pytest", "-q", "-ra", "-m", "long", *PATIENTLY, *CRASH_TESTS),
    "guest": (PYTHON, "-m", "tests.guest"),
    "image": (PYTHON, "-m", "tests.card"),
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
    failed = _run_all(arguments.steps or list(STEPS), arguments.pytest.split())
    print(f"FAILED: {', '.join(failed)}" if failed else "All checks passed.", flush=True)
    return 1 if failed else 0


def _run_all(steps: list[str], pytest_arguments: list[str]) -> list[str]:
    """Run `steps`, those that need peace last; return those that failed."""
    run = partial(_run, pytest_arguments=pytest_arguments)
    aside = [step for step in steps if step == BESIDE and len(steps) > 1]
    last = [step for step in steps if step == PEACEFUL or step in LONG_STEPS]
    with ThreadPoolExecutor(1) as second_core:
        begun = {step: second_core.submit(run, step, aside=True) for step in aside}
        passed = {step: run(step) for step in steps if step not in (*aside, *last)}
        passed |= {step: outcome.result() for step, outcome in begun.items()}
    passed |= {step: run(step) for step in last}
    return [step for step in steps if not passed[step]]


def _run(step: str, pytest_arguments: list[str], *, aside: bool = False) -> bool:
    command = [*{**STEPS, **LONG_STEPS}[step]]
    if "pytest" in command:
        command += pytest_arguments
    begun = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    out, err = (subprocess.PIPE, subprocess.STDOUT) if aside else (None, None)
    outcome = subprocess.run(command, cwd=ROOT, env=environment, stdout=out, stderr=err, text=True, check=False)
    verdict = f"{'ok  ' if outcome.returncode == 0 else 'FAIL'} {step} {time.monotonic() - begun:.0f} s"
    print(outcome.stdout or "", verdict, sep="", flush=True)
    return outcome.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
