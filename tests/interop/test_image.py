"""The card image: its table, file systems and settings at once; a whole one, built and booted, only in the long run.

`DOORSTEP_IMAGE` names an image of the board `pc` that is booted in place of a new one.
"""

import argparse
import contextlib
import importlib.util
import os
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.interop.peer_environments import cannot_be_had, image_tools

pytestmark = pytest.mark.interop

ROOT = Path(__file__).resolve().parents[2]
FIRMWARE = "/usr/share/OVMF/OVMF_{}_4M.fd"
BOOT_WITHIN_S = 900


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
    files = recipe.write_hooks(argparse.Namespace(ssh_key=None), board, names, tmp_path)
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
    # The FAT side is the same byte for byte; ext4 notes when each file came into it.
    assert told("cmp", tmp_path / "boot1", tmp_path / "boot2") == ""


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


class Line:
    """The first serial line of a virtual machine, from the other end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX)
        self.seen = b""

    def __enter__(self) -> "Line":
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError):
                self._socket.connect(str(self._path))
                return self
            assert time.monotonic() < deadline, "no virtual machine"
            select.select([], [], [], 0.2)

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def say(self, text: str, until: str, within_s: float, *, again_s: float = 1e9) -> str:
        """Type `text`, again every `again_s` seconds, until `until` came; return what came."""
        begun, seen, deadline, typed = len(self.seen), b"", time.monotonic() + within_s, 0.0
        self._socket.settimeout(1)
        while until.encode() not in seen:
            assert time.monotonic() < deadline, f"{until} never came: {seen[-2000:]!r}"
            if time.monotonic() - typed > again_s or not typed:
                self._socket.sendall(text.encode())
                typed = time.monotonic()
            with contextlib.suppress(TimeoutError):
                self.seen += self._socket.recv(65_536)
            seen = self.seen[begun:]
        return seen.decode(errors="replace")


@pytest.fixture
def pc_image(tmp_path: Path) -> Path:
    image = tmp_path / "card.img"
    given = os.environ.get("DOORSTEP_IMAGE")
    if given is None:
        package = [sys.executable, ROOT / "hw/package/build.py", "--suite", "trixie", "--arch", "amd64"]
        deb = told(*package, "--out", tmp_path).strip()
        build = [sys.executable, str(ROOT / "hw/image/build.py"), "--board", "pc", "--package", deb]
        done = subprocess.run(
            [*build, "--out", str(tmp_path)], check=True, capture_output=True, text=True, timeout=1800
        )
        given = done.stdout.splitlines()[-1]
    subprocess.run(["cp", "--sparse=always", given, str(image)], check=True, timeout=300)
    # As a card larger than the image.
    os.truncate(image, 4 << 30)
    return image


@contextlib.contextmanager
def machine(image: Path, folder: Path) -> Iterator[Path]:
    """Yield the path of the first serial line of a virtual PC that starts from `image`."""
    variables = folder / "variables.fd"
    shutil.copyfile(FIRMWARE.format("VARS"), variables)
    flash = f"if=pflash,format=raw,readonly=on,file={FIRMWARE.format('CODE')}"
    command = [
        *("qemu-system-x86_64", "-M", "q35", "-cpu", "max", "-accel", "tcg", "-m", "768", "-smp", "2", "-nodefaults"),
        *("-display", "none", "-no-reboot", "-drive", flash, "-drive", f"if=pflash,format=raw,file={variables}"),
        *("-drive", f"if=none,id=card,file={image},format=raw", "-device", "virtio-blk-pci,drive=card,bootindex=1"),
        *("-chardev", f"socket,id=line,path={folder}/line,server=on,wait=off", "-serial", "chardev:line"),
        *("-device", "virtio-rng-pci", "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net"),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield folder / "line"
        finally:
            process.kill()


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a Debian")
def test_a_card_boots_to_its_console_and_becomes_a_box_there(pc_image: Path, tmp_path: Path) -> None:
    if shutil.which("qemu-system-x86_64") is None or not Path(FIRMWARE.format("CODE")).exists():
        cannot_be_had("qemu", OSError("qemu-system-x86 and ovmf are not on this machine"))
    with machine(pc_image, tmp_path) as path, Line(path) as line:
        line.say("\r", "new box> ", BOOT_WITHIN_S, again_s=10)
        line.say("setup\rbox.example\ranna\rswordfish 1\rswordfish 1\r", "[yes] ", 300)
        said = line.say("yes\r", "Apps reach it at https://box.example", 300)
        assert "Owner: @anna:box.example" in said
        # Nobody starts it: the path unit sees the settings, the sockets come with the service.
        said = line.say("status\r", "running: True", BOOT_WITHIN_S, again_s=20)
        assert "https://[::]:443" in said
        assert "https://[::]:8448" in said
        said = line.say("doctor\r", "relay> ", 120)
        assert "commit=" not in said
        assert "MiB are free" not in said
