"""The door of the family's apps, with everything behind it."""

from relay.app.house import House
from relay.app.network import Network
from relay.client_api.build import ClientParts, build
from relay.client_api.door import Door
from relay.household.sessions import Sessions


def family_door(house: House, network: Network) -> Door:
    """Return the client-server API of this box."""
    return build(
        ClientParts(
            config=house.config,
            ledger=house.ledger,
            clock=house.clock,
            authenticate=Sessions(house.ledger, house.clock).authenticate,
            people=network.people,
            writer=network.writer,
            joining=network.joining,
            leaving=network.leaving,
            inviting=network.inviting,
            backfiller=network.backfiller,
            typing=network.typing,
            outboxes=network.outboxes,
            media=network.media,
            admission=network.admission,
            public_url=house.config.client.public_url,
        )
    )
