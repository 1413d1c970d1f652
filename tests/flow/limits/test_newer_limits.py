"""At limits of backups, the standby, moving and files: just within it passes, just beyond is refused."""

from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from relay.admin.requests import parse_request
from relay.app.folder_files import folder_files
from relay.base.config import Config
from relay.base.errors import InvalidInputError, UnreachableError
from relay.base.ids import MediaId, ServerName
from relay.base.limits import (
    MAX_ARCHIVE_ARGON_MEMORY_KIB,
    MAX_ARCHIVE_ARGON_PASSES,
    MAX_BACKUP_FILE_BYTES,
    MAX_MOVING_FIELD_BYTES,
    MAX_REMEMBERED_FILES,
    NATS_HANDSHAKE_TIMEOUT_S,
    PRUNE_PAUSE_S,
)
from relay.delivery.file_use import FileUse
from relay.delivery.pruning.pruner import Pruner
from relay.store.archive_key import PASSPHRASE, KeyParameters
from relay.transport.destination import Destination
from relay.transport.nats_client import Login, open_nats
from tests.fakes.clock import FakeClock
from tests.fakes.family import open_family

CONFIG = Config.parse({"server": {"name": "box.test"}})


@pytest.mark.parametrize(
    ("passes", "memory_kib", "fits"),
    [
        (MAX_ARCHIVE_ARGON_PASSES, MAX_ARCHIVE_ARGON_MEMORY_KIB, True),
        (MAX_ARCHIVE_ARGON_PASSES + 1, MAX_ARCHIVE_ARGON_MEMORY_KIB, False),
        (MAX_ARCHIVE_ARGON_PASSES, MAX_ARCHIVE_ARGON_MEMORY_KIB + 1, False),
    ],
)
def test_the_key_of_a_backup_may_cost_so_much(passes: int, memory_kib: int, fits: bool) -> None:
    packed = KeyParameters(PASSPHRASE, passes, memory_kib, bytes(16)).pack()
    if fits:
        assert KeyParameters.unpack(packed).passes == passes
    else:
        with pytest.raises(ValueError, match="not the parameters of a key"):
            KeyParameters.unpack(packed)


@pytest.mark.parametrize(("excess", "taken"), [(0, True), (1, False)])
def test_a_file_of_the_state_folder_goes_into_a_backup_up_to_its_limit(
    excess: int, taken: bool, tmp_path: Path
) -> None:
    (tmp_path / "note").write_bytes(bytes(MAX_BACKUP_FILE_BYTES + excess))
    files, _, left_out = folder_files(tmp_path, CONFIG)
    assert ([file.name for file in files] == ["note"]) is taken
    assert bool(left_out) is not taken


def test_a_field_of_somebody_who_moves_may_be_so_long() -> None:
    fields = {"verb": "account_pack", "name": "anna", "after": "x" * MAX_MOVING_FIELD_BYTES}
    parse_request(fields)
    with pytest.raises(InvalidInputError, match="after has"):
        parse_request({**fields, "after": "x" * (MAX_MOVING_FIELD_BYTES + 1)})


async def test_a_nats_server_that_says_nothing_is_given_up_in_time(autojump_clock: MockClock) -> None:
    async def dial(destination: Destination) -> tuple[trio.abc.Stream, bool]:
        assert destination.host == "nats.test"
        ours, theirs = trio.testing.memory_stream_pair()
        held.append(theirs)
        return ours, False

    held: list[trio.abc.Stream] = []
    begun_s = trio.current_time()
    with pytest.raises(UnreachableError):
        async with open_nats(dial, "nats.test", 4222, Login(), tls=None):
            raise AssertionError
    assert trio.current_time() - begun_s == NATS_HANDSHAKE_TIMEOUT_S


async def test_so_many_files_asked_for_today_are_remembered() -> None:
    async with open_family() as family:
        use = FileUse(family.ledger, FakeClock(tick_ms=0))
        here = ServerName("box.test")
        await use.note(here, MediaId("first"))
        use._today.update((here, MediaId(str(number))) for number in range(MAX_REMEMBERED_FILES - 1))
        assert len(use._today) == MAX_REMEMBERED_FILES
        await use.note(here, MediaId("one more"))
        assert len(use._today) == 1


async def test_letting_go_pauses_between_its_steps(autojump_clock: MockClock) -> None:
    async with open_family() as family:
        pruner = Pruner(family.ledger, CONFIG, FakeClock(), ServerName("box.test"), budget_bytes=1 << 40)
        begun_s = trio.current_time()
        await pruner._pause()
        assert trio.current_time() - begun_s == pytest.approx(PRUNE_PAUSE_S)
