"""The ports that one router lets through to us: asked for, renewed, asked for again after the router forgot them.

PCP comes first. A router that says it does not know it is asked in NAT-PMP; one that says nothing is asked in both, in
turn. No I/O here: packets out by `send`, packets in by `receive`, the time by argument.

Source: RFC 6887, sections 8.1.1 (retransmission), 8.5 (epoch), 9 (versions), 11.2.1 (renewal), 15 (lifetimes and
deletion), appendix A (NAT-PMP); RFC 6886, sections 3.1 (retransmission), 3.3, 3.4, 3.6 (epoch).
"""

import dataclasses
import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from relay.uplink import nat_pmp, pcp

LIFETIME_S = 3600
_PCP_FIRST_S, _NAT_PMP_FIRST_S, _MOST_WAIT_S = 3.0, 0.25, 1024.0
_LEAST_RENEWAL_S = 4.0
_LEAST_ERROR_S, _USUAL_ERROR_S, _MOST_ERROR_S = 30.0, 1800.0, 3600.0
_MOST_LIFETIME_S = 24 * 3600
# So many requests in PCP alone before the older protocol gets its turns.
_PCP_ALONE = 2
_SILENT_AFTER = 3
_RANDOM = secrets.SystemRandom()


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """One port: where we listen, and where the world should find it. `name` is the door's."""

    name: str
    internal_port: int
    external_port: int


@dataclasses.dataclass(slots=True)
class _Lease:
    wanted: Wanted
    nonce: bytes
    next_s: float
    wait_s: float = 0.0
    unanswered: int = 0
    fault: str = ""
    external_port: int = 0
    external_address: str = ""
    expires_s: float = -math.inf


