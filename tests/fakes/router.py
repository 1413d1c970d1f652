"""A home router that speaks PCP, NAT-PMP, or neither, written from the figures of RFC 6887 and RFC 6886.

The daemon that real routers run is the other one in the tests (`tests/interop/test_port_mapping.py`).
"""

import ipaddress

PCP_REQUEST_BYTES, NAT_PMP_REQUEST_BYTES = 60, 12


class FakeRouter:
    """Answers datagrams. `speaks` is PCP, NAT-PMP, or empty; `result` other than 0 refuses everything.

    Attributes:
        mappings: external port to port inside.
        epoch_s: when the router forgot everything last.
        requests: what came, in order.
        taken: external ports that are somebody else's.
    """

    def __init__(
        self, speaks: str = "PCP", address: str = "9.9.9.9", *, lifetime_s: int = 3600, result: int = 0
    ) -> None:
        self.speaks, self.address, self.lifetime_s, self.result = speaks, address, lifetime_s, result
        self.mappings: dict[int, int] = {}
        self.epoch_s = 0.0
        self.requests: list[bytes] = []
        self.taken: set[int] = set()

    def restart(self, now_s: float) -> None:
        """Forget everything, as a power cut does."""
        self.mappings.clear()
        self.epoch_s = now_s

    def answer(self, data: bytes, now_s: float) -> bytes | None:
        """Return what the router says to a datagram, None for nothing."""
        self.requests.append(data)
        epoch = int(now_s - self.epoch_s).to_bytes(4)
        if self.speaks == "PCP" and data[0] == 2 and len(data) == PCP_REQUEST_BYTES:
            return self._answer_pcp(data, epoch)
        if self.speaks == "NAT-PMP" and data[0] == 0:
            return self._answer_nat_pmp(data, epoch)
        if self.speaks:
            # "The NAT gateway responds with version 0 and result code 1" (RFC 6886, section 3.5).
            return bytes([0, 0x80 | data[1], 0, 1]) + epoch
        return None

    def _map(self, internal: int, wanted: int, lifetime_s: int) -> int:
        if not lifetime_s:
            self.mappings = {port: inside for port, inside in self.mappings.items() if inside != internal}
            return 0
        external = next((port for port, inside in self.mappings.items() if inside == internal), wanted)
        while external in self.taken:
            external += 1
        self.mappings[external] = internal
        return external

    def _answer_pcp(self, data: bytes, epoch: bytes) -> bytes:
        lifetime_s = min(int.from_bytes(data[4:8]), self.lifetime_s)
        internal, wanted = int.from_bytes(data[40:42]), int.from_bytes(data[42:44])
        external = 0 if self.result else self._map(internal, wanted, lifetime_s)
        header = bytes([2, 0x81, 0, self.result]) + (30 if self.result else lifetime_s).to_bytes(4) + epoch + bytes(12)
        found = ipaddress.ip_address(self.address)
        address = found.packed if found.version == 6 else bytes(10) + b"\xff\xff" + found.packed
        return header + data[24:42] + external.to_bytes(2) + address

    def _answer_nat_pmp(self, data: bytes, epoch: bytes) -> bytes:
        head = bytes([0, 0x80 | data[1]]) + self.result.to_bytes(2) + epoch
        if data[1] == 0:
            return head + ipaddress.IPv4Address(self.address).packed
        lifetime_s = min(int.from_bytes(data[8:12]), self.lifetime_s)
        internal, wanted = int.from_bytes(data[4:6]), int.from_bytes(data[6:8])
        external = 0 if self.result else self._map(internal, wanted, lifetime_s)
        return head + data[4:6] + external.to_bytes(2) + (0 if self.result else lifetime_s).to_bytes(4)
