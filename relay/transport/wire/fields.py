"""Which HTTP/2 header blocks are well-formed: the library's own check costs more than the rest of a request.

Source: RFC 9113, sections 8.2 and 8.3.
"""

import re
from collections.abc import Iterable

from relay.base.limits import MAX_HEADER_COUNT, MAX_TARGET_BYTES
from relay.transport.wire.events import Header, WireError

# All names at once, one a line: token characters without upper case.
_NAMES = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9a-z]+\n)*")
_BREAKS = re.compile(rb"[\x00\r\n]")
_TARGET = re.compile(rb"/[\x21-\x7e]*|\*")
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_STATUS = re.compile(rb"[1-9][0-9][0-9]")
_REQUEST_PARTS = frozenset((b":method", b":scheme", b":path", b":authority"))
_FORBIDDEN = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))


def read_request(fields: Iterable[Header]) -> tuple[str, str, list[Header]]:
    """Return (method, target, fields) of a request's header block; `:authority` becomes `host`.

    Raises:
        WireError: it is malformed or over a limit.
    """
    pseudo, headers = _split(fields)
    method, target = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    if len(target) > MAX_TARGET_BYTES:
        raise WireError("target_too_large")
    if not (_REQUEST_PARTS.issuperset(pseudo) and pseudo.get(b":scheme")):
        raise WireError("malformed")
    if not (_METHOD.fullmatch(method) and _TARGET.fullmatch(target)):
        raise WireError("malformed")
    hosts = [value for name, value in headers if name == b"host"]
    authority = pseudo.get(b":authority")
    if len(hosts) > 1 or (hosts and authority is not None and hosts[0] != authority):
        raise WireError("malformed")
    if not hosts:
        if not authority:
            raise WireError("malformed")
        headers.append((b"host", authority))
    return method.decode("ascii"), target.decode("ascii"), headers


def read_response(fields: Iterable[Header]) -> tuple[int, list[Header]]:
    """Return (status, fields) of a response's header block.

    Raises:
        WireError: it is malformed or over a limit.
    """
    pseudo, headers = _split(fields)
    status = pseudo.get(b":status", b"")
    if len(pseudo) != 1 or not _STATUS.fullmatch(status):
        raise WireError("malformed")
    return int(status), headers


def _split(fields: Iterable[Header]) -> tuple[dict[bytes, bytes], list[Header]]:
    """Return the pseudo-fields, which come first and once, and the others."""
    pseudo: dict[bytes, bytes] = {}
    headers: list[Header] = []
    for name, value in fields:
        if name[:1] != b":":
            headers.append((name, value))
        elif headers or name in pseudo:
            raise WireError("malformed")
        else:
            pseudo[name] = value
    if len(headers) > MAX_HEADER_COUNT:
        raise WireError("headers_too_large")
    names = [name for name, _ in headers]
    lines = b"".join([name + b"\n" for name in names])
    if not _NAMES.fullmatch(lines) or lines.count(b"\n") != len(names) or not _FORBIDDEN.isdisjoint(names):
        raise WireError("malformed")
    if _BREAKS.search(b"".join([value for _, value in headers])) or _BREAKS.search(b"".join(pseudo.values())):
        raise WireError("malformed")
    if any(name == b"te" and value.lower() != b"trailers" for name, value in headers):
        raise WireError("malformed")
    return pseudo, headers
