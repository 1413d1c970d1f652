"""Where the key of the box is: in a TPM that is soldered to the board, then on a stick that comes after the start."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.guest import hands
from tests.guest.cable import Cable
from tests.guest.findings import Findings
from tests.guest.guest_box import CONSOLE, STATE, GuestBox
from tests.guest.machine import GuestMachine
from tests.guest.provisioning import PASSWORD
from tests.interop.peer_environments import image_tools
from tests.interop.test_tpm import EmulatedTpm

_SLOWLY_S = 240
# The device is as Debian's package tpm-udev has it: the group tss may use the resource manager.
_SOLDER = f"""\
set -e
install -m 0755 /stick/tpm_wire.py /usr/local/sbin/
groupadd -r tss
echo 'KERNEL=="tpmrm[0-9]*", MODE="0660", GROUP="tss"' >/etc/udev/rules.d/60-tpm-udev.rules
cat >/etc/systemd/system/tpm-wire.service <<'END'
[Unit]
DefaultDependencies=no
After=systemd-udevd.service
Before=relay-board.service
[Service]
Type=notify
ExecStartPre=/bin/sh -c 'modprobe tpm_vtpm_proxy; modprobe virtio_console; udevadm settle'
ExecStart=/usr/bin/python3 /usr/local/sbin/tpm_wire.py
[Install]
WantedBy=relay-board.service
END
udevadm control --reload
systemctl enable --now tpm-wire.service
udevadm settle
printf '[keystore]\\nkind = "tpm2"\\n' >{STATE}/profile.toml
/usr/lib/doorstep/board.sh
sync
"""
# The line of hw/README.md, while the box is set up.
LABEL = "DOORSTEP"
PLACE = "/media/doorstep-key"
_MOUNT = f"""\
set -e
mkdir -p {PLACE}
echo 'LABEL={LABEL} {PLACE} vfat rw,nofail,x-systemd.automount,x-systemd.idle-timeout=10s,x-systemd.device-timeout=3s,\
uid=doorstep,umask=0077 0 0' >>/etc/fstab
systemctl daemon-reload
systemctl start 'media-doorstep\\x2dkey.automount'
systemctl restart {CONSOLE}
"""


@contextmanager
def soldered(machine: GuestMachine) -> Iterator[EmulatedTpm]:
    """Have a TPM 2.0 at the board, as the kernel's own device with its resource manager."""
    with EmulatedTpm(machine.tpm.parent) as chip:
        machine.run("mountpoint -q /stick || mount -o ro /dev/vdb /stick\n" + _SOLDER, within_s=_SLOWLY_S)
        yield chip


def into_the_tpm(box: GuestBox, findings: Findings) -> None:
    """Move the key of the running box into the TPM, at the console."""
    with Cable(box.machine.line) as cable:
        _move(cable, findings, {"store.key_source": "tpm"})
    status = _status(box, findings)
    findings.expect("protection: card theft" in status, status)
    left = box.machine.run(f"ls {STATE}")
    findings.expect("root.key" not in left.split(), left)
    # Started anew in its place, after more than TimeoutStopSec= it is still that process, and for systemd it runs.
    shown = "systemctl show --property=SubState,MainPID,NRestarts relay.service"
    before = box.machine.run(shown)
    after = box.machine.run(f"sleep 20; {shown}")
    findings.expect("SubState=running" in after and after == before, f"{before} became {after}")


def opened_by_the_tpm(box: GuestBox, findings: Findings) -> None:
    """See that the box opened by itself after a power cut."""
    status = _status(box, findings)
    findings.expect("protection: card theft" in status, status)
    findings.see(
        "key moved into a TPM 2.0 (swtpm behind the kernel's proxy and resource manager), power cut",
        f"opens by itself under the shipped unit, ready {box.start_s():.0f} s after its start",
    )


def onto_a_stick(box: GuestBox, folder: Path, findings: Findings) -> None:
    """Move the key onto a USB stick, start without the stick, then put it in."""
    machine, stick = box.machine, _new_stick(folder / "key.img")
    machine.run(_MOUNT, within_s=_SLOWLY_S)
    machine.plug_in(stick)
    with Cable(machine.line) as cable:
        _move(cable, findings, {"store.key_source": "file", "store.key_file": f"{PLACE}/root.key"})
    told = _status(box, findings)
    findings.expect("may be pulled out after the start" in told, told)
    machine.run(f"sync; umount {PLACE}")
    machine.pull_out()
    machine.run("systemctl restart --no-block relay.service")
    hands.see_light(machine.wires, hands.is_slow, findings)
    _status(box, findings, "is waiting for its key")
    machine.plug_in(stick)
    begun = time.monotonic()
    _status(box, findings)
    findings.see(
        "key moved to a USB stick, started without it, put in later",
        f"the light waits; open {time.monotonic() - begun:.0f} s after the stick came",
    )


def _new_stick(image: Path) -> Path:
    path, libraries = image_tools()
    with image.open("wb") as file:
        file.truncate(40 << 20)
    environment = {**os.environ, **({"PATH": path, "LD_LIBRARY_PATH": libraries} if path else {})}
    subprocess.run(["mkfs.vfat", "-n", LABEL, str(image)], check=True, capture_output=True, timeout=60, env=environment)
    return image


def _move(cable: Cable, findings: Findings, settings: dict[str, Any]) -> None:
    cable.wake(_SLOWLY_S)
    for fields in (
        {"seq": 81, "verb": "unlock", "secret": PASSWORD},
        {"seq": 82, "verb": "set", "settings": settings},
        {"seq": 83, "verb": "apply"},
    ):
        reply = cable.ask(within_s=_SLOWLY_S, **fields)
        findings.expect(reply["ok"], reply)


def _status(box: GuestBox, findings: Findings, wanted: str = "running: True") -> str:
    until = time.monotonic() + _SLOWLY_S
    while wanted not in (told := box.machine.run(f"relay status --state {STATE}", check=False)):
        findings.expect(time.monotonic() < until, told)
    return told
