"""Every sync in relay/store is needed, and the enumerator notices when one is missing; what is spare says why."""

import dataclasses
import random  # noqa: TID251 - a seeded generator: the same states every time
from collections.abc import Callable

import pytest

from tests.crash import scenarios
from tests.crash.power_cut import Weather, without
from tests.crash.restoring import restored
from tests.crash.scenarios import Scenario
from tests.fakes.sync_sites import written_sites

pytestmark = pytest.mark.slow

LOG_OF_UPGRADE = {"index_file.rewrite, within: index.db-wal", "index_file.copy_back, within: index.db-wal"}
Controls = list[tuple[Callable[[], Scenario], set[str]]]

# Sites in one line stand in for each other: only without all of them something is lost.
CONTROLS: Controls = [
    (scenarios.household, {"journal._flush.1"}),
    (scenarios.household, {"segments._write_page.1"}),
    (scenarios.household, {"segments._make.2"}),
    (scenarios.household, {"segments._make.4"}),
    (scenarios.more_segments, {"segments._fill.2"}),
    (scenarios.household, {"media_files._finish.1"}),
    (scenarios.household, {"media_files.publish.1"}),
    (scenarios.household, {"index_file._sync_log.1", "index_file.copy_back, within: index.db-wal"}),
    (scenarios.threads, {"index_file._sync_log.1", "index_file.copy_back, within: index.db-wal"}),
    (scenarios.household, {"index_file.copy_back, within: index.db"}),
    (scenarios.threads, {"index_file.copy_back, within: index.db"}),
    (scenarios.household, {"index_file._set, within: index.db"}),
    (
        scenarios.household,
        {"index_file._set, within: state", "index_file._make_tables, within: state", "replay.recover.1"},
    ),
    (scenarios.distrusted_log, {"index_file.discard_log.1", "index_file.commit, within: state"}),
    (scenarios.lost_roots, {"segments._replace_page.1"}),
    (scenarios.lost_roots, {"segments._write_page.2"}),
    (scenarios.rebuilt, {"rebuild.finish.1"}),
    (scenarios.rebuilt, {"rebuild.finish.2", "segments._make, within: state"}),
    (scenarios.household, {"media_files._create, within: state"}),
    (scenarios.household, {"ledger.open_ledger, within: "}),
    (scenarios.new_keyring, {"keyring.create_keyring, within: "}),
    (scenarios.upgrade, {"segments._write_page.1"}),
    (scenarios.upgrade, {"index_file._sync_log.1", *LOG_OF_UPGRADE}),
    (scenarios.upgrade, {"index_file.copy_back, within: index.db"}),
    (scenarios.kept_catalogue, {"catalogue.write_catalogue.1"}),
    (scenarios.kept_catalogue, {"catalogue.keep_catalogue.1"}),
    (scenarios.new_keyring, {"keyring.write_whole.1"}),
    (scenarios.new_keyring, {"keyring.write_whole.2"}),
    (scenarios.wrapped_anew, {"keyring.write_whole.1"}),
    (scenarios.wrapped_anew, {"keyring.write_whole.2"}),
    (scenarios.changed_source, {"keyring.write_whole.1"}),
    (scenarios.changed_source, {"keyring.write_whole.2"}),
    (scenarios.reset_box, {"keyring.forget.1", "keyring.forget.2"}),
    (scenarios.new_key_file, {"keyring.write_whole.1"}),
    (scenarios.new_key_file, {"keyring.write_whole.2"}),
]
SPARE = {
    "segments._make.1": "root.b holds nothing yet: a garbled page beside a good one is no page",
    "segments._make.3": "the sync after the rename makes the same names durable",
    "repair._write.1": "a copy of what is damaged, and words about it: nothing is read from there",
    "repair._set_aside.1": "as above",
    "repair._set_aside.2": "as above",
    "repair._set_aside.3": "as above",
    "segments._fill.1": "old zeros or garbage are no frames; it is there so that later syncs write no metadata",
    "index_file.rewrite.1": "SQLite's own first sync of a log makes its name durable",
    "index_file._make_tables, within: index.db-wal": "the journal begins at commit 1: an index without tables is made",
    "index_file._set, within: index.db-journal": "as above, the first page of an empty index",
    "index_file.commit, within: index.db-wal": "an old log is older than `released`, and is thrown away",
}


@pytest.mark.parametrize(("scenario", "sites"), CONTROLS, ids=lambda value: getattr(value, "__name__", None))
def test_a_sync_taken_away_is_noticed(
    scenario: Callable[[], Scenario], sites: set[str], figures: Callable[..., None]
) -> None:
    whole = scenario()
    assert sites <= whole.sites, "nothing was taken away"
    work = whole.without(sites)
    near = whole.after(sites)
    cuts = random.Random(1).sample(near, min(len(near), 120))
    states = 0
    for weather in (Weather.NOTHING, Weather.SECTORS, Weather.WRITES, Weather.EVERYTHING):
        for _ in range(3):
            tried = work.try_cuts(cuts, [weather], enough=1)
            states += tried.states
            if tried.broken:
                figures("negative controls, each with a sync taken out", {"tried": 1, "found out": 1})
                return
    pytest.fail(f"{states} states without {sorted(sites)} kept every promise")


@pytest.mark.parametrize(
    ("kind", "pattern"),
    [
        ("sync", "*/media/*"),
        ("sync_folder", "*/media"),
        ("sync", "*/relay.toml"),
        ("sync", "*/cert.pem"),
        ("sync_folder", "*/tls"),
        ("sync_folder", "*/state.restoring"),
        ("sync_folder", "/boxes"),
        ("sync", "*/keyring.new"),
        ("sync", "*/index.db"),
    ],
)
def test_a_sync_taken_away_from_a_restore_is_noticed(kind: str, pattern: str, figures: Callable[..., None]) -> None:
    work = restored()
    poorer = dataclasses.replace(work, events=without(work.events, kind, pattern))
    cuts = range(len(work.events) - 3, len(work.events) + 1)
    assert any(poorer.try_cuts(cuts, [weather], enough=1).broken for weather in Weather)
    figures("negative controls, each with a sync taken out", {"tried": 1, "found out": 1})


def test_every_sync_in_the_code_has_its_control() -> None:
    controlled = {site for _, sites in CONTROLS for site in sites}
    written = set(written_sites().values())
    assert written - controlled - set(SPARE) == set()
    assert {site for site in controlled | set(SPARE) if ", within: " not in site} - written == set(), "no longer there"


def test_every_sync_of_sqlite_and_of_new_folders_has_its_control() -> None:
    ran = {site for scenario, _ in CONTROLS for site in scenario().sites if ", within: " in site}
    assert ran - {site for _, sites in CONTROLS for site in sites} - set(SPARE) == set()
