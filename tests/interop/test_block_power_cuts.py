"""Power cuts below the file system: a box records every block write while an app and a Synapse send to it."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from tests.interop.peer_environments import cannot_be_had, recorder
from tests.interop.recorded_load import Load, Recording, record
from tests.interop.recording_device import RecordingDevice, unavailable
from tests.interop.state_inspector import Outcome, inspect
from tests.interop.synapse_peer import SynapsePeer

pytestmark = pytest.mark.interop

SUBJECT = "power cuts of a block device"
Figures = Callable[[str, dict[str, int]], None]
Recorder = Callable[..., Recording]


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: images are copied hundreds of times."""
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="doorstep-", dir=parent) as folder:
        yield Path(folder)


@contextlib.contextmanager
def recording_device(folder: Path) -> Iterator[RecordingDevice]:
    device = RecordingDevice(folder, *recorder())
    try:
        device.start()
    except RuntimeError as error:
        # In a container the devices may be there and still be out of reach.
        cannot_be_had("recorder", error)
    with contextlib.closing(device):
        yield device


@pytest.fixture
def recorded(authority: trustme.CA, synapse: SynapsePeer, memory: Path) -> Recorder:
    """Return what records a box under a load; skips where no block device can be recorded."""
    if reason := unavailable():
        pytest.skip(f"no block device can be recorded: {reason}")

    def play(load: Load, *, module: str = "relay") -> Recording:
        with recording_device(memory / "device") as device:
            return record(device, memory, authority, synapse, load, module=module)

    return play


def counted(outcome: Outcome) -> dict[str, int]:
    return {
        "states tried": outcome.states,
        "with unflushed writes": outcome.doubtful,
        "with torn ones": outcome.torn,
        "promises compared": outcome.promises,
        "losses": len(outcome.losses),
    }


def test_no_cut_below_the_file_system_loses_what_was_acknowledged(
    recorded: Recorder, memory: Path, figures: Figures
) -> None:
    outcome = inspect(recorded(Load(messages=120, kills=2)), memory, states=40, seed=1)
    figures(SUBJECT, counted(outcome))
    assert outcome.losses == []


def test_a_box_that_does_not_sync_is_found_out(recorded: Recorder, memory: Path, figures: Figures) -> None:
    outcome = inspect(recorded(Load(messages=40), module="tests.interop.careless_relay"), memory, states=12, seed=1)
    figures(f"{SUBJECT}, negative control without syncs", counted(outcome))
    assert any("message" in loss for loss in outcome.losses)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 7))
def test_no_cut_of_many_loses_what_was_acknowledged(
    recorded: Recorder, memory: Path, figures: Figures, seed: int
) -> None:
    outcome = inspect(recorded(Load(messages=400, kills=5)), memory, states=200, seed=seed)
    figures(SUBJECT, counted(outcome))
    assert outcome.losses == []
