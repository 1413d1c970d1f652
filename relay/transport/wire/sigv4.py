"""AWS Signature Version 4 in the Authorization header, as S3 and everything compatible with it checks it.

Source: Amazon S3 API Reference, "Signature Calculations for the Authorization Header: Transferring Payload in a Single
Chunk (AWS Signature Version 4)". Pure: the moment is an argument.
"""

import dataclasses
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from urllib.parse import quote

_ALGORITHM = "AWS4-HMAC-SHA256"
_UNRESERVED = "-._~"


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class AccessKey:
    """Whose requests these are. `session_token` only comes with temporary keys."""

    key_id: str
    secret: str
    session_token: str = ""


def encode_path(path: str) -> str:
    """Return `path` as it is sent and signed: everything but unreserved bytes and `/` encoded."""
    return quote(path, safe=_UNRESERVED + "/")


def encode_query(query: Mapping[str, str]) -> str:
    """Return the query string, sorted as it is signed; a name without a value keeps its `=`."""
    pairs = sorted((quote(name, safe=_UNRESERVED), quote(value, safe=_UNRESERVED)) for name, value in query.items())
    return "&".join(f"{name}={value}" for name, value in pairs)


def sign(
    access: AccessKey,
    method: str,
    path: str,
    *,
    query: Mapping[str, str],
    headers: Sequence[tuple[str, str]],
    body: bytes,
    region: str,
    moment: str,
    service: str = "s3",
) -> list[tuple[str, str]]:
    """Return the headers to send beside `headers`, `Authorization` among them.

    Args:
        access: whose request it is.
        method: the HTTP method.
        path: the path before it is encoded (`encode_path`).
        query: the query before it is encoded (`encode_query`).
        headers: everything that is signed, `host` among it.
        body: the whole body.
        region: of the bucket; most compatible servers take `us-east-1`.
        moment: UTC, as `20130524T000000Z`.
        service: the name of the service.
    """
    body_hash = hashlib.sha256(body).hexdigest()
    added = [("x-amz-content-sha256", body_hash), ("x-amz-date", moment)]
    if access.session_token:
        added.append(("x-amz-security-token", access.session_token))
    fields = sorted((name.lower(), " ".join(value.split())) for name, value in [*headers, *added])
    names = ";".join(name for name, _ in fields)
    lines = "".join(f"{name}:{value}\n" for name, value in fields)
    request = "\n".join((method, encode_path(path), encode_query(query), lines, names, body_hash))
    day = moment[:8]
    scope = f"{day}/{region}/{service}/aws4_request"
    to_sign = "\n".join((_ALGORITHM, moment, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{access.secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    credential = f"{_ALGORITHM} Credential={access.key_id}/{scope},SignedHeaders={names},Signature={signature}"
    return [*added, ("authorization", credential)]
