"""SRV records: which hosts and ports offer a service of a name."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from relay.base.errors import UnreachableError

if TYPE_CHECKING:
    import dns.asyncresolver

_LOOKUP_TIMEOUT_S = 10.0
_MOST_RECORDS = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Service:
    """One SRV record."""

    host: str
    port: int
    priority: int = 0
    weight: int = 0


class Resolver(Protocol):
    """Looks up SRV records."""

    async def services(self, name: str) -> list[Service]:
        """Return the records of `name` in any order; none if it has none.

        Raises:
            UnreachableError: the name servers gave no answer, so nobody knows.
        """
        ...


class DnsResolver:
    """Asks name servers, this machine's unless told. The library costs 4 MiB and is loaded at the first look-up.

    Args:
        server: IP address and port of one name server.
    """

    def __init__(self, server: tuple[str, int] | None = None) -> None:
        self._server = server
        self._resolver: dns.asyncresolver.Resolver | None = None

    async def services(self, name: str) -> list[Service]:
        """Return the records of `name`; see `Resolver.services`."""
        import dns.asyncbackend
        import dns.asyncresolver
        import dns.exception
        import dns.resolver

        try:
            if self._resolver is None:
                self._resolver = dns.asyncresolver.Resolver(configure=self._server is None)
                if self._server is not None:
                    self._resolver.nameservers = [self._server[0]]
                    self._resolver.port = self._server[1]
            answer = await self._resolver.resolve(
                name, "SRV", lifetime=_LOOKUP_TIMEOUT_S, search=False, backend=dns.asyncbackend.get_backend("trio")
            )
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError) as error:
            raise UnreachableError(f"the name servers gave no answer: {type(error).__name__}") from None
        return [
            Service(record.target.to_text(omit_final_dot=True), record.port, record.priority, record.weight)
            for record in answer
        ]


def in_order(services: Iterable[Service], draw: Callable[[int], int] = secrets.randbelow) -> list[Service]:
    """Return the records in the order to try them: by priority, within one by weighted chance.

    The target "." says that the service is decidedly not available there. `draw(n)` gives 0 to n-1.

    Source: RFC 2782, "The format of the SRV RR" and "Usage rules".
    """
    left = sorted((s for s in services if s.host not in ("", ".")), key=lambda s: (s.priority, s.weight))
    ordered: list[Service] = []
    while left and len(ordered) < _MOST_RECORDS:
        rivals = [service for service in left if service.priority == left[0].priority]
        mark = draw(sum(service.weight for service in rivals) + 1)
        for service in rivals:
            mark -= service.weight
            if mark <= 0:
                break
        left.remove(service)
        ordered.append(service)
    return ordered
