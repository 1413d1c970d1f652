"""The Debian package in a clean Debian root: installed, upgraded, judged, rolled back, removed."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.peer_environments import debian_root

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can install packages, also into a root of its own"),
]

ROOT = Path(__file__).resolve().parents[2]
SUITE = "bookworm"
# A service manager that is asked and obeys: the root has none running.
SYSTEMCTL = """#!/bin/sh
echo "$@" >>/asked
case $1 in
is-active) [ -e /active ] ;;
enable|disable|mask|unmask) exec /usr/bin/systemctl.real "$@" ;;
esac
"""


def build(folder: Path, version: str) -> Path:
    command = [sys.executable, str(ROOT / "hw/package/build.py"), "--suite", SUITE, "--arch", "amd64"]
    done = subprocess.run(
        [*command, "--out", str(folder), "--version", version], check=True, capture_output=True, text=True, timeout=300
    )
    return Path(done.stdout.strip())


class Machine:
    """A Debian root of its own, laid over the kept one; nothing stays mounted between two commands."""

    def __init__(self, folder: Path) -> None:
        self._lower, self._upper, self._folder = debian_root(SUITE), folder / "upper", folder
        for name in ("upper", "work", "root"):
            (folder / name).mkdir()
        systemctl = self.path("/usr/local/bin/systemctl")
        systemctl.parent.mkdir(parents=True)
        systemctl.write_text(SYSTEMCTL)
        systemctl.chmod(0o755)
        self.run("ln -s /bin/systemctl /usr/bin/systemctl.real")

    def path(self, name: str) -> Path:
        """Return where what the machine wrote to `name` lies."""
        return self._upper / name.lstrip("/")

    def run(self, script: str, *, within_s: float = 120) -> str:
        """Run a shell script as root of the machine; return what it printed."""
        layers = f"lowerdir={self._lower},upperdir={self._upper},workdir={self._folder}/work"
        mounted = (
            f"mount -t overlay overlay -o {layers} {self._folder}/root && "
            f"mount -t proc proc {self._folder}/root/proc && mount --bind /dev {self._folder}/root/dev && "
            f'exec chroot {self._folder}/root /bin/sh -euc "$1"'
        )
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", mounted, "sh", script]
        done = subprocess.run(
            command,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
        assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
        return done.stdout

    def install(self, package: Path) -> str:
        self.path("/package.deb").write_bytes(package.read_bytes())
        return self.run("dpkg --force-unsafe-io --install /package.deb")


@pytest.fixture(scope="module")
def first_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("first"), "0.1.0")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_package_installs_upgrades_goes_back_and_goes_away_and_leaves_what_the_family_keeps(
    machine: Machine, first_release: Path, tmp_path: Path
) -> None:
    machine.install(first_release)
    assert machine.run("relay board").startswith("profile: generic-x86-64")
    assert "relay.path" in machine.run("ls /etc/systemd/system/multi-user.target.wants")
    assert machine.run("stat -c %U:%a /var/lib/doorstep") == "doorstep:700\n"
    assert "MemoryMax=384M" in machine.run("cat /etc/systemd/system/relay.service.d/50-board.conf")
    kinds = " ".join(f"/lib/systemd/system/relay*.{kind}" for kind in ("service", "socket", "path", "timer"))
    # All together, as they lie there: every program exists, and every unit that another one names.
    told = machine.run(f"systemd-analyze verify --man=no {kinds} 2>&1 || :")
    # Only who wants the tunnel installs the program it needs.
    assert [line for line in told.splitlines() if "relay" in line and "/usr/bin/ssh" not in line] == []
    waits_for_its_line = "/etc/systemd/system/dev-ttyS0.device.wants/relay-console@ttyS0.service"
    assert machine.run(f"readlink {waits_for_its_line}; readlink /etc/systemd/system/serial-getty@ttyS0.service") == (
        "/lib/systemd/system/relay-console@.service\n/dev/null\n"
    )
    assert "relay: this box is not set up yet: " in machine.run(
        "relay up --headless --state /var/lib/doorstep 2>&1 || :"
    )
    # By root, without an address or a board: what comes of it belongs to the service, which is reachable.
    machine.run(
        "echo correct-horse >/password; chmod 600 /password\n"
        "relay provision --state /var/lib/doorstep --name box.example --owner anna --password-file /password"
    )
    assert machine.run("find /var/lib/doorstep ! -user doorstep") == ""
    settings = machine.run("cat /var/lib/doorstep/relay.toml")
    for line in ('profile = "generic-x86-64"', 'listen = "[::]:443"', 'listen = "[::]:8448"', "private_peers = false"):
        assert line in settings
    users = "setpriv --reuid doorstep --regid doorstep --clear-groups relay user list --state /var/lib/doorstep"
    assert "@anna:box.example" in machine.run(users)

    machine.path("/asked").unlink()
    machine.install(build(tmp_path, "0.1.1"))
    assert machine.run("/usr/lib/doorstep/slots.sh show") == "runs: b 0.1.1~deb12\nother: a 0.1.0~deb12\non trial\n"
    assert "@anna:box.example" in machine.run(users)

    # The new release cannot even be imported: the gate goes back by itself.
    machine.path("/active").touch()
    machine.run("echo 'raise ImportError' >>/usr/lib/doorstep/b/relay/__init__.py; ! relay board 2>/dev/null")
    assert machine.run("/usr/lib/doorstep/slots.sh judge") == "going back from 0.1.1~deb12 to 0.1.0~deb12\n"
    assert "try-restart relay.service" in machine.path("/asked").read_text()
    assert "@anna:box.example" in machine.run(users)

    machine.run("dpkg --remove doorstep")
    left = machine.run("ls -d /usr/lib/doorstep /usr/bin/relay /var/lib/doorstep/relay.toml 2>/dev/null || :")
    assert left == "/var/lib/doorstep/relay.toml\n"
    assert machine.run("find /etc/systemd/system -name '*relay*' -o -name 'serial-getty*'") == ""
    machine.install(first_release)
    assert "@anna:box.example" in machine.run(users)
    machine.run("dpkg --purge doorstep")
    assert machine.run("ls /var/lib/doorstep/relay.toml") == "/var/lib/doorstep/relay.toml\n"


def test_the_same_commit_gives_the_same_bytes(first_release: Path, tmp_path: Path) -> None:
    again = build(tmp_path, "0.1.0")
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(first_release.read_bytes()).digest()
