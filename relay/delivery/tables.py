"""Everything delivery keeps on flash, for the ledger."""

from relay.delivery import incoming, media, outbox_tables, sending

TABLES = (outbox_tables.TABLES, incoming.TABLES, sending.TABLES, media.TABLES)
