"""Where the kernel's random numbers come from.

Source: Documentation/admin-guide/hw_random.rst of the kernel, "Theory of operation". Keys are made with getrandom(2),
which waits until the kernel has enough to begin with: without hardware for it a first start takes longer, nothing else.
"""

from pathlib import Path

from relay.box.attributes import text

_SOURCE = "sys/class/misc/hw_random"
_NONE = "none"


def random_source(root: Path = Path("/")) -> str:
    """Return the name of the hardware that random numbers are taken from, empty where there is none."""
    # Newer kernels say `none` where the choice is to use none of those that are available.
    current = text(root / _SOURCE / "rng_current")
    return "" if current == _NONE else current
