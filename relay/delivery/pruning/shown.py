"""What was let go and what files there are, as `relay status` shows it."""

from dataclasses import asdict
from typing import Any

from relay.base.ids import ServerName
from relay.delivery import media
from relay.rooms.matrix.storage import history
from relay.store.ledger import Index


def shown(index: Index, own: ServerName) -> dict[str, Any]:
    """Return {"let_go": {"rooms", "events"}, "file_stock": {...}}: counts since the box was set up, and of now."""
    return {"let_go": asdict(history.let_go(index)), "file_stock": asdict(media.stock(index, own))}
