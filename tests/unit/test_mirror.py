"""Every source file that does something has its unit test file, or a test elsewhere that is named here."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = sorted(path.relative_to(ROOT) for path in (ROOT / "relay").rglob("*.py") if path.name != "__init__.py")

TESTED_ELSEWHERE = {
    "relay/admin/address.py": "tests/flow/test_admin_socket.py",
    "relay/admin/advice.py": "tests/flow/test_damaged_box.py",
    "relay/admin/client.py": "tests/flow/test_admin_socket.py",
    "relay/admin/moving.py": "tests/flow/test_moving_house.py",
    "relay/admin/server.py": "tests/flow/test_admin_socket.py",
    "relay/app/awaiting_key.py": "tests/flow/test_awaiting_key.py",
    "relay/app/child.py": "tests/interop/test_certificates.py",
    "relay/cli/certificate.py": "tests/interop/test_certificates.py",
    "relay/uplink/acme/folder.py": "tests/unit/uplink/acme/test_tending.py",
    "relay/uplink/acme/jose.py": "tests/unit/uplink/acme/test_tending.py",
    "relay/uplink/acme/ordering.py": "tests/unit/uplink/acme/test_tending.py",
    "relay/uplink/acme/places.py": "tests/unit/uplink/acme/test_tending.py",
    "relay/uplink/acme/problems.py": "tests/unit/uplink/acme/test_tending.py",
    "relay/uplink/acme/schedule.py": "tests/unit/uplink/acme/test_tending.py",
    "relay/uplink/acme/session.py": "tests/unit/uplink/acme/test_tending.py",
    "relay/app/naming.py": "tests/unit/uplink/test_name_follower.py",
    "relay/cli/name_update.py": "tests/flow/test_dynamic_names.py",
    "relay/uplink/acme/dns_01.py": "tests/interop/test_certificates.py",
    "relay/uplink/dns_update.py": "tests/interop/test_certificates.py",
    "relay/uplink/web.py": "tests/flow/test_web.py",
    "relay/app/backup.py": "tests/flow/test_backup.py",
    "relay/app/backup_making.py": "tests/flow/test_backup.py",
    "relay/app/doors.py": "tests/interop/test_behind_proxies.py",
    "relay/app/family.py": "tests/flow/test_nothing_leaves_undurable.py",
    "relay/app/health.py": "tests/flow/test_nothing_leaves_undurable.py",
    "relay/app/holdings.py": "tests/flow/test_bounds.py",
    "relay/app/house.py": "tests/flow/test_nothing_leaves_undurable.py",
    "relay/app/moving.py": "tests/flow/test_moving_house.py",
    "relay/app/infirmary.py": "tests/flow/test_damaged_box.py",
    "relay/app/network.py": "tests/flow/test_nothing_leaves_undurable.py",
    "relay/app/operator.py": "tests/interop/test_command_line.py",
    "relay/app/restoring.py": "tests/flow/test_backup.py",
    "relay/app/ownership.py": "tests/flow/test_ownership.py",
    "relay/app/failed_starts.py": "tests/flow/test_safe_mode.py",
    "relay/app/safe_mode.py": "tests/flow/test_safe_mode.py",
    "relay/app/repairing.py": "tests/flow/test_damaged_box.py",
    "relay/app/running.py": "tests/interop/test_command_line.py",
    "relay/cli/backup.py": "tests/flow/test_backup.py",
    "relay/box/system_bus.py": "tests/interop/test_time_service.py",
    "relay/box/time_service.py": "tests/interop/test_time_service.py",
    "relay/box/network_bus.py": "tests/interop/test_network_service.py",
    "relay/box/network_changes.py": "tests/interop/test_network_settings.py",
    "relay/box/network_links.py": "tests/interop/test_network_settings.py",
    "relay/box/network_service.py": "tests/interop/test_network_service.py",
    "relay/box/network_wifi.py": "tests/interop/test_network_service.py",
    "relay/cli/network_trial.py": "tests/interop/test_network_settings.py",
    "relay/cli/bench/crowd.py": "tests/interop/test_bench.py",
    "relay/cli/bench/large.py": "tests/interop/test_bench.py",
    "relay/cli/bench/live.py": "tests/interop/test_bench.py",
    "relay/cli/bench/player.py": "tests/flow/test_quiet_house.py",
    "relay/cli/bench/servers.py": "tests/interop/box_process.py",
    "relay/cli/bench/synapse.py": "tests/interop/synapse_peer.py",
    "relay/cli/bench/virtual.py": "tests/flow/test_quiet_house.py",
    "relay/app/second_box.py": "tests/interop/test_standby_drill.py",
    "relay/cli/second_box.py": "tests/interop/test_standby_drill.py",
    "relay/cli/child.py": "tests/flow/test_console_process.py",
    "relay/cli/moves.py": "tests/flow/test_moving_house.py",
    "relay/cli/owner.py": "tests/flow/test_ownership.py",
    "relay/cli/network.py": "tests/interop/test_improv.py",
    "relay/client_api/build.py": "tests/flow/test_family.py",
    "relay/client_api/discovery.py": "tests/unit/client_api/test_door.py",
    "relay/client_api/sync.py": "tests/flow/test_family.py",
    "relay/console/dialogues/asking.py": "tests/unit/console/test_session.py",
    "relay/console/dialogues/care.py": "tests/unit/console/test_session.py",
    "relay/console/dialogues/household.py": "tests/unit/console/test_session.py",
    "relay/console/dialogues/settings.py": "tests/unit/console/test_session.py",
    "relay/console/dialogues/lock.py": "tests/unit/console/test_gate.py",
    "relay/console/station.py": "tests/flow/test_console_station.py",
    "relay/delivery/bounds/relief.py": "tests/flow/test_bounds.py",
    "relay/delivery/moving/arriving.py": "tests/flow/test_moving_house.py",
    "relay/delivery/moving/departing.py": "tests/flow/test_moving_house.py",
    "relay/delivery/outbox/queue.py": "tests/unit/delivery/outbox/test_outboxes.py",
    "relay/delivery/sync/people.py": "tests/unit/delivery/sync/test_long_poll.py",
    "relay/delivery/sync/rooms.py": "tests/unit/delivery/sync/test_long_poll.py",
    "relay/delivery/sync/state.py": "tests/unit/delivery/sync/test_long_poll.py",
    "relay/delivery/sync/timeline.py": "tests/unit/delivery/sync/test_long_poll.py",
    "relay/delivery/sync/view.py": "tests/unit/delivery/sync/test_long_poll.py",
    "relay/delivery/standby/base.py": "tests/unit/delivery/standby/test_standby.py",
    "relay/delivery/standby/course.py": "tests/unit/delivery/standby/test_standby.py",
    "relay/delivery/standby/following.py": "tests/unit/delivery/standby/test_standby.py",
    "relay/delivery/standby/jetstream.py": "tests/interop/test_standby.py",
    "relay/delivery/standby/opening.py": "tests/interop/test_standby.py",
    "relay/delivery/standby/records.py": "tests/unit/delivery/standby/test_standby.py",
    "relay/delivery/standby/tables.py": "tests/unit/delivery/standby/test_standby.py",
    "relay/federation/matrix/asking.py": "tests/unit/federation/matrix/test_door.py",
    "relay/federation/matrix/client/people.py": "tests/unit/federation/matrix/client/test_rooms.py",
    "relay/federation/matrix/handshakes.py": "tests/flow/test_federation.py",
    "relay/federation/matrix/history.py": "tests/flow/test_history_from_afar.py",
    "relay/federation/matrix/people.py": "tests/flow/test_federated_keys.py",
    "relay/federation/matrix/transactions.py": "tests/unit/federation/matrix/test_door.py",
    "relay/household/key_signatures.py": "tests/unit/household/test_cross_signing.py",
    "relay/household/faults.py": "tests/unit/test_house.py",
    "relay/household/tokens.py": "tests/unit/household/test_sessions.py",
    "relay/rooms/matrix/aliases.py": "tests/unit/rooms/matrix/deciding/test_writer.py",
    "relay/rooms/matrix/deciding/acceptance.py": "tests/flow/rooms/test_forks_and_gaps.py",
    "relay/rooms/matrix/deciding/accepting.py": "tests/flow/rooms/test_forks_and_gaps.py",
    "relay/rooms/matrix/deciding/checking.py": "tests/flow/rooms/test_hostile_pdus.py",
    "relay/rooms/matrix/deciding/drafting.py": "tests/flow/rooms/test_hostile_pdus.py",
    "relay/rooms/matrix/exchange/answering.py": "tests/flow/rooms/test_answering.py",
    "relay/rooms/matrix/exchange/backfill.py": "tests/flow/test_history_from_afar.py",
    "relay/rooms/matrix/exchange/catching_up.py": "tests/flow/rooms/test_catching_up.py",
    "relay/rooms/matrix/exchange/fetching.py": "tests/flow/rooms/test_answering.py",
    "relay/rooms/matrix/exchange/inbox.py": "tests/flow/rooms/test_inbox_tasks.py",
    "relay/rooms/matrix/exchange/receiving.py": "tests/flow/rooms/test_hostile_pdus.py",
    "relay/rooms/matrix/membership/hosting.py": "tests/flow/rooms/test_answering.py",
    "relay/rooms/matrix/membership/invites.py": "tests/flow/rooms/test_memberships.py",
    "relay/rooms/matrix/membership/inviting.py": "tests/flow/rooms/test_memberships.py",
    "relay/rooms/matrix/membership/join_answer.py": "tests/flow/rooms/test_answering.py",
    "relay/rooms/matrix/membership/join_commit.py": "tests/flow/rooms/test_memberships.py",
    "relay/rooms/matrix/membership/joining.py": "tests/flow/rooms/test_memberships.py",
    "relay/rooms/matrix/membership/leaving.py": "tests/flow/rooms/test_memberships.py",
    "relay/rooms/matrix/membership/room_cards.py": "tests/flow/test_moving_house.py",
    "relay/rooms/matrix/soundness.py": "tests/flow/test_damaged_box.py",
    "relay/rooms/matrix/storage/chains.py": "tests/flow/rooms/test_answering.py",
    "relay/rooms/matrix/storage/commit.py": "tests/unit/rooms/matrix/deciding/test_merging.py",
    "relay/rooms/matrix/storage/current_state.py": "tests/flow/rooms/test_memberships.py",
    "relay/rooms/matrix/storage/members.py": "tests/unit/rooms/matrix/deciding/test_writer.py",
    "relay/rooms/matrix/storage/redactions.py": "tests/flow/rooms/test_forks_and_gaps.py",
    "relay/rooms/matrix/storage/state.py": "tests/flow/rooms/test_forks_and_gaps.py",
    "relay/rooms/matrix/storage/stored_event.py": "tests/unit/rooms/matrix/storage/test_graph.py",
    "relay/rooms/matrix/visibility.py": "tests/flow/rooms/test_memberships.py",
    "relay/store/faults.py": "tests/unit/store/test_opening.py",
    "relay/store/index.py": "tests/unit/store/test_ledger.py",
    "relay/store/index_file.py": "tests/crash/test_index_log.py",
    "relay/store/names.py": "tests/unit/store/test_ledger.py",
    "relay/store/read_only.py": "tests/unit/store/test_opening.py",
    "relay/store/scan.py": "tests/unit/store/test_journal.py",
    "relay/store/segments.py": "tests/unit/store/test_journal.py",
    "relay/transport/dialing.py": "tests/flow/transport/test_dialing.py",
    "relay/transport/link.py": "tests/unit/transport/test_client.py",
    "relay/transport/pool.py": "tests/unit/transport/test_client.py",
    "relay/transport/server.py": "tests/flow/transport/test_server.py",
    "relay/transport/well_known.py": "tests/unit/transport/test_discovery.py",
    "relay/uplink/announcer.py": "tests/flow/test_announcing.py",
    "relay/uplink/port_mapper.py": "tests/flow/test_port_mapping.py",
    "relay/transport/wire/events.py": "tests/unit/transport/wire/test_http2.py",
}
"""Through which test file a source file is tested where a mirror of its own would repeat that one."""

DEBTS = {
    "relay/cli/bench/disk.py",
    "relay/cli/bench/figures.py",
    "relay/cli/bench/load.py",
    "relay/cli/house.py",
}
"""Source files that only other files' tests run through. This list may only shrink."""


