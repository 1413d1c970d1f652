"""The token an app syncs from: a stream position, and how far the volatile streams had come in which boot.

Opaque to apps (client-server API, "Syncing"); also accepted wherever a pagination token is.
"""

import re
from dataclasses import dataclass
from typing import Self

from relay.base.errors import InvalidInputError

_FORM = re.compile(r"s([0-9]{1,18})_([0-9]{1,18})_([0-9]{1,12})_([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class SyncToken:
    """`s<position>_<to_device>_<boot>_<typing>`.

    Attributes:
        position: everything up to this change has been told.
        to_device: the same for messages to this device, which lag behind where many wait.
        boot: the start of the box in which the token was made; typing numbers of another boot mean nothing.
        typing: how far the typing stream had come.
    """

    position: int
    to_device: int
    boot: int
    typing: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the token in `text`.

        Raises:
            InvalidInputError: this box never made such a token.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise InvalidInputError("this is not a sync token")
        return cls(*map(int, match.groups()))

    def __str__(self) -> str:
        return f"s{self.position}_{self.to_device}_{self.boot}_{self.typing}"
