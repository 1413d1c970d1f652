"""Real peers for the whole run: one Synapse, one certificate authority; boxes are made per test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.interop.box_process import BoxProcess
from tests.interop.peer_environments import synapse_python
from tests.interop.synapse_peer import SynapsePeer


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
