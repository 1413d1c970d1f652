"""Asks the router at 10.7.0.1 for ports with the mapper of the box; prints what came of it, the last as JSON."""

import json
import socket

import trio

from relay.uplink import nat_pmp
from relay.uplink.leases import Wanted
from relay.uplink.port_mapper import PortMapper, fixed_way

ROUTER = ("10.7.0.1", 5351)


def ask_older(request: bytes) -> nat_pmp.ExternalAddress | nat_pmp.Mapped | None:
    """Return what the router says to a request in NAT-PMP; it may still be starting."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(0.2)
        asking.connect(ROUTER)
        for _ in range(50):
            try:
                asking.send(request)
                return nat_pmp.read_response(asking.recv(100))
            except OSError:
                continue
    raise TimeoutError


async def ask() -> None:
    mapper = PortMapper([Wanted("client", 8443, 443), Wanted("federation", 8448, 8448)], lambda: fixed_way(*ROUTER))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mapper.run)
        with trio.fail_after(10):
            while not _is_done(mapper):
                await trio.sleep(0.01)
        print(json.dumps(mapper.status()))
        nursery.cancel_scope.cancel()


def _is_done(mapper: PortMapper) -> bool:
    doors = [door for router in mapper.status().values() for door in router["doors"].values()]
    return bool(doors) and all(door["port"] or door["fault"] for door in doors)


if __name__ == "__main__":
    print(ask_older(nat_pmp.EXTERNAL_ADDRESS_REQUEST))
    print(ask_older(nat_pmp.map_request(8080, 80, 600)))
    trio.run(ask)
