"""The few options of the commands that live long, read without a library."""

from collections.abc import Mapping, Sequence


def read_options(arguments: Sequence[str], takes_value: Mapping[str, bool]) -> dict[str, str] | None:
    """Return the options in `arguments` by name without dashes, or None where anything else stands there.

    None means: let the full command line say what is wrong, or show its help.
    """
    found: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or name not in takes_value or name in found:
            return None
        if not takes_value[name]:
            if equals:
                return None
            found[name] = ""
            continue
        text = value if equals else next(rest, None)
        if text is None:
            return None
        found[name] = text
    return found if "state" in found else None
