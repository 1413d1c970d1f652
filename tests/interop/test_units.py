"""The units under systemd's own eyes: what they expose, and that it understands every line."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relay.box.profile import Keystore
from relay.cli.board import limits, reaching
from relay.cli.key_device import device_lines

pytestmark = pytest.mark.interop

UNITS = Path(__file__).resolve().parents[2] / "systemd"
EXPOSURE = {
    "relay.service": 1.2,
    "relay-console@.service": 1.6,
    "relay-backup.service": 2.5,
    "relay-tunnel.service": 1.2,
}

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not on this machine")


def exposure(unit: Path) -> float:
    told = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "Unknown" not in told.stderr, told.stderr
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", told.stdout)
    assert found is not None
    return float(found[1])


@needs_systemd
@pytest.mark.parametrize("unit", sorted(EXPOSURE))
def test_a_service_exposes_no_more_than_it_needs(unit: str) -> None:
    assert exposure(UNITS / unit) <= EXPOSURE[unit]


@needs_systemd
@pytest.mark.parametrize(("unit", "lines"), [("relay.service", limits), ("relay-console@.service", reaching)])
def test_a_board_that_holds_the_key_opens_one_device_more(
    unit: str, lines: Callable[[dict[str, Any]], list[str]], tmp_path: Path
) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/tpmrm0").touch()
    memory = {"relay_high_mib": 96, "relay_max_mib": 128}
    device = device_lines(Keystore(kind="tpm2"), tmp_path)
    found = {"profile": "generic-x86-64", "memory": memory, "key_device": device}
    # What a drop-in says comes after the unit's own lines.
    added = "\n".join(line for line in lines(found) if line != "[Service]")
    text = (UNITS / unit).read_text().replace("\n[Install]", f"\n{added}\n\n[Install]")
    (tmp_path / unit).write_text(text)
    assert "DeviceAllow=/dev/tpmrm0 rw" in text
    assert exposure(tmp_path / unit) <= EXPOSURE[unit]


@needs_systemd
def test_systemd_understands_every_unit(tmp_path: Path) -> None:
    for path in UNITS.iterdir():
        if path.suffix in (".service", ".socket", ".path", ".timer"):
            # The programs are not on this machine; whether they are in the package is another test.
            text = re.sub(r"^Exec(\w+)=\S+", r"Exec\1=/bin/true", path.read_text(), flags=re.MULTILINE)
            name = path.name.replace("@.", "@ttyGS0.")
            (tmp_path / name).write_text(text)
    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    complaints = [line for line in told.stderr.splitlines() if "relay" in line]
    assert not complaints, told.stderr


def test_the_console_does_not_need_the_relay_nor_the_network() -> None:
    text = (UNITS / "relay-console@.service").read_text()
    assert "DefaultDependencies=no" in text
    assert not re.search(r"^(Requires|BindsTo|Wants|After)=.*(relay\.service|network-online)", text, re.MULTILINE)
    assert re.search(r"^Before=.*network-pre\.target", text, re.MULTILINE)
    # A browser's installer is told at once whether the box is online: the routing table is asked with such a socket.
    assert re.search(r"^RestrictAddressFamilies=.*\bAF_INET\b", text, re.MULTILINE)
    assert "\nIPAddressDeny=any\n" in text


def test_the_relay_has_no_capability_and_takes_its_ports_from_outside() -> None:
    text = (UNITS / "relay.service").read_text()
    assert "\nCapabilityBoundingSet=\n" in text
    assert "\nAmbientCapabilities=\n" in text
    for name in ("client", "federation"):
        socket = (UNITS / f"relay-{name}.socket").read_text()
        assert f"FileDescriptorName={name}\n" in socket
        # Both look for the settings at one moment: a socket that looked earlier than its service is missing under it.
        assert "ConditionPathExists=/var/lib/doorstep/relay.toml" in socket
        assert re.search(r"^After=.*\brelay-board\.service$", socket, re.MULTILINE)
    assert "ConditionPathExists=/var/lib/doorstep/relay.toml" in text
    assert re.search(r"^Before=relay\.service\b", (UNITS / "relay-board.service").read_text(), re.MULTILINE)


def test_a_credential_that_nobody_made_keeps_no_service_from_starting() -> None:
    # systemd.exec(5), LoadCredential=: one found by name in the credential stores may be missing, one at a path not.
    for path in UNITS.glob("*.service"):
        for credential in re.findall(r"^LoadCredential\w*=(.*)$", path.read_text(), re.MULTILINE):
            assert re.fullmatch(r"[\w.]+", credential), f"{path.name}: {credential}"


def test_nothing_that_can_be_enabled_runs_on_without_the_package() -> None:
    removal = (UNITS.parent / "hw/package/prerm").read_text()
    for path in UNITS.iterdir():
        if "\n[Install]\n" in path.read_text():
            assert path.name.replace("@.service", "@*.service") in removal
