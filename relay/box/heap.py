"""The memory that C code of this process takes."""

import contextlib
import ctypes

_M_ARENA_MAX = -8


def share_heap() -> None:
    """Have all threads take from one heap; call it before the first thread starts.

    glibc gives each thread its own, and what is free in one is of no use to the others: 1 to 2 MiB of a busy box.
    """
    with contextlib.suppress(AttributeError):  # another C library has one heap, or does not let itself be told
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
