"""The certificate of the doors: which files it is in, who looks after it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from relay.admin.operations import Finding
from relay.app.house import House
from relay.base import log
from relay.base.config import Config
from relay.base.errors import ConfigError
from relay.transport.tls import Identity
from relay.uplink.served import Files, ServedFiles

if TYPE_CHECKING:
    from relay.uplink.tender import Tender

_OWN = (Path("tls") / "cert.pem", Path("tls") / "key.pem")
_SETTLES_S = 30.0
# As in relay.uplink.acme.places, which a box without ACME does not load.
_CERTIFIED = Path("tls") / "acme" / "current.pem"


class Certificate:
    """What all doors of the house prove themselves with.

    Raises:
        ConfigError: its files cannot be used.
    """

    def __init__(self, house: House) -> None:
        doors = house.config.federation, house.config.client
        self._house = house
        self._served = _serve(house) if any(door.tls for door in doors) else None
        self._tender: Tender | None = None

    @property
    def identity(self) -> Identity | None:
        """What the listeners get; None where no door has TLS."""
        return self._served.identity if self._served else None

    def start(self, nursery: trio.Nursery) -> None:
        """Look after it from now on: the door that answers challenges is open."""
        house = self._house
        if self._served is None:
            return
        nursery.start_soon(self._served.watch)
        if not house.config.acme.directory:
            return
        from relay.app.child import ask_child
        from relay.uplink.tender import Tender

        config = house.config
        ask = partial(ask_child, house.folder)
        settles_s = _SETTLES_S if config.uplink.map_ports != "off" or config.dns.method != "off" else 0.0
        self._tender = Tender(house.folder, config.acme, self._served, ask, house.clock, settles_s=settles_s)
        nursery.start_soon(self._tender.run)

    async def alive(self, stop: trio.Event) -> None:
        """Wait until one that ended is renewed, where it can be before the other servers' door opens.

        Neither for ever nor beyond `stop`: who asks for that would end what does not.
        """
        config = self._house.config
        if self._tender is not None and (config.client.tls or config.acme.challenge == "dns-01"):
            async with trio.open_nursery() as waiting:
                waiting.start_soon(_cancel_at, stop, waiting.cancel_scope)
                await self._tender.alive()
                waiting.cancel_scope.cancel()

    def watch(self) -> tuple[dict[str, Any], list[Finding]]:
        """Return what the running box knows of it; what stands in files, `relay.cli.doctor` reads."""
        shown = {"certificate": self._tender.status()} if self._tender else {}
        return shown, list(self._find())

    def _find(self) -> Iterator[Finding]:
        if self._served is not None and self._served.fault:
            yield Finding(
                "warning",
                f"the certificate files changed and cannot be used: {self._served.fault}",
                "bring a chain and the key that it is for; until then the one before is shown",
            )


async def _cancel_at(stop: trio.Event, scope: trio.CancelScope) -> None:
    await stop.wait()
    scope.cancel()


def _serve(house: House) -> ServedFiles:
    choose = partial(_choose, house.folder, house.config)
    try:
        return ServedFiles(choose)
    except ConfigError:
        ours = house.folder / _CERTIFIED
        if choose()[0] != ours:
            raise
        # Somebody damaged it: a new one can be had, and until then there is the own CA's.
        log.get_logger().warning("app.certificate_set_aside")
        ours.rename(ours.with_suffix(".unusable"))
        return ServedFiles(choose)


def _choose(folder: Path, config: Config) -> Files:
    if config.tls.cert:
        return folder / config.tls.cert, folder / config.tls.key
    if config.acme.directory and (folder / _CERTIFIED).exists():
        return folder / _CERTIFIED, folder / _CERTIFIED
    return folder / _OWN[0], folder / _OWN[1]
