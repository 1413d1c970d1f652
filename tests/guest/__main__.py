"""The acceptance run of the appliance: `./box test guest`. Twenty minutes; the first miss ends it.

An arm64 Debian 13 (QEMU virt, cortex-a53, 512 MB, no hardware virtualisation) boots, installs the package, is set up
over its second serial port by a person's commands, by Improv and by JSON lines, federates with a Synapse on this
machine and loses its power in the middle of traffic. Prints a table of what was seen.
"""

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

import trustme

from tests.guest import federation, hangs, kernel, keys, provisioning, wrong_clock
from tests.guest.acceptance import accept, require
from tests.guest.cable import Cable
from tests.guest.findings import Findings
from tests.guest.guest_box import CONSOLE, STATE, GuestBox
from tests.guest.image import ARCH, PROGRAMS, ROOT, SUITE, MissingError, guest_image, missing_packages
from tests.guest.machine import MEMORY_MIB, GuestMachine

MOST_RELAY_MIB = 64
CUTS = 2
_MOST_MINUTES = 45
_SLOWLY_S = 240


def main() -> int:
    """Run everything; return 0 when nothing was missed."""
    parser = argparse.ArgumentParser(prog="./box test guest", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the disk and the logs where they are")
    asked = parser.parse_args()
    require(missing_packages(PROGRAMS))
    try:
        image = guest_image()
    except MissingError as error:
        sys.exit(str(error))

    def look(findings: Findings, folder: Path) -> None:
        authority = trustme.CA()
        with GuestMachine(folder / "guest", image, _carried(folder / "carried", authority)) as machine:
            _live(machine, folder, authority, findings)

    return accept("guest", look, within_minutes=_MOST_MINUTES, keep=asked.keep)


def _carried(folder: Path, authority: trustme.CA) -> Path:
    """Return a folder with what is carried to the guest: the package, and the authority of the other server."""
    command = [sys.executable, str(ROOT / "hw/package/build.py"), "--suite", SUITE, "--arch", ARCH]
    subprocess.run([*command, "--out", str(folder)], check=True, stdout=subprocess.DEVNULL, timeout=600)
    authority.cert_pem.write_to_path(folder / "ca.crt")
    shutil.copy(ROOT / "tests/interop/careless_relay.py", folder)
    shutil.copy(ROOT / "tests/guest/inside/tpm_wire.py", folder)
    kernel.carry(folder / "kernel")
    return folder


def _live(machine: GuestMachine, folder: Path, authority: trustme.CA, findings: Findings) -> None:
    box = GuestBox(machine)
    with findings.stage("boot and install"):
        findings.see(
            f"arm64 Debian 13, cortex-a53, {MEMORY_MIB} MB, TCG: power-on to login", f"{machine.start():.0f} s"
        )
        _install(machine, findings)
        with findings.stage("what the kernel says"):
            kernel.ask_the_kernel(machine, findings)
        findings.see("clean power-off", f"{machine.power_off():.0f} s")
    machine.power_on()
    with Cable(machine.line) as cable:
        with findings.stage("start of the appliance"):
            _begins(machine, box, cable, findings)
        with findings.stage("set up by a person"):
            provisioning.by_a_person(cable, box, findings)
        with findings.stage("set up by Improv"):
            provisioning.by_an_installer(cable, box, findings)
        with findings.stage("set up by a program"):
            settings = {"tls_ca": "/etc/doorstep/peer.crt", "federation.allow_private_peers": "true"}
            provisioning.by_a_program(cable, box, findings, settings)
    with federation.synapse_on_the_host(folder / "host", authority, box) as synapse:
        with findings.stage("federation"):
            talk = federation.begin(synapse, box, findings)
            _measure(box, findings, "after logins and first messages")
        with findings.stage("power cuts"):
            federation.cut_the_power(talk, box, findings, CUTS)
            box.login(provisioning.OWNER, provisioning.PASSWORD)
            _measure(box, findings, "after the cuts, all traffic and a login")
        with findings.stage("what is left"):
            _look_around(machine, findings)
        with findings.stage("what hangs"):
            hangs.the_relay_hangs(box, findings)
            hangs.the_board_hangs(box, findings)
        with findings.stage("key on a stick"):
            keys.onto_a_stick(box, folder, findings)
        with findings.stage("key in a TPM"), keys.soldered(machine) as chip:
            keys.into_the_tpm(box, findings)
            machine.power_cut()
            chip.restart()
            machine.start(wrong_clock.LOST)
            keys.opened_by_the_tpm(box, findings)
            with findings.stage("wrong clock"):
                wrong_clock.set_right(talk, box, findings)
            with findings.stage("negative control"):
                machine.run("mountpoint -q /stick || mount -o ro /dev/vdb /stick")
                federation.cut_without_syncs(talk, box, findings)


def _install(machine: GuestMachine, findings: Findings) -> None:
    machine.run("mkdir -p /stick; mount -o ro /dev/vdb /stick")
    begun = time.monotonic()
    machine.run("apt-get install --yes --no-install-recommends /stick/doorstep_*.deb", within_s=900)
    took_s = time.monotonic() - begun
    machine.run("install -m 0644 /stick/ca.crt /etc/doorstep/peer.crt")
    active = machine.run("systemctl is-active relay.path relay-backup.timer relay-update.timer relay-health.timer")
    findings.expect(set(active.split()) == {"active"}, active)
    findings.see("package installed, no network used", f"{took_s:.0f} s, units active")
    board = machine.run("relay board")
    findings.expect(board.startswith("profile: qemu-virt"), board)
    findings.see("`relay board`", board.splitlines()[0])
    with Cable(machine.line) as cable:
        findings.expect("not set up yet" in cable.wake(_SLOWLY_S), "the console does not answer after the installation")


def _begins(machine: GuestMachine, box: GuestBox, cable: Cable, findings: Findings) -> None:
    greeting = cable.wake(_SLOWLY_S)
    answered_s = time.monotonic() - machine.started_at
    findings.expect("not set up yet" in greeting, greeting)
    machine.log_in()
    findings.see("power-on to the console's first answer on the cable", f"{answered_s:.0f} s")
    machine.run(f"systemctl stop {CONSOLE}; systemctl start --no-block {CONSOLE}")
    begun = time.monotonic()
    cable.wake(_SLOWLY_S)
    findings.see("start of the console to its first answer", f"{time.monotonic() - begun:.1f} s")
    state = machine.run("systemctl is-system-running --wait", check=False, within_s=_SLOWLY_S)
    findings.expect(
        state == "running", f"the system is {state}: {machine.run('systemctl --failed --no-legend --plain')}"
    )
    machine.run(f"systemctl restart {CONSOLE}")
    console = box.resident(CONSOLE)
    findings.see(
        "console while nobody is there: resident / cgroup", f"{console.now_mib:.1f} / {console.cgroup_mib:.1f} MiB"
    )


def _look_around(machine: GuestMachine, findings: Findings) -> None:
    failed = machine.run("systemctl --failed --no-legend --plain")
    findings.expect(not failed.strip(), f"units that failed: {failed}")
    log = machine.run(
        "journalctl -b -u relay.service -u 'relay-console@*' -o cat | grep -E 'Traceback|\"level\": \"error\"' || :"
    )
    findings.expect(not log, f"the log has errors: {log}")
    watchdog = machine.run("cat /sys/class/watchdog/watchdog0/identity /sys/class/watchdog/watchdog0/state")
    findings.expect(watchdog.split("\n")[1] == "active", f"nobody feeds the watchdog: {watchdog}")
    told = machine.run(f"relay doctor --state {STATE}", check=False)
    kinds = [line.partition(":")[0] for line in told.splitlines() if not line.startswith(" ")]
    findings.expect("fault" not in kinds, told)
    findings.see(
        "no unit failed, no error in the log; hardware watchdog; `relay doctor`",
        f"{watchdog.split(chr(10))[0]} fed by systemd; {kinds.count('warning')} warnings, {kinds.count('note')} notes",
    )


def _measure(box: GuestBox, findings: Findings, when: str) -> None:
    relay, console = box.resident(), box.resident(CONSOLE)
    findings.see(
        f"relay {when}: resident / peak / cgroup",
        f"{relay.now_mib:.1f} / {relay.peak_mib:.1f} / {relay.cgroup_mib:.1f} MiB; console {console.now_mib:.1f} MiB",
    )
    findings.expect(relay.now_mib <= MOST_RELAY_MIB, f"the relay takes {relay.now_mib:.1f} MiB")


if __name__ == "__main__":
    sys.exit(main())
