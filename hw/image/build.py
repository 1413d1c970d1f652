#!/usr/bin/env python3
"""Build a card image out of Debian packages and ours; written to a card or disk it starts, and waits at its console.

    sudo python hw/image/build.py --board raspberry-pi --package doorstep_VERSION_arm64.deb --out DIR

No loop device: the file systems are filled by mke2fs -d and mtools. Needs mmdebstrap, e2fsprogs, dosfstools, mtools,
fdisk, device-tree-compiler; for another processor than this one's qemu-user-static with binfmt_misc. The same inputs
(package, Debian's packages of that moment, SOURCE_DATE_EPOCH) give the same contents. Whatever depends on the board the
card is put into is settled there, at its first start.
"""

import argparse
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
OVERLAYS = HERE.parent / "overlays"
SUITE = "trixie"
MIB = 1024 * 1024
# Of an SD card's erase unit: every partition begins on one.
ALIGN_MIB = 4
BOOT_MIB = 512
SPARE_MIB = 400
# A tenth more than the files, for what a file system keeps of itself.
OVERHEAD = 1.1
PACKAGES = (
    *("systemd-sysv", "udev", "dbus", "kmod", "iproute2", "ca-certificates", "python3", "initramfs-tools", "zstd"),
    *("network-manager", "wpasupplicant", "wireless-regdb", "polkitd", "systemd-timesyncd", "unattended-upgrades"),
    *("e2fsprogs", "dosfstools", "fdisk", "systemd-resolved", "libnss-myhostname"),
)
MIRRORS = (
    "deb http://deb.debian.org/debian {suite} {parts}",
    "deb http://deb.debian.org/debian {suite}-updates {parts}",
    "deb http://security.debian.org/debian-security {suite}-security {parts}",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Board:
    """One kind of image.

    Attributes:
        arch: Debian's name of the processor.
        table: `gpt`, or `dos` where the board's own ROM reads nothing else.
        boot: where the boot partition is mounted.
        packages: beside `PACKAGES`.
        parts: of Debian's archive.
        modules: what the initial RAM disk brings; empty: of everything most.
        console: of the kernel; never the line that our own console is on, unless the firmware says so too.
    """

    arch: str
    table: str
    boot: str
    packages: tuple[str, ...]
    parts: str = "main"
    modules: tuple[str, ...] = ()
    console: str = "tty0"


BOARDS = {
    "pc": Board(
        arch="amd64", table="gpt", boot="/boot/efi", packages=("linux-image-amd64", "systemd-boot", "systemd-boot-efi")
    ),
    "arm64-efi": Board(
        arch="arm64",
        table="gpt",
        boot="/boot/efi",
        packages=("linux-image-arm64", "systemd-boot", "systemd-boot-efi"),
    ),
    # Zero 2 W, 3B+, 4B. Debian's kernel does not carry the Pi 5: take Raspberry Pi OS and the package there.
    "raspberry-pi": Board(
        arch="arm64",
        table="dos",
        boot="/boot/firmware",
        packages=("linux-image-arm64", "raspi-firmware", "firmware-brcm80211"),
        parts="main non-free-firmware",
        modules=(
            *("mmc_block", "bcm2835", "sdhci_iproc", "bcm2835_dma", "i2c_bcm2835", "ext4"),
            *("pcie_brcmstb", "reset_raspberrypi", "xhci_pci", "usb_storage", "uas", "sd_mod"),
        ),
    ),
}


@dataclasses.dataclass(frozen=True)
class Names:
    """By what the partitions are known; the same for the same package and board."""

    root: str
    boot: str
    disk: str

    @classmethod
    def of(cls, stamp: str) -> "Names":
        """Return names that follow from `stamp`."""
        root, boot, disk = (uuid.uuid5(uuid.NAMESPACE_URL, f"doorstep:{stamp}:{part}") for part in ("root", "b", "d"))
        return cls(str(root), boot.hex[:8].upper(), str(disk))

    @property
    def boot_uuid(self) -> str:
        """Return how the kernel writes the boot partition's name."""
        return f"{self.boot[:4]}-{self.boot[4:]}"


def main() -> int:
    """Build the image asked for; print its path."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--board", choices=sorted(BOARDS), required=True)
    parser.add_argument("--package", type=Path, required=True, help="the doorstep package for that processor")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ssh-key", type=Path, help="a public key: adds an SSH server that lets root in with it")
    parser.add_argument("--extra", default="", help="more Debian packages, separated by commas")
    parser.add_argument("--scratch", type=Path, help="work here instead of in the system's folder for such things")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="doorstep-image-", dir=asked.scratch) as scratch:
        sys.stdout.write(f"{build(asked, Path(scratch))}\n")
    return 0


def build(asked: argparse.Namespace, scratch: Path) -> Path:
    """Return the image built in `asked.out`."""
    board = BOARDS[asked.board]
    stamp = f"{asked.board}_{field(asked.package, 'Version')}"
    if field(asked.package, "Architecture") != board.arch:
        raise SystemExit(f"{asked.package.name} is not for {board.arch}")
    names, root = Names.of(stamp), scratch / "root"
    bootstrap(board, asked, root, write_files(asked, board, names, scratch))
    settle_times(root)
    asked.out.mkdir(parents=True, exist_ok=True)
    image = asked.out / f"doorstep_{stamp.replace('~', '-')}.img"
    boot_files, boot_image = root / board.boot.lstrip("/"), scratch / "boot.img"
    make_boot(boot_image, boot_files, names)
    shutil.rmtree(boot_files)
    boot_files.mkdir()
    settle_times(root)
    root_image = scratch / "root.img"
    make_root(root_image, root, names)
    put_together(image, board, names, boot_image, root_image)
    return image


def write_files(asked: argparse.Namespace, board: Board, names: Names, scratch: Path) -> Path:
    """Write the files that go into the image as they are; return their folder."""
    tree = scratch / "files"
    write(tree / "etc/fstab", FSTAB.format(names=names, board=board))
    write(tree / "etc/hostname", "doorstep\n")
    write(tree / "etc/hosts", "127.0.0.1 localhost doorstep\n::1 localhost doorstep\n")
    write(tree / "etc/systemd/journald.conf.d/50-doorstep.conf", JOURNALD)
    write(tree / "etc/systemd/resolved.conf.d/50-doorstep.conf", RESOLVED)
    write(tree / "etc/apt/apt.conf.d/52-doorstep", APT)
    write(tree / "etc/doorstep/first-boot", "This card has not been started yet.\n")
    write(tree / "etc/initramfs-tools/conf.d/doorstep", f"MODULES={'list' if board.modules else 'most'}\n")
    write(tree / "etc/initramfs-tools/modules", "".join(f"{name}\n" for name in board.modules))
    for name in ("grow.sh", "first-boot.sh", "zero_touch.py"):
        shutil.copyfile(HERE / name, write(tree / "usr/lib/doorstep-image" / name, "", mode=0o755))
    for name in ("grow", "first-boot"):
        shutil.copyfile(HERE / f"{name}.service", write(tree / f"etc/systemd/system/doorstep-{name}.service", ""))
    cmdline = f"root=UUID={names.root} rw rootwait fsck.repair=yes quiet console={board.console}"
    if board.table == "gpt":
        write(tree / "etc/kernel/cmdline", f"{cmdline}\n")
        write(tree / "etc/kernel/entry-token", "doorstep\n")
        write(tree / "etc/kernel/install.conf", "layout=bls\n")
    else:
        write(tree / "etc/default/raspi-firmware", f'ROOTPART="UUID={names.root}"\nCONSOLES="{board.console}"\nCMA=0\n')
        write(tree / "etc/default/raspi-firmware-custom", (HERE / "config.txt").read_text())
        overlays = tree / board.boot.lstrip("/") / "overlays"
        overlays.mkdir(parents=True)
        for source in sorted(OVERLAYS.glob("*-rpi.dts")):
            target = overlays / f"doorstep-{source.stem.removesuffix('-rpi')}.dtbo"
            subprocess.run(["dtc", "-q", "-@", "-I", "dts", "-O", "dtb", "-o", str(target), str(source)], check=True)
    if asked.ssh_key:
        write(tree / "root/.ssh/authorized_keys", asked.ssh_key.read_text(), mode=0o600)
    return tree


def bootstrap(board: Board, asked: argparse.Namespace, root: Path, files: Path) -> None:
    """Fill the folder `root` with a Debian that has the package installed."""
    extra = [name for name in asked.extra.split(",") if name] + (["openssh-server"] if asked.ssh_key else [])
    own = f'cp -r --preserve=mode "{files}/." "$1/"'
    last = [
        f'cp "{asked.package}" "$1/doorstep.deb"',
        'chroot "$1" dpkg --install /doorstep.deb; rm "$1/doorstep.deb"',
        'chroot "$1" systemctl enable --quiet doorstep-grow.service doorstep-first-boot.service NetworkManager.service',
        'chroot "$1" systemctl mask --quiet systemd-firstboot.service NetworkManager-wait-online.service',
        # Nobody can log in with a password: not root, and there is no other user.
        'chroot "$1" usermod --password "*" root',
        *(BOOTLOADER if board.table == "gpt" else ()),
        # One of its own at the first start; nothing here asks questions then, as a file that is missing would.
        'rm -f "$1"/etc/ssh/ssh_host_* "$1"/var/lib/dbus/machine-id "$1"/etc/.resolv.conf.*; : >"$1/etc/machine-id"',
        # What the package found out about the board it is on: here that is the machine that builds the image.
        'cd "$1" && rm -rf etc/doorstep/board etc/systemd/system/relay*.service.d etc/systemd/system.conf.d',
        'cd "$1" && rm -rf var/log/*.log var/log/apt var/cache/ldconfig/aux-cache var/lib/doorstep/* tmp/*',
        'find "$1/var/cache/apt" "$1/var/lib/apt/lists" -type f -delete',
    ]
    command = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--architectures={board.arch}", "--format=directory"]
    command += [f"--include={','.join((*PACKAGES, *board.packages, *extra))}", f"--essential-hook={own}"]
    command += [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("man", "locale", "info")]
    # What stands in the image already is meant: nobody is there to be asked, now or at an update.
    command += ['--aptopt=Acquire::Languages "none"', "--dpkgopt=force-confold"]
    command += [f"--customize-hook={line}" for line in (own, *last)]
    mirrors = [line.format(suite=SUITE, parts=board.parts) for line in MIRRORS]
    subprocess.run([*command, SUITE, str(root), *mirrors], check=True, env=environment())


def settle_times(root: Path) -> None:
    """Give what was made here the time of the stamp, and everything a last reading that is not this one."""
    moment = epoch_s()
    for path in (*below(root), root):
        changed = min(int(path.lstat().st_mtime), moment)
        os.utime(path, (changed, changed), follow_symlinks=False)


def below(folder: Path) -> list[Path]:
    """Return everything below a folder, in order."""
    return sorted(Path(inner, name) for inner, *names in os.walk(folder) for name in (*names[0], *names[1]))


def make_boot(image: Path, files: Path, names: Names) -> None:
    """Make the FAT file system that the firmware reads."""
    with image.open("wb") as file:
        file.truncate(BOOT_MIB * MIB)
    run("mkfs.vfat", "--invariant", "-F", "32", "-i", names.boot, "-n", "DOORSTEP", str(image))
    run("mcopy", "-s", "-m", "-i", str(image), *map(str, sorted(files.iterdir())), "::")


def make_root(image: Path, files: Path, names: Names) -> None:
    """Make the ext4 file system; it grows to the card's size at the first start."""
    used = subprocess.run(["du", "-sxm", str(files)], check=True, capture_output=True, text=True).stdout.split()[0]
    size_mib = -(-int(int(used) * OVERHEAD + SPARE_MIB) // ALIGN_MIB) * ALIGN_MIB
    with image.open("wb") as file:
        file.truncate(size_mib * MIB)
    # The erase unit as stripe: allocations begin where the card's do.
    stripe = ALIGN_MIB * MIB // 4096
    options = f"hash_seed={names.root},stripe_width={stripe},lazy_itable_init=0,lazy_journal_init=0"
    run(
        *("mke2fs", "-q", "-t", "ext4", "-b", "4096", "-L", "doorstep", "-U", names.root, "-m", "1", "-E", options),
        *("-d", str(files), str(image)),
    )
    settle_inodes(image, files)


def settle_inodes(image: Path, files: Path) -> None:
    """Let every inode be changed and read at one moment: mke2fs takes both from the folder, which is being read."""
    paths, moment = ["", *(path.relative_to(files) for path in below(files))], epoch_s()
    lines = [f'sif "/{path}" {field} @{moment}\n' for path in paths for field in ("ctime", "atime")]
    script = image.with_suffix(".inodes")
    script.write_text("".join(lines))
    run("debugfs", "-w", "-f", str(script), str(image))


def put_together(image: Path, board: Board, names: Names, boot: Path, root: Path) -> None:
    """Write the partition table and both partitions."""
    start, root_start = ALIGN_MIB, ALIGN_MIB + BOOT_MIB
    with image.open("wb") as file:
        # Room for the second copy of the table.
        file.truncate(root_start * MIB + root.stat().st_size + ALIGN_MIB * MIB)
    kinds = ("U", "L") if board.table == "gpt" else ("c", "83")
    label = names.disk if board.table == "gpt" else f"0x{names.boot.lower()}"
    table = (
        f"label: {board.table}\nlabel-id: {label}\nunit: sectors\n"
        f"start={start * 2048}, size={BOOT_MIB * 2048}, type={kinds[0]}{', bootable' if board.table == 'dos' else ''}\n"
        f"start={root_start * 2048}, size={root.stat().st_size // 512}, type={kinds[1]}\n"
    )
    if board.table == "gpt":
        uuids = [uuid.uuid5(uuid.UUID(names.disk), str(number)) for number in (1, 2)]
        lines = table.splitlines()
        table = "\n".join(
            [*lines[:3], *(f"{line}, uuid={own}" for line, own in zip(lines[3:], uuids, strict=True)), ""]
        )
    subprocess.run(["sfdisk", "--quiet", str(image)], input=table, text=True, check=True)
    for part, at_mib in ((boot, start), (root, root_start)):
        run("dd", f"if={part}", f"of={image}", "bs=4M", f"seek={at_mib // 4}", "conv=notrunc,sparse", "status=none")


def write(path: Path, text: str, *, mode: int = 0o644) -> Path:
    """Write one file, with its folders; return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def field(package: Path, name: str) -> str:
    """Return one field of a package."""
    return subprocess.run(
        ["dpkg-deb", "--field", str(package), name], check=True, capture_output=True, text=True
    ).stdout.strip()


def epoch_s() -> int:
    """Return the moment of the stamp: SOURCE_DATE_EPOCH, or when the commit was made."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    command = ["git", "-c", f"safe.directory={HERE.parents[1]}", "-C", str(HERE), "log", "-1", "--format=%ct"]
    return int(given or subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def environment() -> dict[str, str]:
    """Return the environment of every tool: one moment, one language."""
    moment = str(epoch_s())
    return {**os.environ, "SOURCE_DATE_EPOCH": moment, "E2FSPROGS_FAKE_TIME": moment, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def run(*command: str) -> None:
    """Run one tool."""
    subprocess.run(command, check=True, env=environment(), stdout=subprocess.DEVNULL)


FSTAB = """# What is acknowledged is synced by itself: the file system's own writes may wait, which spares the card.
UUID={names.root} / ext4 rw,noatime,commit=300,errors=remount-ro 0 1
# A boot partition that is slow or damaged keeps no box from starting once its kernel runs.
UUID={names.boot_uuid} {board.boot} vfat rw,noatime,umask=0077,nofail,x-systemd.device-timeout=5min 0 2
tmpfs /tmp tmpfs rw,nosuid,nodev,size=64M 0 0
"""
JOURNALD = """# Logs stay in memory: on a card they would be most of what is written.
[Journal]
Storage=volatile
RuntimeMaxUse=16M
"""
RESOLVED = """# Ports that nobody needs; the relay announces itself.
[Resolve]
LLMNR=no
MulticastDNS=no
"""
APT = """APT::Periodic::Update-Package-Lists "1";
APT::Periodic::Unattended-Upgrade "1";
APT::Periodic::AutocleanInterval "7";
APT::Install-Recommends "false";
"""
BOOTLOADER = (
    'mkdir -p "$1/boot/efi/EFI/BOOT" "$1/boot/efi/EFI/systemd" "$1/boot/efi/loader/entries" "$1/boot/efi/doorstep"',
    'for efi in "$1"/usr/lib/systemd/boot/efi/systemd-boot*.efi; do name=$(basename "$efi");'
    ' cp "$efi" "$1/boot/efi/EFI/systemd/$name";'
    ' cp "$efi" "$1/boot/efi/EFI/BOOT/BOOT$(echo "${name#systemd-boot}" | tr a-z A-Z)"; done',
    # A key from the console's cable stops no start.
    'printf "timeout menu-disabled\\neditor no\\n" >"$1/boot/efi/loader/loader.conf"',
    'echo type1 >"$1/boot/efi/loader/entries.srel"',
    'for kernel in "$1"/boot/vmlinuz-*; do version=${kernel##*/vmlinuz-}; chroot "$1" env'
    " SYSTEMD_RELAX_ESP_CHECKS=1 BOOT_ROOT=/boot/efi"
    ' kernel-install add "$version" "/boot/vmlinuz-$version" "/boot/initrd.img-$version"; done',
    # The file system is mounted nowhere yet: its paths begin below the folder.
    'sed -i "s, /boot/efi/, /," "$1"/boot/efi/loader/entries/*.conf',
)


if __name__ == "__main__":
    sys.exit(main())
