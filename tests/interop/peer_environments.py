"""Python environments of peers, made on demand under `.peers/` and kept between runs.

Peers are other people's programs: they never share an environment, an import or a process with ours.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

PEERS = Path(__file__).resolve().parents[2] / ".peers"
DRIVERS = Path(__file__).parent / "drivers"
SYNAPSE = "matrix-synapse==1.163.*"
NIO = "matrix-nio[e2e]==0.26.0"
NATS_SERVER = "github.com/nats-io/nats-server/v2@v2.14.9"
S3CMD = ["s3cmd==2.4.0", "python-dateutil==2.9.0.post0", "setuptools==80.9.0"]
ZEROCONF = "zeroconf==0.154.0"
PEBBLE = "github.com/letsencrypt/pebble/v2/cmd/{}@v2.10.1"
VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
_INSTALL_TIMEOUT_S = 600


def synapse_python() -> Path:
    """Return the interpreter of an environment that has Synapse; skips the test where it cannot be had.

    Under `CI=true` it fails instead: there a missing peer is a defect.
    """
    return _python_environment("synapse", [SYNAPSE])


def nio_python() -> Path:
    """Return the interpreter of an environment that has matrix-nio with encryption; as `synapse_python` otherwise."""
    return _python_environment("nio", [NIO])


def js_node_modules() -> Path:
    """Return the node_modules folder that has matrix-js-sdk and its Rust crypto; as `synapse_python` otherwise."""
    return _node_modules("js", DRIVERS)


def improv_node_modules() -> Path:
    """Return the node_modules folder that has the browser's Improv SDK; as `synapse_python` otherwise."""
    return _node_modules("improv", DRIVERS / "improv")


def _node_modules(name: str, locked_in: Path) -> Path:
    locks = [locked_in / "package.json", locked_in / "package-lock.json"]

    def build(folder: Path) -> None:
        folder.mkdir()
        for lock in locks:
            shutil.copy(lock, folder)
        _run(["npm", "ci", "--silent", "--ignore-scripts"], folder)

    return _environment(name, "".join(lock.read_text() for lock in locks), build) / "node_modules"


def recorder() -> tuple[Path, str]:
    """Return qemu-storage-daemon and where its libraries are, from Debian; as `synapse_python` otherwise."""
    return _debian_program("recorder", "qemu-storage-daemon", ["qemu-system-common", "qemu-utils"])


def bus_daemon() -> tuple[Path, str]:
    """Return dbus-daemon and where its libraries are; as `recorder` otherwise."""
    return _debian_program("bus", "dbus-daemon", ["dbus-daemon"])


def network_manager() -> tuple[Path, str]:
    """Return NetworkManager and where its libraries are; as `recorder` otherwise."""
    return _debian_program("network-manager", "NetworkManager", ["network-manager"], "usr/sbin")


def dhcp_server() -> tuple[Path, str]:
    """Return dnsmasq and where its libraries are; as `recorder` otherwise."""
    return _debian_program("dnsmasq", "dnsmasq", ["dnsmasq-base"], "usr/sbin")


def tpm_emulator() -> tuple[Path, str]:
    """Return swtpm and where its libraries are; as `recorder` otherwise."""
    return _debian_program("tpm", "swtpm", ["swtpm"])


def name_server() -> tuple[Path, str]:
    """Return BIND's named and where its libraries are; as `recorder` otherwise."""
    return _debian_program("names", "named", ["bind9"], "usr/sbin")


def haproxy() -> tuple[Path, str]:
    """Return haproxy and where its libraries are; as `recorder` otherwise."""
    return _debian_program("haproxy", "haproxy", ["haproxy"], "usr/sbin")


def ssh_server() -> tuple[Path, str]:
    """Return sshd and where its libraries are; as `recorder` otherwise."""
    return _debian_program("sshd", "sshd", ["openssh-server", "openssh-client"], "usr/sbin")


def port_mapping_daemon() -> tuple[Path, str]:
    """Return miniupnpd, with nft beside it for its tables, and where their libraries are; as `recorder` otherwise."""
    return _debian_program("miniupnpd", "miniupnpd", ["miniupnpd-nftables", "nftables"], "usr/sbin")


def zeroconf_python() -> Path:
    """Return the interpreter of an environment that has a multicast DNS resolver; as `synapse_python` otherwise."""
    return _python_environment("zeroconf", [ZEROCONF])


def device_tree_compiler() -> tuple[Path, str]:
    """Return dtc, beside which fdtoverlay and fdtget lie, and where its libraries are; as `recorder` otherwise."""
    return _debian_program("dtc", "dtc", ["device-tree-compiler"])


