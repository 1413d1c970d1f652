#!/usr/bin/env python3
"""Build a Debian package: the relay, its libraries, its units. No network is needed where it is installed.

    python hw/package/build.py --suite bookworm --arch arm64 --out DIR

The libraries are the wheels of the lock file for that architecture and that suite's Python, checked by their hashes;
compiled wheels bind a package to one Python, so there is one package for each pair. The same commit gives the same
bytes: times come from the commit, names are sorted, nothing is compiled here. Needs pip and dpkg-deb.
"""

import argparse
import datetime
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
SUITES = {"bookworm": "deb12", "trixie": "deb13"}
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_28")
HOME = Path("usr/lib/doorstep")
CARRIED = ("relay", "firmware_profiles")
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")


def main() -> int:
    """Build the package asked for; print its path."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", choices=sorted(PYTHONS), required=True)
    parser.add_argument("--arch", choices=sorted(MACHINES), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--version", default="", help="instead of the one that the commit gives")
    asked = parser.parse_args()
    version = asked.version or stamped_version()
    package = build(asked.suite, asked.arch, asked.out, f"{version}~{SUITES[asked.suite]}")
    sys.stdout.write(f"{package}\n")
    return 0


def build(suite: str, arch: str, out: Path, version: str) -> Path:
    """Return the package built in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    package = out / f"doorstep_{version}_{arch}.deb"
    with tempfile.TemporaryDirectory(prefix="doorstep-package-") as scratch:
        tree = Path(scratch) / "tree"
        fill(tree, suite, arch, version, Path(scratch) / "wheels")
        settle_times(tree)
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Zzstd", "--build", str(tree), str(package)],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "SOURCE_DATE_EPOCH": str(commit_time_s())},
        )
    return package


def fill(tree: Path, suite: str, arch: str, version: str, wheels: Path) -> None:
    """Lay out everything that is installed, and what dpkg needs to know."""
    home = tree / HOME / "package"
    unpack_wheels(download_wheels(suite, arch, wheels), home / "lib")
    for name in tracked(CARRIED):
        place(ROOT / name, home / name)
    place(ROOT / "hw/package/relay.sh", home / "bin/relay", mode=0o755)
    place(ROOT / "hw/package/slots.sh", tree / HOME / "slots.sh", mode=0o755)
    place(ROOT / "hw/package/board.sh", tree / HOME / "board.sh", mode=0o755)
    for name in ("gadget.sh", "backup.sh"):
        place(ROOT / "hw" / name, tree / HOME / name, mode=0o755)
    (home / "python").write_text(f"/usr/bin/python{PYTHONS[suite]}\n")
    (home / "version").write_text(f"{version}\n")
    for unit in sorted((ROOT / "systemd").iterdir()):
        if unit.suffix in (".service", ".socket", ".path", ".timer"):
            place(unit, tree / "usr/lib/systemd/system" / unit.name)
    place(ROOT / "systemd/doorstep.sysusers", tree / "usr/lib/sysusers.d/doorstep.conf")
    place(ROOT / "systemd/doorstep.tmpfiles", tree / "usr/lib/tmpfiles.d/doorstep.conf")
    place(ROOT / "hw/60-doorstep.polkit.rules", tree / "usr/share/polkit-1/rules.d/60-doorstep.rules")
    place(ROOT / "hw/60-doorstep.rules", tree / "usr/lib/udev/rules.d/60-doorstep.rules")
    for name in ("README.md", "CHANGELOG.md", "LICENSE"):
        place(ROOT / name, tree / "usr/share/doc/doorstep" / ("copyright" if name == "LICENSE" else name))
    for path in (*(ROOT / "hw").glob("*.md"), ROOT / "hw/haproxy.cfg"):
        place(path, tree / "usr/share/doc/doorstep/hw" / path.name)
    (tree / "usr/bin").mkdir()
    (tree / "usr/bin/relay").symlink_to("../lib/doorstep/current/bin/relay")
    describe(tree, suite, arch, version)


def describe(tree: Path, suite: str, arch: str, version: str) -> None:
    """Write the control files."""
    control = tree / "DEBIAN"
    size_kib = sum(path.lstat().st_size for path in tree.rglob("*") if path.is_file()) // 1024
    major, minor = PYTHONS[suite].split(".")
    place(ROOT / "hw/package/control", control / "control")
    text = (control / "control").read_text()
    for key, value in {
        "VERSION": version,
        "ARCH": arch,
        "SIZE": str(size_kib),
        "PYTHON": f"python3 (>= {major}.{minor}~), python3 (<< {major}.{int(minor) + 1}~)",
    }.items():
        text = text.replace(f"@{key}@", value)
    (control / "control").write_text(text)
    for script in SCRIPTS:
        if (ROOT / "hw/package" / script).exists():
            place(ROOT / "hw/package" / script, control / script, mode=0o755)
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_relative_to(control))
    sums = [
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(tree)}\n"
        for path in files
        if not path.is_symlink()
    ]
    (control / "md5sums").write_text("".join(sums))


def download_wheels(suite: str, arch: str, folder: Path) -> list[Path]:
    """Return the wheels that the lock file names, for another Python and machine than this one."""
    platforms = [f"--platform={platform}_{MACHINES[arch]}" for platform in PLATFORMS]
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--require-hashes", "--only-binary=:all:", f"--python-version={PYTHONS[suite]}"),
            *platforms,
            *("--requirement", str(ROOT / "requirements.lock"), "--dest", str(folder)),
        ],
        check=True,
    )
    return sorted(folder.glob("*.whl"))


def unpack_wheels(wheels: list[Path], folder: Path) -> None:
    """Put the libraries of all wheels into one folder; their command line scripts are left out."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for name in sorted(archive.namelist()):
                parts = Path(name).parts
                if name.endswith("/") or ".." in parts or parts[0].endswith(".data"):
                    continue
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))


def place(source: Path, target: Path, *, mode: int = 0o644) -> None:
    """Copy one file, with its folders."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def settle_times(tree: Path) -> None:
    """Give everything the time of the commit, and modes that do not depend on the builder's umask."""
    moment = commit_time_s()
    for path in [tree, *sorted(tree.rglob("*"))]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
        elif not path.is_symlink():
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        os.utime(path, (moment, moment), follow_symlinks=False)


def stamped_version() -> str:
    """Return the version of this commit: that of the project, the moment and the commit."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    moment = datetime.datetime.fromtimestamp(commit_time_s(), datetime.UTC)
    return f"{version}+{moment:%Y%m%d%H%M%S}.{git('log', '-1', '--format=%h', '--abbrev=9')}"


def commit_time_s() -> int:
    """Return when the commit was made, in seconds since 1970."""
    return int(git("log", "-1", "--format=%ct"))


def tracked(folders: tuple[str, ...]) -> list[str]:
    """Return the files of `folders` that are part of the project, and nothing that lies about beside them."""
    return git("ls-files", "--", *folders).splitlines()


def git(*arguments: str) -> str:
    """Return what git says of this commit."""
    return subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