def _mirror(source: Path) -> Path:
    return Path("tests/unit", *source.parts[1:-1], f"test_{source.name}")


def _only_declares(source: Path) -> bool:
    """Return whether there is nothing to run: constants, tables, plain records, protocols."""
    functions = [
        node
        for node in ast.walk(ast.parse((ROOT / source).read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return all(
        isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) for f in functions for line in f.body
    )


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_every_file_has_its_test(source: Path) -> None:
    name = source.as_posix()
    mirrored = (ROOT / _mirror(source)).exists() or _only_declares(source)
    places = [mirrored, name in TESTED_ELSEWHERE, name in DEBTS]
    assert places.count(True) == 1, f"{name} needs {_mirror(source)}, or one line in this file and not two"


def test_what_is_named_here_exists() -> None:
    named = {*TESTED_ELSEWHERE, *TESTED_ELSEWHERE.values(), *DEBTS}
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_unit_test_file_has_its_source() -> None:
    about_several = {"test_house.py", "test_mirror.py", "test_hostile_rooms.py", "test_hostile_bodies.py"}
    mirrors = {_mirror(source) for source in SOURCES}
    found = [path.relative_to(ROOT) for path in (ROOT / "tests" / "unit").rglob("test_*.py")]
    assert [path for path in found if path not in mirrors and path.name not in about_several] == []
