"""The card image: its table, file systems and settings; whole ones are built and booted by `./box test image`."""

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.interop.peer_environments import image_tools

pytestmark = pytest.mark.interop

ROOT = Path(__file__).resolve().parents[2]


def load(path: Path) -> ModuleType:
    """Return a script of hw/ as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    return load(ROOT / "hw/image/build.py")


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    path, libraries = image_tools()
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin:/sbin:{path}")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795000000")
    if libraries:
        monkeypatch.setenv("LD_LIBRARY_PATH", libraries)


def told(*command: object) -> str:
    return subprocess.run([*map(str, command)], check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize("name", ["raspberry-pi", "pc"])
def test_an_image_has_its_partitions_and_what_is_on_them(
    name: str, recipe: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "BOOT_MIB", 64)
    monkeypatch.setattr(recipe, "SPARE_MIB", 64)
    board, names = recipe.BOARDS[name], recipe.Names.of(f"{name}_1")
    files = recipe.write_files(argparse.Namespace(ssh_key=None), board, names, tmp_path)
    boot_files = files / board.boot.lstrip("/")
    recipe.write(boot_files / "config.txt", (ROOT / "hw/image/config.txt").read_text())
    images = []
    for round_ in ("1", "2"):
        boot, root, image = (tmp_path / f"{part}{round_}" for part in ("boot", "root", "image"))
        recipe.settle_times(files)
        recipe.make_boot(boot, boot_files, names)
        recipe.make_root(root, files, names)
        recipe.put_together(image, board, names, boot, root)
        images.append(image)
    table = told("sfdisk", "--dump", images[0])
    assert f"label: {board.table}" in table
    assert "start=        8192, size=      131072" in table
    assert "start=      139264" in table
    told("sfdisk", "--verify", images[0])
    options = told("debugfs", "-R", "cat /etc/fstab", tmp_path / "root1")
    assert f"UUID={names.root} / ext4 rw,noatime,commit=300,errors=remount-ro 0 1" in options
    assert f"UUID={names.boot_uuid} {board.boot} vfat" in options
    assert "Storage=volatile" in told(
        "debugfs", "-R", "cat /etc/systemd/journald.conf.d/50-doorstep.conf", tmp_path / "root1"
    )
    assert "dtoverlay=dwc2" in told("mtype", "-i", tmp_path / "boot1", "::/config.txt")
    if name == "raspberry-pi":
        overlays = told("mdir", "-b", "-i", tmp_path / "boot1", "::/overlays")
        assert "doorstep-button.dtbo" in overlays
        assert f'ROOTPART="UUID={names.root}"' in (files / "etc/default/raspi-firmware").read_text()
    else:
        assert f"root=UUID={names.root} rw rootwait" in (files / "etc/kernel/cmdline").read_text()
    for script in ("grow.sh", "first-boot.sh"):
        stat = told("debugfs", "-R", f"stat /usr/lib/doorstep-image/{script}", tmp_path / "root1")
        assert "Mode:  0755" in stat
    grow = told("debugfs", "-R", "cat /etc/systemd/system/doorstep-grow.service", tmp_path / "root1")
    # The consoles start after that: whoever sets the box up gets limits that fit the card.
    assert "Before=local-fs.target" in grow
    # The same inputs give the same bytes, also where time has passed meanwhile.
    assert told("cmp", images[0], images[1]) == ""


def test_doorstep_toml_becomes_requests_and_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = load(ROOT / "hw/image/zero_touch.py")
    asked = tmp_path / "asked"
    program = tmp_path / "relay"
    program.write_text(
        f"#!/bin/sh\ncat >>{asked}\n"
        '[ "$1" = works ] && echo \'{"ok":true}\' || echo \'{"ok":false,"message":"no such network"}\'\n'
    )
    program.chmod(0o755)
    wanted = tmp_path / "doorstep.toml"
    text = (
        'name = "home.example"\nowner = "anna"\npassword = "swordfish"\n'
        '[wifi]\nssid = "home"\npassword = "pw"\n[settings]\n"log.level" = "debug"\n"limits.free_mib" = 100\n'
    )
    for word, code in (("works", 0), ("fails", 1)):
        monkeypatch.setattr(script, "RELAY", (str(program), word))
        wanted.write_text(text)
        assert script.main(wanted) == code
        assert not wanted.exists()
    lines = asked.read_text().splitlines()
    assert lines[0] == '{"verb": "wifi_join", "ssid": "home", "password": "pw"}'
    assert '"settings": {"log.level": "debug", "limits.free_mib": "100"}' in lines[1]
    failed = (tmp_path / "doorstep-failed.txt").read_text()
    assert failed == "wifi_join: no such network\nprovision: no such network\n"
    assert "swordfish" not in failed
