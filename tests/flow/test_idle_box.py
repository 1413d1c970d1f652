"""What a box that idles has loaded: each module stays in a small board's memory for as long as it runs."""

import importlib.util
import select
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LIST_MODULES = (
    "import atexit, sys; atexit.register(lambda: sys.stderr.write('\\nloaded ' + ' '.join(sys.modules)));"
    "sys.argv[0] = 'relay'; from relay.cli import main; main()"
)
# Loaded when it is needed, or in a process that ends.
LATER = {
    *("click", "cryptography", "segno", "jeepney", "serial", "dns", "asyncio", "rich"),
    *("relay.cli.reset", "relay.cli.settings", "relay.cli.provisioning", "relay.console"),
    *("relay.app.backup_making", "relay.store.snapshot", "relay.store.chunks", "relay.store.archive"),
    *(
        "relay.delivery.moving",
        "relay.household.luggage",
        "relay.delivery.standby.jetstream",
        "relay.delivery.standby.bucket",
    ),
    *("relay.uplink.announcer", "relay.uplink.port_mapper", "relay.uplink.acme", "relay.uplink.tender"),
    *("relay.box.tpm", "relay.box.otp"),
}


def relay(*arguments: object) -> list[str]:
    return [sys.executable, "-c", LIST_MODULES, *map(str, arguments)]


def test_an_idle_box_has_loaded_nothing_that_it_does_not_need_yet(tmp_path: Path) -> None:
    state, password = tmp_path / "state", tmp_path / "password"
    password.write_text("a long password")
    plain = ["--set=federation.tls=false", "--federation", "127.0.0.1:0", "--client", "127.0.0.1:0"]
    who = ["--name", "box.example", "--profile", "desk", "--owner", "anna", "--password-file", password]
    provision = relay("provision", "--state", state, *who, *plain)
    subprocess.run(provision, cwd=ROOT, check=True, capture_output=True, timeout=30)
    box = subprocess.Popen(
        relay("up", "--headless", "--state", state), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert box.stdout is not None
        ready, _, _ = select.select([box.stdout], [], [], 20)
        assert ready
        assert box.stdout.readline().startswith("ready ")
    finally:
        box.terminate()
        said = box.communicate(timeout=20)[1]
    loaded = set(said.rpartition("\nloaded ")[2].split())
    assert {"relay.app.running", "trio", "apsw"} <= loaded
    assert not LATER & loaded
    # A name that is nobody's any more would never be found.
    assert all(importlib.util.find_spec(name) for name in LATER)
