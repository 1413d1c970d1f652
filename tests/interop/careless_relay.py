"""The relay on a card whose driver lies: every sync returns at once and does nothing. For negative controls."""

import os
from typing import Any

from relay.cli import main


def _nothing(fd: Any) -> None:
    pass


if __name__ == "__main__":
    os.fsync = os.fdatasync = _nothing
    main()
