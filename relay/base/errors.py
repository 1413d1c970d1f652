"""Errors say whose fault, whether to try again, and a stable code; each door maps the code to its protocol's reply."""

import enum
from typing import Self


class Fault(enum.Enum):
    """Who has to change something before the same request can succeed."""

    PEER = "peer"
    USER = "user"
    BOX = "box"
    BUG = "bug"


class RelayError(Exception):
    """The base of every error that may cross a room's border.

    Attributes:
        code: stable, dotted, logged, and mapped to a reply by the doors.
        fault: who has to change something.
        retryable: whether the very same request can succeed later.
        retry_after_s: how long to wait before that, in seconds, where it is known.
    """

    code = "internal"
    fault = Fault.BUG
    retryable = False

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class InvalidInputError(RelayError):
    """Bytes or values from outside do not have the form their specification asks for."""

    code = "input.invalid"
    fault = Fault.PEER


class TooLargeError(RelayError):
    """Input is larger than a limit of `base.limits`; the message names the limit and its unit."""

    code = "input.too_large"
    fault = Fault.PEER


class MissingParamError(InvalidInputError):
    """A required field or query parameter is absent."""

    code = "input.missing"


class InvalidParamError(InvalidInputError):
    """A value is well-formed, and still not one that can stand where it stands."""

    code = "input.invalid_param"


class NotJsonError(InvalidInputError):
    """The body is not JSON at all."""

    code = "input.not_json"


class ForbiddenError(RelayError):
    """Understood and refused: authorization, membership, blocking."""

    code = "forbidden"
    fault = Fault.USER


class UnauthenticatedError(RelayError):
    """No credentials, or credentials nobody here issued."""

    code = "unauthenticated"
    fault = Fault.USER


class NotFoundError(RelayError):
    """The thing named does not exist here, or the asker may not know that it does."""

    code = "not_found"
    fault = Fault.USER


class ConflictError(RelayError):
    """The name is taken, or the state changed under the request."""

    code = "conflict"
    fault = Fault.USER


class UnrecognizedError(RelayError):
    """An endpoint or method this box does not offer."""

    code = "unrecognized"
    fault = Fault.USER


class RateLimitedError(RelayError):
    """Too many requests; the same one succeeds after `retry_after_s`."""

    code = "rate_limited"
    fault = Fault.USER
    retryable = True


class QueueFullError(RelayError):
    """A sealed queue reached its limit; the sender keeps what was not acknowledged."""

    code = "queue.full"
    fault = Fault.BOX
    retryable = True


class UnreachableError(RelayError):
    """A peer could not be reached: no route, no TLS, time-out, or it answered 5xx."""

    code = "peer.unreachable"
    fault = Fault.PEER
    retryable = True


class PeerRefusedError(RelayError):
    """A peer answered with a clear refusal.

    Attributes:
        status: the HTTP status it answered, or 0 where there was none.
        errcode: the peer's own error code, empty where there was none.
    """

    code = "peer.refused"
    fault = Fault.PEER

    def __init__(self, message: str, *, status: int = 0, errcode: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.errcode = errcode


class ConfigError(RelayError):
    """A setting is unknown, of the wrong type, or out of bounds; the message names key, value and bound."""

    code = "config.invalid"
    fault = Fault.USER


class KeyAbsentError(ConfigError):
    """The key is not there yet: the stick is not in, nobody gave the passphrase; the box waits for it."""

    code = "storage.key_absent"
    fault = Fault.USER
    retryable = True


class StorageError(RelayError):
    """Flash refused a write or sync: nothing of the failed change was acknowledged; reads go on."""

    code = "storage.failed"
    fault = Fault.BOX
    retryable = True


class WrongKeyError(RelayError):
    """The sealed state does not open with this key; nothing was changed."""

    code = "storage.wrong_key"
    fault = Fault.USER


class DamagedError(RelayError):
    """Stored bytes fail their authentication tag or name an impossible place; the message gives the offset."""

    code = "storage.damaged"
    fault = Fault.BOX


class NewerFormatError(RelayError):
    """Stored data have a form that a newer release made and this one does not know; nothing was changed."""

    code = "storage.newer_format"
    fault = Fault.USER

    @classmethod
    def of(cls, what: str, found: str) -> Self:
        """Return the error about the piece `what`, in which `found` is unknown here."""
        advice = "install that release or a later one, nothing was changed"
        return cls(f"{what} was made by a newer release: {found}; {advice}")


class StateLockedError(RelayError):
    """Another process holds the state folder."""

    code = "storage.locked"
    fault = Fault.USER
    retryable = True
