"""Whoever was turned away while the box was full hears from it once there is room, and need not find out alone."""

from relay.base.log import get_logger
from relay.delivery.bounds.admission import Admission
from relay.delivery.outbox.outboxes import Outboxes

log = get_logger()


async def call_back(admission: Admission, outboxes: Outboxes) -> None:
    """Run for ever: a signed sign of life makes a server try again at once, as it does after a start."""
    while True:
        relieved = await admission.next_relieved()
        for server in relieved:
            outboxes.call_back(server)
        log.info("delivery.called_back", count=len(relieved))
