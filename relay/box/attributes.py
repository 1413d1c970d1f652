"""Attributes of the kernel's sysfs: small files of one value (Documentation/filesystems/sysfs.rst, "Attributes")."""

from pathlib import Path


def text(path: Path) -> str:
    """Return what the attribute says, empty where there is none or it cannot be read now."""
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def number(path: Path) -> int | None:
    """Return the number that the attribute says, None where it says none."""
    try:
        return int(text(path))
    except ValueError:
        return None
