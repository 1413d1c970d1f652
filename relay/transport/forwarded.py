"""What a reverse proxy in front of a door says of those it speaks for."""

import dataclasses
import ipaddress

from relay.base.networks import Networks
from relay.transport.message import Endpoint, Request, Response


@dataclasses.dataclass(slots=True)
class Forwarding:
    """Reads `X-Forwarded-For` of trusted proxies, and counts whether they send it.

    Attributes:
        trusted: the proxies. Of nobody else the header counts for anything.
        named: how many requests came with an address, since the start.
        unnamed: how many came without.
        plain: how many of them reached the proxy without TLS, as it says itself (`X-Forwarded-Proto`).
    """

    trusted: Networks
    named: int = 0
    unnamed: int = 0
    plain: int = 0

    def around(self, answer: Endpoint) -> Endpoint:
        """Return an endpoint that answers with the address that the proxy saw."""

        async def answer_forwarded(request: Request) -> Response:
            if request.headers.get("x-forwarded-proto") == "http":
                self.plain += 1
            source = self._source(request)
            if source:
                self.named += 1
                request.address = source
            else:
                self.unnamed += 1
            return await answer(request)

        return answer_forwarded

    def _source(self, request: Request) -> str:
        """Return the nearest hop that is no trusted proxy itself: what stands before it, anybody may have written."""
        source = ""
        for hop in reversed(",".join(request.headers.all("x-forwarded-for")).split(",")):
            try:
                source = str(ipaddress.ip_address(hop.strip()))
            except ValueError:
                break
            if source not in self.trusted:
                break
        return source
