"""Things that hang: the relay, which systemd ends and starts again, and the kernel, which the hardware resets."""

import json
import time

from tests.guest.findings import Findings
from tests.guest.guest_box import STATE, GuestBox

_RELAY_WITHIN_S = 200
# RuntimeWatchdogSec of the profile is 30 s; the emulator's clock may run late.
_BOARD_WITHIN_S = 120


def the_relay_hangs(box: GuestBox, findings: Findings) -> None:
    """Stop the relay where it is; WatchdogSec= has to notice."""
    machine = box.machine
    before = machine.run("systemctl show -p NRestarts --value relay.service")
    machine.run("kill -STOP $(systemctl show -p MainPID --value relay.service)")
    begun = time.monotonic()
    while machine.run("systemctl show -p NRestarts --value relay.service; sleep 1").split()[0] == before:
        findings.expect(time.monotonic() - begun < _RELAY_WITHIN_S, "nobody notices that the relay hangs")
    noticed_s = time.monotonic() - begun
    told = machine.run("journalctl -b -u relay.service -o cat | grep -c \"Failed with result 'watchdog'\"", check=False)
    findings.expect(told == "1", f"systemd says {told}")
    box.wait_until_open()
    findings.see(
        "relay stopped where it is (SIGSTOP)",
        f"ended by systemd's watchdog after {noticed_s:.0f} s, open {time.monotonic() - begun - noticed_s:.0f} s later",
    )


def the_board_hangs(box: GuestBox, findings: Findings) -> None:
    """Let the kernel panic, after which nothing feeds the hardware watchdog any more."""
    machine = box.machine
    findings.expect(machine.run("cat /proc/sys/kernel/panic") == "0", "the kernel starts again by itself")
    # The board itself starts again, so that the watchdog remembers what it did.
    machine.control("set-action", reboot="reset")
    machine.type("sync; echo c >/proc/sysrq-trigger")
    begun = time.monotonic()
    told = machine.wait_for_event("WATCHDOG", _BOARD_WITHIN_S)
    fired_s = time.monotonic() - begun
    findings.expect(told["action"] == "reset", told)
    machine.log_in()
    # The chip forgot its pins with everything else.
    machine.wires.release()
    box.wait_until_open()
    watchdog = json.loads(machine.run(f"relay board --state {STATE} --json"))["health"]["watchdog"]
    findings.expect(watchdog["reset_board"], watchdog)
    doctor = machine.run(f"relay doctor --state {STATE}", check=False)
    findings.expect("the watchdog has reset the board" in doctor, doctor)
    findings.see(
        "kernel panic, nobody feeds the hardware watchdog",
        f"QEMU sees its reset after {fired_s:.0f} s, the box is open {time.monotonic() - begun:.0f} s after the panic;"
        " `relay doctor` says why it was started again",
    )
