"""Everything the household keeps on flash, in one value for the ledger."""

from relay.household import (
    account_data,
    accounts,
    acknowledged,
    cross_signing,
    device_keys,
    device_lists,
    devices,
    filters,
    invitations,
    key_backup,
    key_signatures,
    profile,
    push_rules,
    remote_devices,
    to_device,
    tokens,
)
from relay.store.tables import Tables

_KEEPERS = (
    accounts,
    tokens,
    devices,
    acknowledged,
    device_keys,
    cross_signing,
    key_signatures,
    remote_devices,
    device_lists,
    to_device,
    account_data,
    profile,
    filters,
    push_rules,
    key_backup,
    invitations,
)
TABLES = Tables(
    name="household",
    ddl=tuple(statement for keeper in _KEEPERS for statement in keeper.DDL),
    operations=tuple(operation for keeper in _KEEPERS for operation in keeper.OPERATIONS),
)
