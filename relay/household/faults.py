"""The refusals that only the household knows; each door maps the code to its protocol's reply."""

from relay.base.errors import (
    ConflictError,
    Fault,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    RelayError,
    UnauthenticatedError,
)


class UnknownTokenError(UnauthenticatedError):
    """The token is not one of ours, or it has expired.

    Attributes:
        matrix_fields: `soft_logout`: whether the app may keep its keys and log in again as the same device.
    """

    code = "unauthenticated.unknown_token"

    def __init__(self, message: str, *, soft_logout: bool = False) -> None:
        super().__init__(message)
        self.matrix_fields = {"soft_logout": soft_logout}


class InvalidUsernameError(InvalidInputError):
    """A new account's name does not fit the grammar of user ids."""

    code = "user.invalid_name"
    fault = Fault.USER


class UserInUseError(ConflictError):
    """The name belongs to an account already, perhaps to a deactivated one."""

    code = "user.in_use"


class WeakPasswordError(InvalidInputError):
    """The password is too short, or longer than anybody types."""

    code = "user.weak_password"
    fault = Fault.USER


class DeactivatedError(ForbiddenError):
    """The account was deactivated; nobody logs in to it again."""

    code = "user.deactivated"


class InvalidSignatureError(InvalidInputError):
    """A signature on a key does not verify, or the key it should be made with is unknown."""

    code = "keys.invalid_signature"


class WrongBackupVersionError(RelayError):
    """Room keys may be stored in the newest backup only.

    Attributes:
        matrix_fields: `current_version`: the newest one.
    """

    code = "key_backup.wrong_version"
    fault = Fault.USER

    def __init__(self, current_version: str) -> None:
        super().__init__("this is not the newest backup")
        self.matrix_fields = {"current_version": current_version}


class ServerManagedError(RelayError):
    """This type of account data is written by the box only."""

    code = "account_data.server_managed"
    fault = Fault.USER


class InviteBlockedError(ForbiddenError):
    """The invited user takes no invites, or none from this sender."""

    code = "invite.blocked"


class ProfileTooLargeError(InvalidInputError):
    """The profile would be larger than a profile may be."""

    code = "profile.too_large"
    fault = Fault.USER


class ProfileKeyTooLargeError(InvalidInputError):
    """The name of a profile field is longer than an id may be."""

    code = "profile.key_too_large"
    fault = Fault.USER


class UnknownDeviceError(NotFoundError):
    """The user has no such device."""

    code = "device.unknown"
