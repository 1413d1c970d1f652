"""What becomes of a card: started, set up over the cable, started again, and once more with its boot partition gone."""

import datetime
import json
import re
import ssl
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tests.card.inspection import BOOT_AT, Card, opened
from tests.card.machine import CARD_BYTES, EMULATIONS, ROOT_AT, SHELL, CardMachine
from tests.guest import improv_client
from tests.guest.cable import Cable
from tests.guest.findings import Findings
from tests.guest.provisioning import OWNER, PASSWORD, settings_by_program
from tests.interop.peer_clients import Api

# QEMU has a Raspberry Pi 3B; the tree of the 3B+ is what its firmware would hand over on one.
PI_TREE = "bcm2837-rpi-3-b-plus.dtb"
_START_WITHIN_S, _SLOWLY_S = 1200, 400
# Whoever waited for the boot partition would answer 300 s after the kernel's start.
_BEFORE_FSTAB_GIVES_UP_S = 100
# In place of the login prompt that a virtual machine gets there; nobody could log in.
_SHELL_ASKED = f"systemd.debug_shell={SHELL} systemd.mask=serial-getty@{SHELL}.service"


@dataclass(frozen=True, kw_only=True)
class Box:
    """A card in an emulated board, and who it became."""

    board: str
    machine: CardMachine
    findings: Findings

    @property
    def name(self) -> str:
        """Return the name that the box gets."""
        return f"localhost:{self.machine.federation_port}"

    def see(self, what: str, value: object) -> None:
        """Take a row into the table."""
        self.findings.see(f"{self.board}: {what}", value)


def live(board: str, image: Path, folder: Path, findings: Findings) -> None:
    """Start a copy of the image, set it up, start it again, look around, start it without its boot partition."""
    with CardMachine(folder / board, board, image, _start_by(board, image, folder)) as machine:
        box = Box(board=board, machine=machine, findings=findings)
        with findings.stage(f"{board}: first start"):
            _first_start(box)
        with findings.stage(f"{board}: second start"):
            _second_start(box)
        with findings.stage(f"{board}: start without the boot partition"):
            _without_boot_partition(box)


def _start_by(board: str, image: Path, folder: Path) -> tuple[Path, Path, Path, str] | None:
    """Return what the board's firmware would take from the card, where nobody emulates the firmware."""
    if EMULATIONS[board].firmware is not None:
        return None
    with opened(image, with_boot=True) as card:
        config = (card.boot / "config.txt").read_text()
        names = [re.findall(rf"(?m)^{key}[= ](\S+)", config)[0] for key in ("kernel", "initramfs")]
        for name in (*names, PI_TREE):
            (folder / name).write_bytes((card.boot / name).read_bytes())
        line = (card.boot / "cmdline.txt").read_text().strip()
    kernel, initrd = (folder / name for name in names)
    return kernel, initrd, folder / PI_TREE, line


def _first_start(box: Box) -> None:
    machine, findings = box.machine, box.findings
    machine.power_on()
    with Cable(machine.line) as cable:
        machine.wait_for_kernel(_START_WITHIN_S)
        greeting = cable.wake(_START_WITHIN_S)
        findings.expect("not set up yet" in greeting, greeting)
        box.see("power-on to the console's answer, no key pressed", f"{time.monotonic() - machine.started_at:.0f} s")
        # As a program does that knows the time: a board may have no clock of its own.
        cable.ask(seq=1, verb="hello", utc=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}")
        told = improv_client.ask(cable.fileno(), improv_client.DEVICE_INFO, within_s=_SLOWLY_S)
        findings.expect(told.results[0][2] == EMULATIONS[box.board].profile, told)
        if box.board == "arm64-efi":
            settings_by_program(cable, box.name, findings, {})
        else:
            _by_a_person(box, cable)
        _answers(box, cable, _unverified())
        cable.wake(_SLOWLY_S)
        status = cable.say("status", within_s=_SLOWLY_S)
        findings.expect("running: True" in status, status)
        _hear(box, cable)
    # Whoever sets a box up gets what fits the card: the file system has grown before the console answered.
    if EMULATIONS[box.board].firmware is None:
        machine.power_cut()
    else:
        box.see("power button to off", f"{machine.power_button():.0f} s")
    with opened(machine.disk) as card:
        _has_become_one(box, card)


