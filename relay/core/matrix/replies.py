"""How Matrix says each error: the one table from our codes to HTTP status and `errcode`, for both Matrix doors.

Sources: Client-Server API v1.19, "Standard error response"; Server-Server API. A code that is not listed is answered
as the nearest base class that is.
"""

import math
import re
from typing import Any, Final

from relay.base.errors import Fault, PeerRefusedError, RelayError

REPLIES: Final[dict[str, tuple[int, str]]] = {
    "internal": (500, "M_UNKNOWN"),
    "account_data.server_managed": (405, "M_BAD_JSON"),
    "config.invalid": (500, "M_UNKNOWN"),
    "conflict": (409, "M_UNKNOWN"),
    "event.malformed": (400, "M_BAD_JSON"),
    "event.not_allowed": (403, "M_FORBIDDEN"),
    "event.too_large": (413, "M_TOO_LARGE"),
    "forbidden": (403, "M_FORBIDDEN"),
    "input.bad_json": (400, "M_BAD_JSON"),
    "input.invalid": (400, "M_BAD_JSON"),
    "input.invalid_param": (400, "M_INVALID_PARAM"),
    "input.missing": (400, "M_MISSING_PARAM"),
    "input.not_json": (400, "M_NOT_JSON"),
    "input.range": (416, "M_INVALID_PARAM"),
    "input.too_large": (413, "M_TOO_LARGE"),
    "invite.blocked": (403, "M_INVITE_BLOCKED"),
    "json.not_canonical": (400, "M_BAD_JSON"),
    "key_backup.wrong_version": (403, "M_WRONG_ROOM_KEYS_VERSION"),
    "keys.invalid_signature": (400, "M_INVALID_SIGNATURE"),
    "login.unknown_type": (400, "M_UNKNOWN"),
    "media.cannot_overwrite": (409, "M_CANNOT_OVERWRITE_MEDIA"),
    "media.cannot_thumbnail": (400, "M_UNKNOWN"),
    "media.remote_too_large": (502, "M_TOO_LARGE"),
    "media.not_yet_uploaded": (504, "M_NOT_YET_UPLOADED"),
    "not_found": (404, "M_NOT_FOUND"),
    "peer.refused": (502, "M_UNKNOWN"),
    "peer.unreachable": (502, "M_UNKNOWN"),
    "profile.key_too_large": (400, "M_KEY_TOO_LARGE"),
    "profile.too_large": (400, "M_PROFILE_TOO_LARGE"),
    "queue.full": (429, "M_LIMIT_EXCEEDED"),
    "rate_limited": (429, "M_LIMIT_EXCEEDED"),
    "room.alias_in_use": (409, "M_UNKNOWN"),
    "room.bad_alias": (400, "M_BAD_ALIAS"),
    "room.in_use": (400, "M_ROOM_IN_USE"),
    "room.incompatible_version": (400, "M_INCOMPATIBLE_ROOM_VERSION"),
    "room.invalid_state": (400, "M_INVALID_ROOM_STATE"),
    "room.still_in_room": (400, "M_UNKNOWN"),
    "room.unable_to_authorise_join": (400, "M_UNABLE_TO_AUTHORISE_JOIN"),
    "room.unable_to_grant_join": (400, "M_UNABLE_TO_GRANT_JOIN"),
    "room.unsupported_version": (400, "M_UNSUPPORTED_ROOM_VERSION"),
    "signature.invalid": (401, "M_UNAUTHORIZED"),
    "storage.damaged": (500, "M_UNKNOWN"),
    "storage.failed": (503, "M_UNKNOWN"),
    "storage.key_absent": (500, "M_UNKNOWN"),
    "storage.locked": (503, "M_UNKNOWN"),
    "storage.newer_format": (500, "M_UNKNOWN"),
    "storage.wrong_key": (500, "M_UNKNOWN"),
    "unauthenticated": (401, "M_UNKNOWN_TOKEN"),
    "unauthenticated.missing_token": (401, "M_MISSING_TOKEN"),
    "unauthenticated.server": (401, "M_UNAUTHORIZED"),
    "unauthenticated.unknown_token": (401, "M_UNKNOWN_TOKEN"),
    "unrecognized": (404, "M_UNRECOGNIZED"),
    "unrecognized.method": (405, "M_UNRECOGNIZED"),
    "user.deactivated": (403, "M_USER_DEACTIVATED"),
    "user.in_use": (400, "M_USER_IN_USE"),
    "user.invalid_name": (400, "M_INVALID_USERNAME"),
    "user.weak_password": (400, "M_WEAK_PASSWORD"),
}

_ERRCODE: Final = re.compile(r"[A-Z][A-Z0-9_.]{1,60}")
# A peer's 401 would log the app out of this box; what is not about the request itself is our 502.
_PASSED_ON: Final = frozenset({400, 403, 404, 409, 413, 429})


def matrix_reply(error: RelayError) -> tuple[int, dict[str, Any]]:
    """Return (HTTP status, body) for an error.

    The body has `errcode` and `error`, `retry_after_ms` where a time is known, `soft_logout` and other fields where the
    error has an attribute `matrix_fields` with them. The text of a bug is not shown.
    """
    status, errcode = _status_of(error)
    text = "internal error" if error.fault is Fault.BUG else str(error)
    body: dict[str, Any] = {"errcode": errcode, "error": text}
    if error.retry_after_s is not None:
        body["retry_after_ms"] = math.ceil(error.retry_after_s * 1000)
    fields = getattr(error, "matrix_fields", None)
    if isinstance(fields, dict):
        body.update(fields)
    return status, body


def _status_of(error: RelayError) -> tuple[int, str]:
    if isinstance(error, PeerRefusedError) and error.status in _PASSED_ON and _ERRCODE.fullmatch(error.errcode):
        return error.status, error.errcode
    codes = (getattr(kind, "code", "") for kind in type(error).__mro__)
    return next(REPLIES[code] for code in codes if code in REPLIES)