class Leases:
    """What one router was asked, and what it gave.

    Args:
        client: our address as the router sees it.
        draw: randomness in [0, 1).
    """

    def __init__(
        self,
        wanted: Sequence[Wanted],
        client: str,
        now_s: float,
        *,
        draw: Callable[[], float] = _RANDOM.random,
        nonce: Callable[[], bytes] = lambda: secrets.token_bytes(pcp.NONCE_BYTES),
    ) -> None:
        self._client = client
        self._draw = draw
        self._leases = [_Lease(each, nonce(), now_s) for each in wanted]
        self._epoch: tuple[float, int] | None = None
        self.protocol = ""
        self.external_address = ""

    @property
    def due_s(self) -> float:
        """When `send` has something to say next."""
        return min((lease.next_s for lease in self._leases), default=math.inf)

    @property
    def silent(self) -> bool:
        """Whether the router was asked several times, and never answered in either protocol."""
        return not self.protocol and all(lease.unanswered >= _SILENT_AFTER for lease in self._leases)

    def send(self, now_s: float) -> list[bytes]:
        """Return the packets that are due."""
        if self.protocol and all(_is_lost(lease, now_s) for lease in self._leases):
            # Another router may have come in its place: nothing is known of that one.
            self.protocol, self.external_address, self._epoch = "", "", None
        return [packet for lease in self._leases if lease.next_s <= now_s for packet in self._ask(lease, now_s)]

    def receive(self, data: bytes, now_s: float) -> None:
        """Take a datagram of the router; what is not an answer to us changes nothing."""
        if pcp.refuses_version(data):
            if not self.protocol:
                self.protocol = "NAT-PMP"
                self._begin_again(now_s)
            return
        answer = pcp.read_response(data)
        if answer is not None:
            self._take_pcp(answer, now_s)
        elif self.protocol != "PCP":
            self._take_nat_pmp(data, now_s)

    def release(self, now_s: float) -> list[bytes]:
        """Return the packets that give everything back; nobody waits for an answer to them."""
        given = [lease for lease in self._leases if lease.expires_s > now_s]
        for lease in self._leases:
            lease.expires_s, lease.next_s = -math.inf, math.inf
        return [self._request(lease, 0) for lease in given]

    def mappings(self, now_s: float) -> dict[str, dict[str, Any]]:
        """Return what each door has outside, as JSON values: an empty address where nothing was given."""
        return {
            lease.wanted.name: {
                "address": self._address(lease) if lease.expires_s > now_s else "",
                "port": lease.external_port if lease.expires_s > now_s else 0,
                "wanted_port": lease.wanted.external_port,
                "lease_s": max(0, round(lease.expires_s - now_s)) if lease.expires_s > now_s else 0,
                "fault": lease.fault,
            }
            for lease in self._leases
        }

    def _address(self, lease: _Lease) -> str:
        return lease.external_address or self.external_address

    def _ask(self, lease: _Lease, now_s: float) -> Iterator[bytes]:
        in_turn = lease.unanswered >= _PCP_ALONE and lease.unanswered % 2 == 0
        old = self.protocol == "NAT-PMP" or (not self.protocol and in_turn)
        if old and not self.external_address and ":" not in self._client:
            yield nat_pmp.EXTERNAL_ADDRESS_REQUEST
        if not old or ":" not in self._client:
            yield self._request(lease, LIFETIME_S, old=old)
        lease.next_s = now_s + self._pause(lease, now_s)
        lease.unanswered += 1

    def _request(self, lease: _Lease, lifetime_s: int, *, old: bool | None = None) -> bytes:
        wanted = lease.wanted
        # What was given before is asked for again: after a router's restart the world still finds us there.
        external_port = lease.external_port or wanted.external_port
        if self.protocol == "NAT-PMP" if old is None else old:
            return nat_pmp.map_request(wanted.internal_port, external_port, lifetime_s)
        return pcp.map_request(
            client=self._client,
            nonce=lease.nonce,
            internal_port=wanted.internal_port,
            external_port=external_port,
            external_address=lease.external_address,
            lifetime_s=lifetime_s,
        )

    def _pause(self, lease: _Lease, now_s: float) -> float:
        """Return how long to wait for an answer to a request made now."""
        if lease.expires_s > now_s:
            # A renewal: half of what is left, again and again (RFC 6887, section 11.2.1).
            return max((lease.expires_s - now_s) / 2, _LEAST_RENEWAL_S)
        first_s = _NAT_PMP_FIRST_S if self.protocol == "NAT-PMP" else _PCP_FIRST_S
        usual_s = min(2 * lease.wait_s, _MOST_WAIT_S) if lease.unanswered else first_s
        lease.wait_s = usual_s * (0.9 + 0.2 * self._draw())
        return lease.wait_s

    def _take_pcp(self, answer: pcp.MapResponse, now_s: float) -> None:
        for lease in self._leases:
            if lease.nonce == answer.nonce and lease.wanted.internal_port == answer.internal_port:
                break
        else:
            return
        self.protocol = "PCP"
        self._follow_epoch(answer.epoch_s, now_s)
        if answer.result != "SUCCESS":
            self._refuse(lease, answer.result, answer.lifetime_s, now_s)
        elif answer.lifetime_s:
            lease.external_address = answer.external_address
            self.external_address = answer.external_address
            self._grant(lease, answer.external_port, answer.lifetime_s, now_s)

    def _take_nat_pmp(self, data: bytes, now_s: float) -> None:
        answer = nat_pmp.read_response(data)
        if answer is None or ":" in self._client:
            return
        if isinstance(answer, nat_pmp.ExternalAddress):
            self._follow_epoch(answer.epoch_s, now_s)
            self.external_address = answer.address
            if answer.result != nat_pmp.RESULTS[0]:
                for lease in self._leases:
                    lease.fault = answer.result
            return
        if answer.result != nat_pmp.RESULTS[0] and not answer.internal_port and not self.protocol:
            return
        self.protocol = "NAT-PMP"
        self._follow_epoch(answer.epoch_s, now_s)
        for lease in self._leases:
            if answer.internal_port not in (lease.wanted.internal_port, 0):
                continue
            if answer.result != nat_pmp.RESULTS[0]:
                self._refuse(lease, answer.result, 0, now_s)
            elif answer.lifetime_s and answer.internal_port:
                self._grant(lease, answer.external_port, answer.lifetime_s, now_s)

    def _grant(self, lease: _Lease, port: int, lifetime_s: int, now_s: float) -> None:
        lease.external_port, lease.fault, lease.unanswered = port, "", 0
        kept_s = min(lifetime_s, _MOST_LIFETIME_S)
        lease.expires_s = now_s + kept_s
        lease.next_s = now_s + max(kept_s * (0.5 + self._draw() / 8), _LEAST_RENEWAL_S)

    def _refuse(self, lease: _Lease, result: str, error_s: float, now_s: float) -> None:
        lease.fault, lease.unanswered = result, 0
        lease.next_s = now_s + min(max(error_s or _USUAL_ERROR_S, _LEAST_ERROR_S), _MOST_ERROR_S)

    def _follow_epoch(self, epoch_s: int, now_s: float) -> None:
        """Ask for everything again at once if the router has forgotten what it gave."""
        before, self._epoch = self._epoch, (now_s, epoch_s)
        if before is not None and _has_forgotten(self.protocol, now_s - before[0], before[1], epoch_s):
            self._begin_again(now_s)

    def _begin_again(self, now_s: float) -> None:
        self.external_address = ""
        for lease in self._leases:
            lease.next_s, lease.unanswered, lease.expires_s = now_s, 0, -math.inf


def _is_lost(lease: _Lease, now_s: float) -> bool:
    return lease.unanswered >= _SILENT_AFTER and lease.expires_s <= now_s


def _has_forgotten(protocol: str, elapsed_s: float, before_s: int, epoch_s: int) -> bool:
    """Return whether a router's epoch does not go on from the one before: RFC 6887, section 8.5; RFC 6886, 3.6."""
    if protocol == "NAT-PMP":
        return epoch_s < before_s + elapsed_s * 7 / 8 - 2
    if epoch_s < before_s - 1:
        return True
    server_s = epoch_s - before_s
    return elapsed_s + 2 < server_s - server_s / 16 or server_s + 2 < elapsed_s - elapsed_s / 16