def _by_a_person(box: Box, cable: Cable) -> None:
    cable.wake(60)
    for line in (f"set name {box.name}", f"set owner {OWNER}"):
        cable.say(line)
    cable.say("set password", "Password: ")
    cable.say(PASSWORD, "again: ")
    cable.say(PASSWORD)
    planned = cable.say("plan")
    box.findings.expect("Nothing is missing" in planned, planned)
    done = cable.say("apply", "relay> ", within_s=_SLOWLY_S)
    box.findings.expect(f"@{OWNER}:{box.name}" in done, done)
    box.findings.expect("MiB are free" not in done, done)


def _unverified() -> ssl.SSLContext:
    # Its authority is on the card, which is not looked at while the board runs.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _answers(box: Box, cable: Cable, tls: ssl.SSLContext, within_s: float = _START_WITHIN_S) -> None:
    begun, url = time.monotonic(), f"https://localhost:{box.machine.client_port}/_matrix/client/versions"
    versions: list[str] = []
    while not versions:
        try:
            with urllib.request.urlopen(url, timeout=20, context=tls) as reply:
                versions = json.load(reply)["versions"]
        except OSError as error:
            # Nothing announces it to the host: ask again soon, and hear what the console says meanwhile.
            cable.hear_out(2)
            box.findings.expect(time.monotonic() - begun < within_s, f"{url} is not answered: {error}")
    box.see("apps answered over TLS", f"{time.monotonic() - begun:.0f} s after that, {len(versions)} versions")


def _hear(box: Box, cable: Cable) -> None:
    told = cable.say("doctor", within_s=_SLOWLY_S)
    kinds = [line.partition(": ") for line in told.splitlines() if not line.startswith(" ")]
    faults = [what for kind, _, what in kinds if kind == "fault"]
    box.findings.expect(not faults, told)
    box.see("`doctor`", "; ".join(what for kind, _, what in kinds if kind in ("warning", "note")) or "nothing")


