"""Everything delivery keeps on flash, for the ledger."""

from relay.delivery import incoming, media, sending
from relay.delivery.outbox import tables as outbox_tables
from relay.delivery.pruning import marks
from relay.delivery.standby import tables as standby_tables

TABLES = (outbox_tables.TABLES, incoming.TABLES, sending.TABLES, media.TABLES, marks.TABLES, standby_tables.TABLES)
