"""The two slots of an installed box: at any moment there is a whole release behind `current`."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


WAITING = """[ "$1" != status ] || echo '{"running": false, "waits": "locked, waiting for the passphrase"}'\n"""
ANSWER = """[ "$1" != ask ] || echo '{"ok":true,"result":{"found":3,"known":2,"readable":false}}'\n"""


class Machine:
    """A made-up machine: its programs do nothing but note that they ran."""

    def __init__(self, folder: Path) -> None:
        self.home, self.state, self.programs = folder / "home", folder / "state", folder / "programs"
        for path in (self.home, self.state, self.programs):
            path.mkdir()
        self.active = True
        self.program("systemctl", f'echo "$@" >>"{folder}/asked"; [ "$1" != is-active ] || [ -e "{folder}/active" ]')
        self.program("python", "exit 0")
        self.folder = folder
        self.set_active(True)

    def set_active(self, active: bool) -> None:
        (self.folder / "active").unlink(missing_ok=True)
        if active:
            (self.folder / "active").touch()

    def program(self, name: str, text: str) -> Path:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def unpack(self, version: str, *, works: bool = True, reads: bool = True, waits: bool = False) -> None:
        """Do what dpkg does: replace the files of the package."""
        package = self.home / "package"
        (package / "bin").mkdir(parents=True, exist_ok=True)
        says = "" if reads else ANSWER
        says += WAITING if waits else ""
        for name, text in (
            ("version", f"{version}\n"),
            ("python", f"{self.programs}/python\n"),
            ("bin/relay", f"#!/bin/sh\n{says}exit {0 if works else 1}\n"),
        ):
            fresh = package / f"{name}.dpkg-new"
            fresh.write_text(text)
            fresh.chmod(0o755)
            fresh.rename(package / name)

    def slots(self, verb: str, *, code: int = 0) -> str:
        environment = {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "DOORSTEP_HOME": str(self.home),
            "DOORSTEP_STATE": str(self.state),
        }
        done = subprocess.run(
            [str(ROOT / "hw/package/slots.sh"), verb],
            env=environment,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stdout + (done.stderr if code else "")

    @property
    def running(self) -> str:
        return (self.home / "current/version").read_text().strip()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.unpack("1")
    machine.slots("install")
    return machine


def test_the_first_release_is_not_on_trial(machine: Machine) -> None:
    assert machine.slots("show") == "runs: a 1\nother: b nothing\n"
    assert machine.slots("judge") == ""


def test_a_new_release_that_is_healthy_stays(machine: Machine) -> None:
    (machine.state / "relay.toml").touch()
    machine.unpack("2")
    machine.slots("install")
    assert machine.slots("show") == "runs: b 2\nother: a 1\non trial\n"
    assert machine.slots("judge") == "release 2 is healthy and stays\n"
    assert machine.slots("show") == "runs: b 2\nother: a 1\n"


@pytest.mark.parametrize("wrong", ["does not run", "does not answer"])
def test_a_new_release_that_is_not_healthy_goes_back_by_itself(machine: Machine, wrong: str) -> None:
    (machine.state / "relay.toml").touch()
    machine.unpack("2", works=wrong != "does not answer")
    machine.slots("install")
    machine.set_active(wrong != "does not run")
    # What failed with one release counts for nothing with another.
    (machine.state / "failed-starts").touch()
    assert machine.slots("judge") == "going back from 2 to 1\n"
    assert not (machine.state / "failed-starts").exists()
    assert machine.running == "1"
    assert (machine.folder / "asked").read_text().splitlines()[-1] == (
        "try-restart relay.service relay-console@*.service"
    )


@pytest.mark.parametrize("broken", ["nothing", "not a program", "no interpreter"])
@pytest.mark.parametrize("provisioned", [True, False])
def test_a_release_that_cannot_even_be_started_goes_back_by_itself(
    machine: Machine, broken: str, *, provisioned: bool
) -> None:
    if provisioned:
        (machine.state / "relay.toml").touch()
    machine.unpack("2")
    machine.slots("install")
    program = machine.home / "b/bin/relay"
    program.unlink()
    if broken != "nothing":
        program.write_text("#!/no/such/interpreter\n" if broken == "no interpreter" else "\0")
        program.chmod(0o755 if broken == "no interpreter" else 0o644)
    assert machine.slots("judge") == "going back from 2 to 1\n"
    assert machine.running == "1"
    asked = (machine.folder / "asked").read_text().splitlines()
    assert asked[-3:-1] == ["reset-failed relay.service", "start relay.service"]


def test_a_release_whose_box_waits_for_its_key_is_judged_later(machine: Machine) -> None:
    (machine.state / "relay.toml").touch()
    machine.unpack("2", works=False, waits=True)
    machine.slots("install")
    assert machine.slots("judge") == "release 2 waits for its key: the trial goes on\n"
    assert machine.slots("show").endswith("on trial\n")
    assert (machine.folder / "asked").read_text().splitlines()[-1] == "restart --no-block relay-health.timer"


def test_nobody_goes_back_to_a_release_that_cannot_read_what_the_new_one_has_upgraded(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.unpack("1", reads=False)
    machine.slots("install")
    (machine.state / "relay.toml").touch()
    machine.unpack("2", works=False)
    machine.slots("install")
    assert "release 2 stays: the other one cannot read" in machine.slots("judge", code=1)
    assert "release 2 stays" in machine.slots("back", code=1)
    assert machine.running == "2"
    assert machine.slots("judge") == ""


def test_a_release_installed_during_a_trial_goes_back_to_the_one_that_was_good(machine: Machine) -> None:
    (machine.state / "relay.toml").touch()
    for version in ("2", "3"):
        machine.unpack(version, works=False)
        machine.slots("install")
    assert machine.running == "3"
    assert machine.slots("judge") == "going back from 3 to 1\n"


def test_a_box_that_nobody_set_up_is_judged_by_whether_its_program_runs(machine: Machine) -> None:
    machine.set_active(False)
    machine.unpack("2")
    machine.slots("install")
    assert machine.slots("judge") == "release 2 is healthy and stays\n"


def test_a_person_can_go_back_after_the_trial_too(machine: Machine) -> None:
    machine.unpack("2")
    machine.slots("install")
    machine.slots("judge")
    assert machine.slots("back") == "going back from 2 to 1\n"
    assert machine.running == "1"


def test_at_every_step_of_an_install_there_is_a_whole_release(machine: Machine) -> None:
    machine.unpack("2")
    script = (ROOT / "hw/package/slots.sh").read_text()
    begin = script.index("install_package() {") + len("install_package() {")
    lines = script[begin : script.index("\n}\n", begin)].splitlines()
    steps = [number for number, line in enumerate(lines) if line.startswith("    ") and not line.startswith("     ")]
    steps = [number for number in steps if lines[number].split()[0] not in ("#", "if", "fi")]
    assert len(steps) >= 8
    for step in steps:
        cut = "\n".join([*lines[: step + 1], "    exit 0"])
        (machine.folder / "cut.sh").write_text(script.replace("\n".join(lines), cut))
        environment = {
            "PATH": f"{machine.programs}:{os.environ['PATH']}",
            "DOORSTEP_HOME": str(machine.home),
            "DOORSTEP_STATE": str(machine.state),
        }
        subprocess.run(["sh", machine.folder / "cut.sh", "install"], env=environment, check=True, timeout=20)
        assert machine.running in ("1", "2"), lines[step]
    machine.slots("install")
    assert machine.running == "2"


def test_an_install_that_was_cut_short_is_made_good_by_the_next(machine: Machine) -> None:
    machine.unpack("2")
    (machine.home / "b.new/bin").mkdir(parents=True)
    (machine.home / "current.new").symlink_to("b")
    machine.slots("install")
    assert machine.running == "2"