def _has_become_one(box: Box, card: Card) -> None:
    expect = box.findings.expect
    expect(not (card.root / "etc/doorstep/first-boot").exists(), "the first start did not end")
    left = [str(link) for link in (card.root / "etc/systemd/system").glob("*.wants/doorstep-*")]
    expect(not left, f"the next start does what belongs to the first: {left}")
    expect(len((card.root / "etc/machine-id").read_bytes()) == 33, "no machine-id of its own")
    told = subprocess.run(
        ["dumpe2fs", "-h", f"{box.machine.disk}?offset={ROOT_AT}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    blocks = int(re.findall(r"Block count: +(\d+)", told)[0])
    expect(blocks * 4096 > CARD_BYTES - ROOT_AT - (8 << 20), f"{blocks} blocks of 4096 bytes on a card of {CARD_BYTES}")
    settings = (card.root / "var/lib/doorstep/relay.toml").read_text()
    profile = EMULATIONS[box.board].profile
    expect(f'profile = "{profile}"' in settings, settings[:200])
    limits = {key: int(value) for key, value in re.findall(r"(media_quota_mib|index_mib) = (\d+)", settings)}
    expect(limits["index_mib"] > 500, f"the limits are of the image's size: {limits}")
    drop_in = (card.root / "etc/systemd/system/relay.service.d/50-board.conf").read_text()
    expect(profile in drop_in, drop_in)
    box.see(
        "profile; file system grown from the image's size to the card's before set-up",
        f"{profile}; {blocks * 4096 >> 20} of {CARD_BYTES >> 20} MiB, index up to {limits['index_mib']} MiB",
    )


def _trusted(box: Box) -> ssl.SSLContext:
    with opened(box.machine.disk) as card:
        return ssl.create_default_context(cadata=(card.root / "var/lib/doorstep/tls/ca.pem").read_text())


def _second_start(box: Box) -> None:
    machine, findings = box.machine, box.findings
    tls, watched = _trusted(box), EMULATIONS[box.board].firmware is not None
    if watched:
        _ask_for_a_shell(machine.disk)
    machine.power_on()
    with Cable(machine.line) as cable:
        machine.wait_for_kernel(_START_WITHIN_S)
        findings.expect("relay> " in cable.wake(_START_WITHIN_S), "the console does not know who it is")
        box.see("second start: power-on to the console's answer", f"{time.monotonic() - machine.started_at:.0f} s")
        _answers(box, cable, tls)
    api = Api(f"https://localhost:{machine.client_port}", tls=tls)
    api.login(OWNER, PASSWORD)
    findings.expect(api.call("GET", "v3/account/whoami")["user_id"] == f"@{OWNER}:{box.name}", "another user")
    if watched:
        machine.take_shell(_SLOWLY_S)
        _look_around(box)
        box.see("power button to off", f"{machine.power_button():.0f} s")
    machine.power_cut()


def _ask_for_a_shell(disk: Path) -> None:
    """Let the boot entry of a card ask for a root shell on a line of its own."""
    at = f"{disk}@@{BOOT_AT}"
    entry = subprocess.run(
        ["mdir", "-b", "-i", at, "::/loader/entries"], capture_output=True, text=True, timeout=60, check=True
    ).stdout.split()[0]
    text = subprocess.run(["mtype", "-i", at, entry], capture_output=True, text=True, timeout=60, check=True).stdout
    text = re.sub(r"(?m)^(options .*)$", rf"\1 {_SHELL_ASKED}", text)
    subprocess.run(["mcopy", "-o", "-i", at, "-", entry], input=text.encode(), timeout=60, check=True)


def _look_around(box: Box) -> None:
    run, findings = box.machine.run, box.findings
    state = run("systemctl is-system-running --wait", check=False, within_s=_SLOWLY_S)
    findings.expect(state == "running", f"the system is {state}: {run('systemctl --failed --no-legend --plain')}")
    board = run("relay board")
    findings.expect(board.startswith(f"profile: {EMULATIONS[box.board].profile}"), board)
    mounted = run("findmnt --noheadings --output OPTIONS /")
    findings.expect("noatime" in mounted and "commit=300" in mounted, mounted)
    places = [line.split()[3] for line in run("ss --listening --numeric --no-header --tcp").splitlines()]
    open_tcp = sorted(
        {place.rpartition(":")[2] for place in places if not place.startswith(("127.", "[::1]"))}, key=int
    )
    findings.expect(open_tcp == ["443", "8448"], f"open to the network: {places}")
    units = run("systemd-analyze verify --man=no default.target 2>&1 || :")
    box.see(
        "second start, looked around: units that failed; TCP ports open to the network; `systemd-analyze verify`",
        f"none; {', '.join(open_tcp)}; {units or 'nothing'}",
    )


def _without_boot_partition(box: Box) -> None:
    machine, findings = box.machine, box.findings
    # The firmware of a PC still reads it by its place, so there it only loses its name; a Raspberry Pi's is emptied.
    if EMULATIONS[box.board].firmware is None:
        with machine.disk.open("r+b") as file:
            file.seek(BOOT_AT)
            file.write(b"\0" * (8 << 20))
    else:
        subprocess.run(["mlabel", "-N", "12345678", "-i", f"{machine.disk}@@{BOOT_AT}", "::"], check=True, timeout=60)
    tls = _trusted(box)
    machine.power_on()
    with Cable(machine.line) as cable:
        machine.wait_for_kernel(_START_WITHIN_S)
        findings.expect("relay> " in cable.wake(_START_WITHIN_S), "the console does not answer")
        answered_s = time.monotonic() - machine.started_at
        _answers(box, cable, tls, _BEFORE_FSTAB_GIVES_UP_S)
    box.see("start with the boot partition of fstab gone: power-on to the console's answer", f"{answered_s:.0f} s")
    machine.power_cut()
