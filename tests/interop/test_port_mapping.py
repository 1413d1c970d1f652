"""The daemon that real routers run understands what the box asks it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.box_process import BoxProcess
from tests.interop.peer_environments import DRIVERS, cannot_be_had, port_mapping_daemon

pytestmark = pytest.mark.interop


def test_a_real_router_is_asked_in_both_protocols(tmp_path: Path) -> None:
    daemon, libraries = port_mapping_daemon()
    if os.geteuid():
        cannot_be_had("miniupnpd", OSError("only root can give it a network of its own"))
    script = [str(DRIVERS / "ask_router.sh"), str(daemon), libraries, str(tmp_path)]
    outcome = subprocess.run(
        ["unshare", "--net", *script, sys.executable, "-m", "tests.interop.asking_router"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=BoxProcess.environment(),
    )
    assert outcome.returncode == 0, outcome.stderr
    address, mapping, told = outcome.stdout.splitlines()
    assert re.fullmatch(r"ExternalAddress\(result='Success', epoch_s=\d+, address='9.9.9.9'\)", address)
    assert "result='Success'" in mapping
    assert "internal_port=8080, external_port=80, lifetime_s=600" in mapping
    (router,) = json.loads(told).values()
    assert (router["protocol"], router["external_address"]) == ("PCP", "9.9.9.9")
    assert [(door["port"], door["fault"]) for door in router["doors"].values()] == [(443, ""), (8448, "")]
    assert len(re.findall(r"PCP: TCP port (?:443|8448) mapping removed", (tmp_path / "log").read_text())) == 2