def image_tools() -> tuple[str, str]:
    """Return a search path with sfdisk, mkfs.vfat, mtools, dtc, and where their libraries are; as `recorder` otherwise.

    Both are empty where this machine has them all.
    """
    packages = ["fdisk", "dosfstools", "mtools", "e2fsprogs", "device-tree-compiler"]

    def build(folder: Path) -> None:
        folder.mkdir(parents=True)
        if lacking := _lacking_packages(packages):
            _run(["apt-get", "-q", "download", *lacking], folder)
        for package in sorted(folder.glob("*.deb")):
            _run(["dpkg", "-x", str(package), str(folder)])
            package.unlink()

    everywhere = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    programs = ("sfdisk", "mkfs.vfat", "mcopy", "mke2fs", "debugfs", "dtc")
    if all(shutil.which(name, path=everywhere) for name in programs):
        return "", ""
    folder = _environment("image-tools", " ".join(packages), build)
    libraries = {str(library.parent) for library in folder.rglob("*.so.*")}
    return ":".join(str(folder / place) for place in ("usr/sbin", "usr/bin", "sbin", "bin")), ":".join(
        sorted(libraries)
    )


def _debian_program(name: str, program: str, packages: list[str], place: str = "usr/bin") -> tuple[Path, str]:
    # Nothing is installed: packages this machine lacks are unpacked in a folder of their own.
    def build(folder: Path) -> None:
        fetched = folder / "packages"
        fetched.mkdir(parents=True)
        _run(["apt-get", "-q", "download", *_lacking_packages(packages)], fetched)
        for package in sorted(fetched.glob("*.deb")):
            _run(["dpkg", "-x", str(package), str(folder)])
        shutil.rmtree(fetched)

    installed = shutil.which(program)
    if installed:
        return Path(installed), ""
    folder = _environment(name, " ".join(packages), build)
    libraries = {str(library.parent) for library in folder.rglob("*.so.*") if library.parent.name != "qemu"}
    return folder / place / program, ":".join(sorted(libraries))


def debian_root(suite: str) -> Path:
    """Return a folder with a small Debian of `suite` that has Python and systemd; as `synapse_python` otherwise.

    It is never changed: whoever needs one to write to lays a folder of his own over it.
    """

    def build(folder: Path) -> None:
        if os.geteuid():
            raise OSError("only root can make a Debian root")
        if shutil.which("debootstrap") is None:
            _run(["apt-get", "-qq", "update"])
            _run(["apt-get", "-qq", "install", "--yes", "--no-install-recommends", "debootstrap"])
        wanted = "python3,systemd,udev,ca-certificates"
        _run(["debootstrap", "--variant=minbase", f"--include={wanted}", suite, str(folder)])

    return _environment(f"debian-{suite}", "python3 systemd udev ca-certificates", build)


def _lacking_packages(packages: list[str]) -> list[str]:
    plan = ["apt-get", "-s", "install", "--no-install-recommends", *packages]
    if subprocess.run(plan, capture_output=True, check=False, timeout=_INSTALL_TIMEOUT_S).returncode:
        # A fresh machine has no package lists yet.
        _run(["apt-get", "-qq", "update"])
    outcome = subprocess.run(plan, capture_output=True, check=True, text=True, timeout=_INSTALL_TIMEOUT_S)
    return [line.split()[1] for line in outcome.stdout.splitlines() if line.startswith("Inst ")]


def nats_server() -> Path:
    """Return the NATS server's program; as `synapse_python` otherwise."""
    return _go_program("nats-server", NATS_SERVER)


def versitygw() -> Path:
    """Return the program of an S3-compatible server over a folder; as `synapse_python` otherwise."""
    return _go_program("versitygw", VERSITYGW)


def pebble() -> tuple[Path, Path]:
    """Return an ACME server's program and that of the name server it asks; as `synapse_python` otherwise."""
    programs = [_go_program(name, PEBBLE.format(name)) for name in ("pebble", "pebble-challtestsrv")]
    return programs[0], programs[1]


def s3cmd() -> list[str]:
    """Return the command of an S3 client that takes pipes; as `synapse_python` otherwise."""
    python = _python_environment("s3cmd", S3CMD)
    return [str(python), str(python.parent / "s3cmd")]


def _go_program(name: str, module: str) -> Path:
    def build(folder: Path) -> None:
        folder.mkdir()
        command = ["go", "install", "-trimpath", module]
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            timeout=_INSTALL_TIMEOUT_S,
            env={**os.environ, "GOBIN": str(folder), "GOFLAGS": "-buildvcs=false"},
        )

    return _environment(name, module, build) / name


def _python_environment(name: str, requirements: list[str]) -> Path:
    def build(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", str(folder)])
        python = str(folder / "bin" / "python")
        _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements])

    return _environment(name, "\n".join([sys.version, *requirements]), build) / "bin" / "python"


def _environment(name: str, made_of: str, build: Callable[[Path], None]) -> Path:
    folder = PEERS / name
    stamp = folder / "made-of.txt"
    PEERS.mkdir(exist_ok=True)
    with (PEERS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != made_of:
            shutil.rmtree(folder, ignore_errors=True)
            try:
                build(folder)
            except (OSError, subprocess.SubprocessError) as error:
                cannot_be_had(name, error)
            stamp.write_text(made_of)
    return folder


def _run(command: list[str], folder: Path | None = None) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=_INSTALL_TIMEOUT_S, cwd=folder)


def cannot_be_had(name: str, error: Exception) -> NoReturn:
    """Skip the test; fail it under `CI=true`."""
    detail = getattr(error, "stderr", b"") or b""
    reason = f"peer {name} cannot be had: {error} {detail.decode(errors='replace')[-400:]}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
