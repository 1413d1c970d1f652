"""Real peers for the whole run: one Synapse, one certificate authority; boxes are made per test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.interop.box_process import BoxProcess
from tests.interop.hostile_server import HostileServer
from tests.interop.peer_environments import synapse_python
from tests.interop.synapse_peer import SynapsePeer
from tests.interop.victim import Victim


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def synapse(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SynapsePeer]:
    with SynapsePeer(tmp_path_factory.mktemp("synapse"), synapse_python(), authority) as peer:
        yield peer


@pytest.fixture
def box(authority: trustme.CA, tmp_path: Path) -> Iterator[BoxProcess]:
    with BoxProcess(tmp_path / "box", authority) as box:
        yield box


@pytest.fixture(scope="module")
def victim(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    settings = {"federation.request_timeout_s": "3", "federation.connect_timeout_s": "3"}
    with BoxProcess(tmp_path_factory.mktemp("box"), authority, settings=settings) as box:
        yield Victim(box)


@pytest.fixture(scope="module")
def hostile(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileServer]:
    with HostileServer(tmp_path_factory.mktemp("hostile"), authority) as server:
        yield server
