"""The other end of Improv over serial: what a browser's installer sends and reads, for a box that takes its time.

Source: improv-wifi.com, "Improv via Serial".
"""

import os
import select
import time
from dataclasses import dataclass, field

_HEADER = b"IMPROV\x01"
_STATE, _ERROR, _COMMAND, _RESULT = 1, 2, 3, 4
SEND_WIFI, CURRENT_STATE, DEVICE_INFO, SCAN, HOSTNAME, DEVICE_NAME, NETWORK_STATE = range(1, 8)
READY, PROVISIONING, PROVISIONED = 2, 3, 4


@dataclass(slots=True)
class Answer:
    """Everything that came back: states and errors in order, and the texts of each result."""

    states: list[int] = field(default_factory=list)
    errors: list[int] = field(default_factory=list)
    results: list[list[str]] = field(default_factory=list)
    took_s: float = 0.0

    def is_whole(self, command: int) -> bool:
        """Return whether nothing more will come."""
        if any(self.errors):
            return True
        match command:
            case 2:
                return bool(self.states) and (self.states[-1] != PROVISIONED or bool(self.results))
            case 4:
                return [] in self.results
        return bool(self.results)


def ask(line: int, command: int, *texts: str, within_s: float = 120) -> Answer:
    """Send one command on the descriptor `line`; return the whole answer.

    Raises:
        TimeoutError: it never came.
    """
    payload = b"".join(bytes([len(text.encode())]) + text.encode() for text in texts)
    if command in (HOSTNAME, DEVICE_NAME):
        payload = "".join(texts).encode()
    data = bytes([command, len(payload)]) + payload
    packet = _HEADER + bytes([_COMMAND, len(data)]) + data
    os.write(line, packet + bytes([sum(packet) & 0xFF]) + b"\n")
    answer, heard, begun = Answer(), b"", time.monotonic()
    while not answer.is_whole(command):
        ready, _, _ = select.select([line], [], [], max(0.0, begun + within_s - time.monotonic()))
        if not ready:
            raise TimeoutError(f"command {command}: {answer}, and then {heard!r}")
        heard = _take(heard + os.read(line, 4096), answer)
    answer.took_s = time.monotonic() - begun
    return answer


def _take(heard: bytes, answer: Answer) -> bytes:
    """Put every whole packet into `answer`; return what is left."""
    while True:
        # As the browsers' SDK does it: a packet counts only at the start of a line.
        begin = heard.find(b"\n" + _HEADER)
        if begin < 0:
            return heard[-len(_HEADER) :]
        packet = heard[begin + 1 :]
        end = len(_HEADER) + 2 + packet[len(_HEADER) + 1] if len(packet) > len(_HEADER) + 1 else len(packet)
        if len(packet) < end + 2:
            return heard[begin:]
        kind, data = packet[len(_HEADER)], packet[len(_HEADER) + 2 : end]
        if sum(packet[:end]) & 0xFF != packet[end]:
            raise ValueError(f"a wrong checksum: {packet[: end + 1]!r}")
        if kind == _STATE:
            answer.states.append(data[0])
        elif kind == _ERROR:
            answer.errors.append(data[0])
        elif kind == _RESULT:
            answer.results.append(_texts(data[2:]))
        heard = packet[end + 1 :]


def _texts(data: bytes) -> list[str]:
    texts = []
    while data:
        texts.append(data[1 : 1 + data[0]].decode())
        data = data[1 + data[0] :]
    return texts
