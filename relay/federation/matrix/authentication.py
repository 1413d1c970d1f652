"""The X-Matrix header: who asks, and proof that the request is theirs. Bytes in, decisions out; no I/O.

Source: Matrix S2S v1.19, "Request Authentication".
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from relay.base.errors import InvalidInputError, UnauthenticatedError
from relay.base.ids import KeyId, ServerName, parse_server_name
from relay.base.limits import MAX_AUTHORIZATION_HEADERS
from relay.core.matrix.canonical_json import encode_lenient
from relay.core.matrix.signing import SigningKey, sign_json

_SCHEME = re.compile(r"x-matrix[ ]+", re.IGNORECASE)
# A quoted string of RFC 9110 section 5.6.4, or anything without quotes, commas and blanks: older servers quote nothing.
_PARAMETER = re.compile(
    r"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:\"((?:[^\"\\]|\\.)*)\"|([^\",\s]*))[ \t]*(?:,|\Z)", re.DOTALL
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_KEY_ID = re.compile(r"ed25519:[a-zA-Z0-9_]{1,128}")
_SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Signed:
    """What a signature covers beside the two names; `content` is None where there is no body."""

    method: str
    target: str
    content: object = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one X-Matrix header claims; `destination` is None where an old server leaves it out."""

    origin: ServerName
    destination: ServerName | None
    key_id: KeyId
    signature: bytes


def parse_x_matrix(header: str) -> Credentials | None:
    """Return what the `Authorization` header claims, or None if its scheme is another one.

    Raises:
        UnauthenticatedError: the header is malformed, names a parameter twice or lacks one.
    """
    scheme = _SCHEME.match(header)
    if scheme is None:
        return None
    values = _parse_parameters(header[scheme.end() :])
    signature = values.get("sig", values.get("signature"))
    if signature is None or "origin" not in values or "key" not in values:
        raise UnauthenticatedError("the X-Matrix header lacks origin, key or sig")
    if not _KEY_ID.fullmatch(values["key"]):
        raise UnauthenticatedError("the X-Matrix header names a key that is not ed25519")
    destination = values.get("destination")
    try:
        return Credentials(
            origin=parse_server_name(values["origin"]),
            destination=None if destination is None else parse_server_name(destination),
            key_id=KeyId(values["key"]),
            signature=_parse_signature(signature),
        )
    except InvalidInputError as error:
        raise UnauthenticatedError(f"the X-Matrix header is malformed: {error}") from None


def choose(headers: Iterable[str], server: ServerName) -> list[Credentials]:
    """Return the usable claims of a request's `Authorization` headers, all of one origin.

    A server with several keys sends a header for each.

    Raises:
        UnauthenticatedError: there is none, one is malformed or for another server, or two disagree about the origin.
    """
    found = [claim for header in headers if (claim := parse_x_matrix(header)) is not None]
    if not found or len(found) > MAX_AUTHORIZATION_HEADERS:
        raise UnauthenticatedError("the request carries no X-Matrix header, or too many")
    if len({claim.origin for claim in found}) > 1:
        raise UnauthenticatedError("the X-Matrix headers disagree about the origin")
    if any(claim.destination not in (None, server) for claim in found):
        raise UnauthenticatedError("the request is for another server")
    return found


def check(claim: Credentials, keys: Mapping[KeyId, VerifyKey], server: ServerName, request: Signed) -> None:
    """Check one signature over the request as `server` received it.

    Raises:
        UnauthenticatedError: the key is not known or the signature is not its.
        InvalidInputError: the content is not JSON that could have been signed.
    """
    key = keys.get(claim.key_id)
    if key is None:
        raise UnauthenticatedError("the request is signed with a key its origin does not publish")
    signed = _request_object(claim.origin, server, request)
    try:
        # Lenient: real servers sign bodies with floats, and one odd value must not cut a peer off.
        key.verify(encode_lenient(signed), claim.signature)
    except BadSignatureError:
        raise UnauthenticatedError("the request's signature does not fit") from None


def sign(origin: ServerName, key: SigningKey, destination: ServerName, request: Signed) -> str:
    """Return the `Authorization` header of a request of ours."""
    signed = sign_json(_request_object(origin, destination, request), origin, key)
    signature = signed["signatures"][origin][key.key_id]
    return f'X-Matrix origin="{origin}",destination="{destination}",key="{key.key_id}",sig="{signature}"'


def _request_object(origin: ServerName, destination: ServerName, request: Signed) -> dict[str, Any]:
    signed: dict[str, Any] = {
        "method": request.method,
        "uri": request.target,
        "origin": origin,
        "destination": destination,
    }
    if request.content is not None:
        signed["content"] = request.content
    return signed


def _parse_parameters(text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    start = 0
    while start < len(text):
        found = _PARAMETER.match(text, start)
        if found is None:
            raise UnauthenticatedError("the X-Matrix header is not a list of name=value")
        name, quoted, plain = found.groups()
        if name.lower() in values:
            raise UnauthenticatedError("the X-Matrix header names a parameter twice")
        values[name.lower()] = plain if quoted is None else _ESCAPED.sub(r"\1", quoted)
        start = found.end()
    return values


def _parse_signature(text: str) -> bytes:
    try:
        signature = b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise UnauthenticatedError("the X-Matrix header's signature is not base64") from None
    if len(signature) != _SIGNATURE_BYTES:
        raise UnauthenticatedError(f"the X-Matrix header's signature is not {_SIGNATURE_BYTES} bytes")
    return signature
