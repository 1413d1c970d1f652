"""A box on its network at home: found by another program's resolver, and let through by a router."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.interop.box_process import BoxProcess
from tests.interop.listening_process import ends_after
from tests.interop.peer_environments import DRIVERS, zeroconf_python

pytestmark = pytest.mark.interop

KINDS = ["_doorstep._tcp.local.", "_matrix-fed._tcp.local.", "_matrix._tcp.local."]


class Finder:
    """Somebody else's resolver, which browses loopback."""

    def __init__(self, python: Path) -> None:
        command = [str(python), str(DRIVERS / "find_box.py"), *KINDS]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def next(self, event: str) -> dict[str, dict[str, Any]]:
        """Return what it says of each kind of service next."""
        assert self.process.stdout is not None
        found: dict[str, dict[str, Any]] = {}
        with ends_after(self.process):
            while len(found) < len(KINDS):
                told = json.loads(self.process.stdout.readline())
                if told["event"] == event:
                    found[told["kind"]] = told
        return found

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with ends_after(self.process):
            self.process.stdin.close()
            self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def finder() -> Iterator[Finder]:
    found = Finder(zeroconf_python())
    try:
        yield found
    finally:
        found.close()


def test_a_resolver_at_home_finds_the_box_and_hears_its_goodbye(
    finder: Finder, authority: trustme.CA, tmp_path: Path
) -> None:
    settings = {"uplink.announce": "true", "uplink.interfaces": "lo", "uplink.host": "test-box"}
    with BoxProcess(tmp_path / "box", authority, settings=settings) as box:
        found = finder.next("add")
        client, federation = found[KINDS[0]], found[KINDS[1]]
        assert (client["port"], federation["port"]) == (box.client_port, box.federation_port)
        assert client["name"] == f"Doorstep test-box.{KINDS[0]}"
        assert client["host"] == "test-box.local."
        assert "127.0.0.1" in client["addresses"]
        assert client["texts"]["server"] == box.name
        status = json.loads(box.relay("status", "--json"))["announced"]
        assert status["interfaces"] == {"lo": True}
        begun = time.monotonic()
        box.stop()
        assert time.monotonic() - begun < 5
        assert finder.next("remove").keys() == set(KINDS)


def test_two_boxes_of_one_name_are_both_found(finder: Finder, authority: trustme.CA, tmp_path: Path) -> None:
    settings = {"uplink.announce": "true", "uplink.interfaces": "lo", "uplink.host": "twin"}
    with BoxProcess(tmp_path / "a", authority, settings=settings):
        first = finder.next("add")[KINDS[0]]
        with BoxProcess(tmp_path / "b", authority, settings=settings):
            second = finder.next("add")[KINDS[0]]
            assert first["name"] == f"Doorstep twin.{KINDS[0]}"
            assert second["name"] == f"Doorstep twin (2).{KINDS[0]}"
            assert first["port"] != second["port"]
