"""The disk that the guest starts from: a small Debian, made once and kept under `.peers/` until its recipe changes."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUITE, ARCH = "trixie", "arm64"
DISK_MIB = 3072
_BUILD_WITHIN_S = 3600
# What a small image of a board has; the relay brings its own libraries. The last three are the neighbours' Wi-Fi.
PACKAGES = (
    *("systemd", "systemd-sysv", "udev", "dbus", "kmod", "iproute2", "e2fsprogs", "python3", "ca-certificates"),
    *("network-manager", "wpasupplicant", "polkitd", "wireless-regdb", "initramfs-tools", f"linux-image-{ARCH}"),
    *("iw", "hostapd", "dnsmasq-base"),
)
# mmdebstrap runs these with the folder of the new system as $1.
ESSENTIAL_HOOK = """\
mkdir -p "$1/etc/initramfs-tools/conf.d"
echo MODULES=list >"$1/etc/initramfs-tools/conf.d/guest"
printf '%s\\n' virtio_pci virtio_mmio virtio_blk ext4 >"$1/etc/initramfs-tools/modules"
"""
CUSTOMIZE_HOOK = """\
echo doorstep-guest >"$1/etc/hostname"
printf '127.0.0.1 localhost doorstep-guest\\n::1 localhost\\n' >"$1/etc/hosts"
echo '/dev/vda / ext4 rw,noatime 0 1' >"$1/etc/fstab"
echo uninitialized >"$1/etc/machine-id"
chroot "$1" passwd -d root
chroot "$1" systemctl mask systemd-firstboot.service hostapd.service apt-daily.timer apt-daily-upgrade.timer \
    dpkg-db-backup.timer e2scrub_all.timer systemd-networkd.service
cp -L "$1"/boot/vmlinuz-* "$1"/boot/initrd.img-* "$1/root/"
"""
OPTIONS = (
    *("--mode=root", "--variant=minbase", f"--architectures={ARCH}", f"--include={','.join(PACKAGES)}"),
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    '--aptopt=Acquire::Languages "none"',
    '--aptopt=Apt::Install-Recommends "false"',
)
PROGRAMS = {
    "qemu-system-aarch64": "qemu-system-arm",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "dtc": "device-tree-compiler",
}
_BINFMT = Path("/proc/sys/fs/binfmt_misc")


class MissingError(Exception):
    """This machine lacks something; the message says what and how to get it."""


@dataclass(frozen=True, slots=True)
class Image:
    """A disk nobody writes to, and what QEMU starts it with."""

    disk: Path
    kernel: Path
    initrd: Path


def missing_packages(programs: Mapping[str, str]) -> set[str]:
    """Return those of Debian's packages, given by a program of each, that this machine lacks."""
    return {package for program, package in programs.items() if shutil.which(program) is None}


def guest_image() -> Image:
    """Return the image; makes it where there is none of this recipe, which takes ten minutes or more.

    Raises:
        MissingError: it cannot be made here.
    """
    recipe = repr((SUITE, OPTIONS, ESSENTIAL_HOOK, CUSTOMIZE_HOOK, DISK_MIB))
    key = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    peers = ROOT / ".peers"
    peers.mkdir(exist_ok=True)
    folder = peers / f"guest-{key}"
    with (peers / "guest.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _require_builder()
            print(f"making a Debian {SUITE} {ARCH} guest once, in {folder}: ten minutes or more", flush=True)
            _make(folder)
    return Image(folder / "root.img", folder / "vmlinuz", folder / "initrd.img")


def _require_builder() -> None:
    if os.geteuid() != 0:
        raise MissingError("only root can make the guest's disk (mmdebstrap in root mode)")
    if not (_BINFMT / "qemu-aarch64").exists():
        raise MissingError(
            "this machine cannot run arm64 programs: as root, apt-get install qemu-user-static binfmt-support;"
            f" mount -t binfmt_misc binfmt_misc {_BINFMT}; update-binfmts --enable qemu-aarch64"
        )


def _make(folder: Path) -> None:
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    root = part / "root"
    part.mkdir()
    hooks = (f"--essential-hook={ESSENTIAL_HOOK}", f"--customize-hook={CUSTOMIZE_HOOK}")
    with (part / "log").open("wb") as log:
        subprocess.run(
            ["mmdebstrap", *OPTIONS, *hooks, SUITE, str(root)],
            check=True,
            stdout=log,
            stderr=log,
            timeout=_BUILD_WITHIN_S,
        )
    for name in ("vmlinuz", "initrd.img"):
        (found,) = (root / "root").glob(f"{name}-*")
        found.rename(part / name)
    make_disk(part / "root.img", root, DISK_MIB)
    shutil.rmtree(root)
    part.rename(folder)


def make_disk(disk: Path, content: Path, mib: int) -> None:
    """Write an ext4 file system that holds `content` to the file `disk`; needs no loop device."""
    with disk.open("wb") as file:
        file.truncate(mib << 20)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(content), str(disk)], check=True, timeout=300)


def copy_disk(source: Path, target: Path) -> None:
    """Copy a disk; holes stay holes."""
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(source), str(target)], check=True, timeout=300)
