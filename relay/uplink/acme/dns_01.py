"""The DNS-01 challenge: a record at `_acme-challenge` of the name, or where that is delegated to.

Source: RFC 8555, 8.4.
"""

import contextlib
import hashlib
from collections.abc import Iterator

import dns.name
import dns.update

from relay.uplink.acme.jose import encode
from relay.uplink.acme.ordering import Waiting
from relay.uplink.acme.problems import AcmeError
from relay.uplink.dns_update import DnsUpdateError, NameServer

_TTL_S = 60
_MOST_WAIT_S = 60.0
_PAUSE_S = 1.0


class DnsChallenge:
    """Has a name server answer.

    Args:
        server: takes updates for the name, or for where it is delegated to.
        waiting: how time passes.
    """

    kind = "dns-01"

    def __init__(self, server: NameServer, waiting: Waiting) -> None:
        self._server = server
        self._waiting = waiting

    @contextlib.contextmanager
    def answering(self, name: str, authorization: str) -> Iterator[None]:
        """Have the record there, as the server itself says, while the block runs.

        Raises:
            AcmeError: kind "update" where the server does not take it.
        """
        value = encode(hashlib.sha256(authorization.encode("ascii")).digest())
        try:
            place = self._server.end_of_aliases(f"_acme-challenge.{name}.")
            zone = self._server.zone_of(place)
            self._server.change(zone, lambda message: _add(message, place, value))
        except DnsUpdateError as error:
            raise AcmeError("update", str(error), about=name) from None
        try:
            self._wait_until_there(name, place, value)
            yield
        finally:
            # One that stays is in nobody's way: its value is for this order alone.
            with contextlib.suppress(DnsUpdateError):
                self._server.change(zone, lambda message: _remove(message, place, value))

    def _wait_until_there(self, name: str, place: str, value: str) -> None:
        end_s = self._waiting.now_s() + _MOST_WAIT_S
        while True:
            try:
                if f'"{value}"' in (self._server.texts(place, "TXT") or ()):
                    return
            except DnsUpdateError as error:
                raise AcmeError("update", str(error), about=name) from None
            if self._waiting.now_s() >= end_s:
                raise AcmeError("update", "the name server took the record and does not answer with it", about=name)
            self._waiting.pause(_PAUSE_S)


def _add(message: dns.update.UpdateMessage, place: str, value: str) -> None:
    # Beside others: whoever else proves the name at this moment needs its own value there.
    message.add(dns.name.from_text(place), _TTL_S, "TXT", value)


def _remove(message: dns.update.UpdateMessage, place: str, value: str) -> None:
    message.delete(dns.name.from_text(place), "TXT", value)
